"""``asciid verify``: checks every stored image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from asciid.admin import storage as admin
from asciid.cli._reporting import report
from asciid.cli._storage_options import (
    EXAMPLES,
    json_option,
    rate_option,
    readable_errors,
    storage_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.config.settings import DatabaseURL

__all__ = ["verify_command"]

_HELP = f"""
Read every complete image and check its SHA-256, then the records beside images.

A daemon may be running, also in another container. A damaged image is quarantined:
requests for it get 404, and it can be uploaded again. Its chunks are kept until
--purge. If more than a tenth of the images are damaged, the command stops, as the
storage itself is damaged: restore a backup. Records that do not agree, such as those of
a listing without the image, are mended.

The exit code is 0 if every image is intact, 1 if one is damaged, if records do not
agree, or if the storage is unusable, 2 if the options are wrong.

{EXAMPLES}
  asciid verify --storage /var/lib/asciid
  asciid verify --rate 0 --json
  asciid verify --no-quarantine
  asciid verify --storage postgresql://asciid@db1.example/asciid
"""


@click.command("verify", help=_HELP)
@storage_option
@rate_option
@click.option(
    "--quarantine/--no-quarantine",
    default=True,
    help="Quarantine damaged images and mend records, or only report.",
)
@click.option(
    "--purge", is_flag=True, help="Then delete all quarantined images permanently."
)
@click.option(
    "--restore",
    is_flag=True,
    help="Do not verify; move all quarantined images back.",
)
@json_option
def verify_command(  # noqa: PLR0913 - each is an option
    *,
    storage: Path | DatabaseURL,
    rate: int,
    quarantine: bool,
    purge: bool,
    restore: bool,
    as_json: bool,
) -> int:
    """Verify a storage; return the exit code."""
    if restore:
        if purge:
            message = "--restore and --purge are mutually exclusive"
            raise click.UsageError(message)
        return _restore(storage, as_json=as_json)
    effects = {"damaged": "quarantined", "inconsistent": "mended"}
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in effects}

    def found(kind: str, image: dict[str, Any]) -> None:
        kinds[kind].append({**image, effects[kind]: quarantine})
        if not as_json:
            # Of a database, what is found may belong to no image.
            report(": ".join(filter(None, (image["sha256"], image["reason"]))))

    with readable_errors():
        answer = admin.verify(storage, rate, found, quarantine=quarantine, purge=purge)
    result: dict[str, Any] = {
        "images": answer["images"],
        "bytes": answer["bytes"],
        **kinds,
        "purged": answer.get("purged"),
    }
    damaged, inconsistent = kinds.values()
    if as_json:
        report(json.dumps(result))
    else:
        report(
            f"{result['images']} images, {result['bytes']} bytes: "
            f"{len(damaged) or 'none'} damaged"
            + (", in quarantine" if damaged and quarantine else "")
            + (f"; {len(inconsistent)} inconsistent" if inconsistent else "")
            + (", mended" if inconsistent and quarantine else "")
            + (f"; {result['purged']} purged" if purge else "")
        )
    return 1 if damaged or inconsistent else 0


def _restore(storage: Path | DatabaseURL, *, as_json: bool) -> int:
    """Move all images out of quarantine; return the exit code."""
    with readable_errors():
        restored = admin.restore(storage)
    text = json.dumps({"restored": restored}) if as_json else f"{restored} restored"
    report(text)
    return 0
