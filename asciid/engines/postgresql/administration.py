"""The work of commands on a database, beside the nodes that use it."""

from __future__ import annotations

from contextlib import closing, contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg

from asciid.engines.postgresql import _database_verification, _sql_schema
from asciid.engines.postgresql._committer import Committer
from asciid.engines.postgresql._connecting import Connector, one_line
from asciid.engines.postgresql._quarantined_images import restore_quarantine
from asciid.engines.postgresql._sql_answers import answer
from asciid.errors import AsciidError
from asciid.store.operations import (
    BlockHash,
    DeleteDiscarded,
    UnblockHash,
)
from asciid.store.pending import NO_LIMITS, PendingUploads
from asciid.store.queries import ListBlocked
from asciid.store.stats import DatabaseStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.engines.postgresql._connecting import Database
    from asciid.model import BlockedHash
    from asciid.store.operations import AnyOperation

__all__ = [
    "DatabaseFailedError",
    "block",
    "blocked",
    "connected",
    "migrate",
    "restore",
    "unblock",
    "verify",
]


class DatabaseFailedError(AsciidError):
    """The database cannot be reached, or refused a statement; the text is one line."""

    def __init__(self, error: psycopg.Error, name: str = "") -> None:
        reason = one_line(error)
        super().__init__(f"{name}: {reason}" if name else reason)


def migrate(database: Database) -> tuple[int, int]:
    """
    Create or change the tables for this release; return the versions before and after.

    Errors: `DatabaseFailedError`, `StoreVersionError`.
    """
    with connected(database) as connection:
        return _sql_schema.migrate(connection)


def blocked(database: Database, after: str, limit: int) -> Sequence[BlockedHash]:
    """
    Return the next `limit` blocked hashes above `after`.

    Errors: `DatabaseFailedError`, `StoreVersionError`.
    """
    with connected(database) as connection:
        _sql_schema.check_version(connection)
        return answer(connection, ListBlocked(after, limit), _same)


def block(database: Database, sha256: str, reason: str) -> bool:
    """
    Remove an image and refuse its hash; return whether there was one.

    Nodes drop it from their caches once they receive the removal.

    Errors: `DatabaseFailedError`, those of a commit.
    """
    with _committer(database) as committer:
        removed = _outcome(committer, BlockHash(sha256, reason))
        # A download that is under way finds chunks until they are deleted.
        while _outcome(committer, DeleteDiscarded()):
            pass
        return bool(removed)


def unblock(database: Database, sha256: str) -> bool:
    """
    Accept a hash again; return whether it was blocked.

    Errors: `DatabaseFailedError`, those of a commit.
    """
    with _committer(database) as committer:
        return bool(_outcome(committer, UnblockHash(sha256)))


def verify(
    database: Database,
    pace: Callable[[int], None],
    found: Callable[[str, dict[str, Any]], object],
    *,
    quarantine: bool,
    purge: bool,
) -> dict[str, Any]:
    """
    Read every complete image; the report is that of `asciid.admin.storage.verify`.

    `pace` is called with the number of bytes that were read.

    Errors: `DatabaseFailedError`, `StorageDamagedError`, `StoreVersionError`.
    """
    with connected(database) as connection:
        _sql_schema.check_version(connection)
        return _database_verification.verify(
            connection, pace, found, quarantine=quarantine, purge=purge
        )


def restore(database: Database) -> int:
    """
    Move every image out of quarantine; return their number.

    Errors: `DatabaseFailedError`, `StoreVersionError`.
    """
    with connected(database) as connection:
        _sql_schema.check_version(connection)
        return restore_quarantine(connection)


def _outcome(committer: Committer, operation: AnyOperation) -> object:
    # These operations have no errors of their own.
    (outcome,) = committer.execute((operation,))
    return outcome


@contextmanager
def _committer(database: Database) -> Iterator[Committer]:
    """
    Connect as a node does that commits.

    Errors: `DatabaseFailedError`, `StoreVersionError`.
    """
    committer = Committer(
        Connector(database).connect,
        PendingUploads(NO_LIMITS),
        DatabaseStats(),
        _same,
        Event().wait,
    )
    with _reasons():
        committer.open()
        try:
            yield committer
        finally:
            committer.close()


@contextmanager
def connected(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """
    Connect to the database, for statements that need no fence.

    Errors: `DatabaseFailedError`, also for what the caller does meanwhile.
    """
    with _reasons(), closing(Connector(database).connect()) as connection:
        yield connection


@contextmanager
def _reasons() -> Iterator[None]:
    """
    Turn errors of libpq into one line.

    Errors: `DatabaseFailedError`.
    """
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseFailedError(error) from error


def _same(seconds: float) -> float:
    return seconds
