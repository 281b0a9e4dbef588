"""
Commands on a database, whether nodes use it or not.

Errors of all functions: `DatabaseCommandError`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asciid.admin._pace import Pace
from asciid.admin.moderation import PAGE, as_documents
from asciid.errors import AsciidError
from asciid.net.database_url import NOT_INSTALLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from asciid.engines.postgresql import Database
    from asciid.net.database_url import DatabaseURL

__all__ = [
    "DatabaseCommandError",
    "block",
    "blocked",
    "migrate",
    "named",
    "restore",
    "unblock",
    "verify",
]


class DatabaseCommandError(AsciidError):
    """A command failed; the text names the database, without password, and why."""


def migrate(url: DatabaseURL) -> tuple[int, int]:
    """Create or change the tables; return the versions before and after."""
    with _opened(url) as (administration, database):
        before, after = administration.migrate(database)
        return before, after


def block(url: DatabaseURL, sha256: str, reason: str) -> bool:
    """Remove an image and refuse its hash; return whether there was one."""
    with _opened(url) as (administration, database):
        return bool(administration.block(database, sha256, reason))


def unblock(url: DatabaseURL, sha256: str) -> bool:
    """Accept a hash again; return whether it was blocked."""
    with _opened(url) as (administration, database):
        return bool(administration.unblock(database, sha256))


def blocked(url: DatabaseURL, after: str) -> list[dict[str, Any]]:
    """Return ``sha256``, ``reason`` and ``since`` of the next hashes above `after`."""
    with _opened(url) as (administration, database):
        return as_documents(administration.blocked(database, after, PAGE))


def verify(
    url: DatabaseURL,
    rate: int,
    found: Callable[[str, dict[str, Any]], object],
    *,
    quarantine: bool,
    purge: bool,
) -> dict[str, Any]:
    """Read every complete image; see `asciid.admin.storage.verify`."""
    with _opened(url) as (administration, database):
        report: dict[str, Any] = administration.verify(
            database, Pace(rate), found, quarantine=quarantine, purge=purge
        )
        return report


def restore(url: DatabaseURL) -> int:
    """Move every image out of quarantine; return their number."""
    with _opened(url) as (administration, database):
        return int(administration.restore(database))


@contextmanager
def _opened(url: DatabaseURL) -> Iterator[tuple[ModuleType, Database]]:
    """Yield what works on databases, and the one of `url`, which errors name."""
    with named(url):
        from asciid.engines.postgresql import Database, administration  # noqa: PLC0415

        yield administration, Database(url.text)


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
