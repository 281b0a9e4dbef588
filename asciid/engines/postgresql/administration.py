"""The work of commands on a database, beside the nodes that use it."""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from asciid.engines.postgresql import _sql_schema
from asciid.engines.postgresql._connecting import Connector
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.engines.postgresql._connecting import Database

__all__ = ["DatabaseFailedError", "connected", "migrate"]


class DatabaseFailedError(AsciidError):
    """The database cannot be reached, or refused a statement; the text is one line."""

    def __init__(self, error: psycopg.Error, name: str = "") -> None:
        reason = _reason_of(str(error)) or type(error).__name__
        super().__init__(f"{name}: {reason}" if name else reason)


def migrate(database: Database) -> tuple[int, int]:
    """
    Create or change the tables for this release; return the versions before and after.

    Errors: `DatabaseFailedError`, `StoreVersionError`.
    """
    with connected(database) as connection:
        return _sql_schema.migrate(connection)


def _reason_of(text: str) -> str:
    """Return an error of libpq as one line, with the failure of each host once."""
    _, _, failures = text.partition("All failures were:\n")
    lines = (failures or text).splitlines()
    # A line with a tab is advice.
    return "; ".join(
        re.sub("^- host: .*?: (?=connection)", "", line)
        for line in lines
        if not line.startswith("\t")
    )


@contextmanager
def connected(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """
    Connect to the database, for a command.

    Errors: `DatabaseFailedError`, also for what the caller does meanwhile.
    """
    try:
        with closing(Connector(database).connect()) as connection:
            yield connection
    except psycopg.Error as error:
        raise DatabaseFailedError(error) from error
