"""
The command that copies one storage to another.

A directory must not have a running daemon: this process locks it.  Nodes may be using a
database.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from asciid.admin._copier import Copier
from asciid.admin.database import named
from asciid.engines.lmdb import maintenance
from asciid.engines.lmdb.maintenance import StorageFile, StorageLock
from asciid.errors import AsciidError
from asciid.net.database_url import DatabaseURL
from asciid.store.engine import StorageInUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asciid.store.transfer import ICopySource, ICopyTarget

__all__ = ["SameStorageError", "copy_storage"]


class SameStorageError(AsciidError):
    """Source and target are the same storage."""


def copy_storage(
    source: Path | DatabaseURL,
    target: Path | DatabaseURL,
    found: Callable[[str, str, str], object],
    progress: Callable[[str, int, int], object],
) -> dict[str, Any]:
    """
    Copy everything in `source` that `target` does not have; compare both.

    `found` is that of `Copier`; `progress` is called with the name of a step, how many
    uploads it has dealt with, and how many there are.  The result has ``images``,
    ``pending`` and ``blocked``, which are intact in the source, and ``copied`` and
    ``bytes``, which this call has copied.

    Errors: `SameStorageError`, `AsciidError`, `OSError`.
    """
    if _is_same(source, target):
        message = f"{source} and {target} are the same storage"
        raise SameStorageError(message)
    with ExitStack() as stack:
        copier = Copier(
            _source(stack, source),
            _target(stack, target),
            found,
            lambda step, done: progress(step, done, copier.total),
        )
        copier.run()
    return {
        "images": copier.images,
        "pending": copier.pending,
        "blocked": copier.blocked,
        "copied": copier.copied,
        "bytes": copier.size,
    }


def _source(stack: ExitStack, storage: Path | DatabaseURL) -> ICopySource:
    """Open a storage to read it, until the stack is closed."""
    if isinstance(storage, DatabaseURL):
        with named(storage):
            from asciid.engines import postgresql  # noqa: PLC0415 - it is an extra

            database = postgresql.Database(storage.text)
            return stack.enter_context(postgresql.open_source(database, str(storage)))
    remedy = "stop its daemon, or copy a backup of it (asciid backup)"
    with _in_use(storage, remedy):
        file = stack.enter_context(StorageFile(storage, lock=_lock(storage)))
    return maintenance.FileSource(file)


def _target(stack: ExitStack, storage: Path | DatabaseURL) -> ICopyTarget:
    """Open a storage to write to it, until the stack is closed."""
    if isinstance(storage, DatabaseURL):
        with named(storage):
            from asciid.engines import postgresql  # noqa: PLC0415 - it is an extra

            database = postgresql.Database(storage.text)
            return stack.enter_context(postgresql.open_target(database, str(storage)))
    lock = _lock(storage)
    with _in_use(storage, "stop its daemon"):
        lock.acquire()
    stack.callback(lock.release)
    maintenance.prepare_storage(storage, sync=True)
    file = stack.enter_context(StorageFile(storage, lock=lock))
    return maintenance.FileTarget(file)


def _lock(path: Path) -> StorageLock:
    return StorageLock(path, holder="asciid copy", timeout=0.0)


@contextmanager
def _in_use(path: Path, remedy: str) -> Iterator[None]:
    """Add the path and a `remedy` to a `StorageInUseError`."""
    try:
        yield
    except StorageInUseError as error:
        message = f"{path} is {error}: {remedy}"
        raise StorageInUseError(message) from error


def _is_same(source: Path | DatabaseURL, target: Path | DatabaseURL) -> bool:
    if isinstance(source, DatabaseURL) or isinstance(target, DatabaseURL):
        return source == target
    return source.exists() and target.exists() and source.samefile(target)
