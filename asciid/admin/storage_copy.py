"""
The command that copies one storage to another.

A directory must not have a running daemon: this process locks it.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from asciid.admin._copier import Copier
from asciid.engines.lmdb import maintenance
from asciid.engines.lmdb.maintenance import StorageFile, StorageLock
from asciid.errors import AsciidError
from asciid.store.engine import StorageInUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asciid.store.transfer import ICopySource, ICopyTarget

__all__ = ["SameStorageError", "copy_storage"]


class SameStorageError(AsciidError):
    """Source and target are the same storage."""


def copy_storage(
    source: Path,
    target: Path,
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
            stack.enter_context(_source(source)),
            stack.enter_context(_target(target)),
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


@contextmanager
def _source(path: Path) -> Iterator[ICopySource]:
    remedy = "stop its daemon, or copy a backup of it (asciid backup)"
    with ExitStack() as stack:
        with _in_use(path, remedy):
            storage = stack.enter_context(StorageFile(path, lock=_lock(path)))
        yield maintenance.FileSource(storage)


@contextmanager
def _target(path: Path) -> Iterator[ICopyTarget]:
    lock = _lock(path)
    with ExitStack() as stack:
        with _in_use(path, "stop its daemon"):
            lock.acquire()
        stack.callback(lock.release)
        maintenance.prepare_storage(path, sync=True)
        storage = stack.enter_context(StorageFile(path, lock=lock))
        yield maintenance.FileTarget(storage)


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


def _is_same(source: Path, target: Path) -> bool:
    return source.exists() and target.exists() and source.samefile(target)
