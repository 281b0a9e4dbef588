"""Handles of the LMDB databases, alone and with a transaction to read them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import astuple, frozen

from asciid.engines.lmdb._records import (
    FORMAT_KEY,
    FORMAT_VERSION,
    OLD_FORMAT_VERSION,
)
from asciid.errors import StoreVersionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import lmdb

__all__ = [
    "MAX_DATABASES",
    "Databases",
    "Readable",
    "Snapshot",
    "check_version",
    "open_databases",
    "pages_in_use",
]


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
    about: lmdb._Database
    listing: lmdb._Database
    dated: lmdb._Database
    blocked: lmdb._Database


MAX_DATABASES = 16
"""Those of `Databases`, and some more for newer formats."""


def open_databases(env: lmdb.Environment) -> Databases:
    """
    Return the handles, creating missing databases.

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
        about=env.open_db(b"about"),
        listing=env.open_db(b"listing"),
        dated=env.open_db(b"dated"),
        blocked=env.open_db(b"blocked"),
    )


def check_version(
    env: lmdb.Environment, path: Path, *, readonly: bool, accepts_old: bool
) -> bool:
    """
    Refuse other formats in the directory `path`; mark a new file with the format.

    Return whether it has the old format, which is refused unless `accepts_old`.

    Errors: `StoreVersionError`, `lmdb.Error`.
    """
    with env.begin(write=not readonly) as transaction:
        found = transaction.get(FORMAT_KEY)
        empty = found is None and transaction.stat()["entries"] == 0
        if empty and not readonly:
            transaction.put(FORMAT_KEY, FORMAT_VERSION)
            found = FORMAT_VERSION
    if found == FORMAT_VERSION or (found == OLD_FORMAT_VERSION and accepts_old):
        return found == OLD_FORMAT_VERSION
    version = "none" if found is None else found.decode("ascii", "replace")
    remedy = "use the release that wrote it, or name another storage directory"
    if found == OLD_FORMAT_VERSION:
        remedy = "start the service, which converts it, and repeat the command"
    message = (
        f"{path} has the storage format {version}, and this release of asciid reads "
        f"format {FORMAT_VERSION.decode()}: {remedy}"
    )
    raise StoreVersionError(message)


_META_PAGES = 2


def pages_in_use(transaction: lmdb.Transaction[Any], databases: Databases) -> int:
    """
    Return how many pages of the file hold something.

    Pages in which LMDB lists the free ones are not counted: LMDB does not count
    them; they are one in five hundred of the listed ones.
    """
    stats = [
        transaction.stat(),
        *(transaction.stat(one) for one in astuple(databases, recurse=False)),
    ]
    pages: int = sum(
        stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        for stat in stats
    )
    return _META_PAGES + pages


class Readable(Protocol):
    """A transaction to read in: that of a snapshot or of a batch."""

    @property
    def transaction(self) -> lmdb.Transaction[Any]: ...

    @property
    def databases(self) -> Databases: ...


@frozen
class Snapshot:
    """A transaction and the databases to read in it."""

    transaction: lmdb.Transaction[Any]
    """Gives values as bytes, or as buffers that are valid as long as it is."""
    databases: Databases
    relieve: Callable[[], None] = lambda: None
    """To be called repeatedly during a long read, as `Residency.check`."""
