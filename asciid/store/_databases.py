"""Handles of the LMDB databases, alone and with a transaction to read them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    import lmdb

__all__ = ["Databases", "Snapshot", "open_databases"]


@frozen
class Databases:
    """Handles of the named databases."""

    images: lmdb._Database
    uploads: lmdb._Database
    chunks: lmdb._Database
    staged: lmdb._Database
    discarded: lmdb._Database
    gone: lmdb._Database
    quarantined: lmdb._Database


def open_databases(env: lmdb.Environment) -> Databases:
    """
    Return the handles, creating what is not there.

    Errors: `lmdb.Error`.
    """
    return Databases(
        images=env.open_db(b"images"),
        uploads=env.open_db(b"uploads"),
        chunks=env.open_db(b"chunks"),
        staged=env.open_db(b"staged"),
        discarded=env.open_db(b"discarded"),
        gone=env.open_db(b"gone"),
        quarantined=env.open_db(b"quarantined"),
    )


@frozen
class Snapshot:
    """A transaction and the databases to read in it."""

    transaction: lmdb.Transaction[Any]
    """Gives values as bytes, or as buffers that are valid as long as it is."""
    databases: Databases
    relieve: Callable[[], None] = lambda: None
    """To be called at times by who reads much, as `Residency.check`."""
