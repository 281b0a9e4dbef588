"""Verifies a database, whether nodes use it or not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import asdict

from asciid.engines._findings import MAX_DAMAGED
from asciid.engines.postgresql._image_checks import ImageChecks, is_registered
from asciid.engines.postgresql._quarantined_images import purge_quarantine, put_aside
from asciid.engines.postgresql._table_checks import TableChecks

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from asciid.engines.postgresql._image_checks import Pace

__all__ = ["verify"]


def verify(
    connection: psycopg.Connection[Any],
    pace: Pace,
    found: Callable[[str, dict[str, Any]], object],
    *,
    quarantine: bool,
    purge: bool,
) -> dict[str, Any]:
    """
    Read every complete image; the report is that of `asciid.admin.storage.verify`.

    `connection` is in autocommit mode; `pace` is called with the size of what was read.
    `found` is called with ``damaged``, and ``sha256`` and ``reason`` of each damaged
    image, which is quarantined with `quarantine`; and likewise with ``inconsistent`` of
    each image whose rows do not agree, which are mended then; the hash is empty where
    there is none.  With `purge` the quarantine is then deleted.

    Errors: `StorageDamagedError`, `psycopg.Error`.
    """
    images = ImageChecks(
        connection,
        pace,
        partial(put_aside if quarantine else is_registered, connection),
        max_damaged=MAX_DAMAGED if quarantine else 1.0,
    )
    for damaged in images.run():
        found("damaged", asdict(damaged))
    for inconsistent in TableChecks(connection, mends=quarantine).run():
        found("inconsistent", asdict(inconsistent))
    done = {"images": images.images, "bytes": images.size}
    if purge:
        done["purged"] = purge_quarantine(connection)
    return done
