"""Who uses a storage directory: many at a time, or one that replaces its file."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LMDB_LOCK_FILE",
    "LOCK_FILE",
    "StorageInUseError",
    "StorageLock",
    "make_room_for_readers",
]

LOCK_FILE = "asciid.lock"

LMDB_LOCK_FILE = "lock.mdb"
"""The name that LMDB gives the file in which it notes who reads and who writes."""

_LMDB_LOCK = 128
"""Bytes that LMDB has at the beginning of that file ..."""

_READER = 64
"""... and for each reader."""


class StorageInUseError(OSError):
    """Another process uses the storage in a way that does not go with ours."""


def make_room_for_readers(path: Path, readers: int) -> None:
    """
    Have room on the disk for all of LMDB's lock file in the directory `path`.

    LMDB writes to it through a map.  Made by LMDB it has no room, and on a full
    disk to write to a page of it for the first time ends the process by SIGBUS.

    Errors: `OSError`.
    """
    size = _LMDB_LOCK + readers * _READER
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path / LMDB_LOCK_FILE, flags, 0o640)
    try:
        if os.fstat(descriptor).st_size < size:
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


@define(eq=False)
class StorageLock:
    """
    A lock on the directory `path`; see flock(2).

    The kernel takes it back when the process ends, in whatever way.  LMDB's
    own lock file knows who reads and who writes, but not whether the data file
    may be replaced.
    """

    path: Path
    exclusive: bool
    """Whether nobody else may use the directory meanwhile."""
    file: str = field(default=LOCK_FILE, kw_only=True)
    """The name of the file that is locked, and made where it is not there."""
    _descriptor: int | None = field(init=False, default=None)

    def acquire(self) -> None:
        """
        Take the lock, at once or not at all.

        Errors: `StorageInUseError`, `OSError`.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path / self.file, flags, 0o640)
        kind = fcntl.LOCK_EX if self.exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            use = "used by another process" if self.exclusive else "being compacted"
            message = f"{self.path} is {use}"
            raise StorageInUseError(message) from error
        self._descriptor = descriptor

    def claim(self) -> None:
        """
        Have the directory alone from now on, at once or not at all.

        Errors: `StorageInUseError`, `OSError`; the lock is lost then, for the
        kernel gives the old one up before it tries for the new one.
        """
        if self._descriptor is None:
            message = f"{self.path} is not locked"
            raise StorageInUseError(message)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{self.path} is used by another process"
            raise StorageInUseError(message) from error

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
