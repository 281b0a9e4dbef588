"""
Commands on a database, whether nodes use it or not.

Errors of all functions: `DatabaseCommandError`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from asciid.errors import AsciidError
from asciid.net.database_url import NOT_INSTALLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.net.database_url import DatabaseURL

__all__ = ["DatabaseCommandError", "migrate", "named"]


class DatabaseCommandError(AsciidError):
    """A command failed; the text names the database, without password, and why."""


def migrate(url: DatabaseURL) -> tuple[int, int]:
    """Create or change the tables; return the versions before and after."""
    with named(url):
        from asciid.engines.postgresql import Database, administration  # noqa: PLC0415

        return administration.migrate(Database(url.text))


@contextmanager
def named(url: DatabaseURL) -> Iterator[None]:
    """Name the database in errors; those of imports, too: it is an extra."""
    try:
        yield
    except ImportError as error:
        message = f"{error}: {NOT_INSTALLED}"
        raise DatabaseCommandError(message) from error
    except AsciidError as error:
        message = f"{url}: {error}"
        raise DatabaseCommandError(message) from error
