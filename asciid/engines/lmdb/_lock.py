"""The lock that gives a storage directory one owner."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import define, field

from asciid.engines.lmdb._directories import (
    DATA_FILE,
    LMDB_LOCK_FILE,
    LOCK_FILE,
    make_directory,
    sync_directory,
)
from asciid.store.engine import StorageInUseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "StorageLock",
    "StorageMovedError",
    "make_room_for_readers",
]

LOCK_TIMEOUT = 10.0
"""Seconds for which a start waits for an owner that is ending."""

_RETRY_EVERY = 0.05
"""Seconds between two attempts."""

_LMDB_LOCK = 128
"""Bytes that LMDB has at the beginning of its lock file ..."""

_READER = 64
"""... and for each reader."""

_LONGEST_DESCRIPTION = 200
"""Bytes of the owner's description that are read."""


class StorageMovedError(OSError):
    """The path of the storage names another directory than the opened one, or none."""


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
    The ownership of the directory `path`, for one process and its children.

    It is an exclusive flock(2) on the directory itself: no file can be removed to
    get a second one, it moves with a directory that is renamed, it holds across PID
    namespaces and containers, and the kernel releases it when the last process
    that inherited the descriptor has ended.  `LOCK_FILE` in the directory only
    describes the owner, for error messages.

    A process that has `inherited` the descriptor has the lock, until it ends.
    """

    path: Path
    sync: bool = field(default=True, kw_only=True)
    """Whether the names of new directories survive a power cut."""
    holder: str = field(default="asciid", kw_only=True)
    """The name of the owner, for error messages."""
    timeout: float = field(default=LOCK_TIMEOUT, kw_only=True)
    """Seconds to wait for another owner to end."""
    inherited: int | None = field(default=None, kw_only=True)
    monotonic: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    sleep: Callable[[float], None] = field(default=time.sleep, kw_only=True)
    _descriptor: int | None = field(init=False, default=None)
    _status: os.stat_result | None = field(init=False, default=None)
    """The status of the directory that is locked, once `check` has read it."""

    @property
    def held(self) -> int:
        """
        The descriptor that has the lock.

        Errors: `StorageInUseError` if it is not held.
        """
        held = self._descriptor if self.inherited is None else self.inherited
        if held is None:
            message = "the storage is closed"
            raise StorageInUseError(message)
        return held

    def acquire(self) -> None:
        """
        Create the directory if it does not exist, and take the lock.

        This blocks for up to `timeout` seconds.

        Errors: `StorageInUseError`, `OSError`.
        """
        if self.inherited is not None or self._descriptor is not None:
            return
        deadline = self.monotonic() + self.timeout
        while not self._try():
            if self.monotonic() >= deadline:
                raise StorageInUseError(self._refusal())
            self.sleep(_RETRY_EVERY)
        # A full disk must not keep a daemon from serving stored images.
        with suppress(OSError):
            self._describe(self._description())

    def check(self) -> None:
        """
        Check that `path` still names the directory that is locked.

        Errors: `StorageMovedError`, `OSError`.
        """
        if self._status is None:
            self._status = os.fstat(self.held)
        try:
            if os.path.samestat(self._status, self.path.stat()):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        message = f"{self.path} is no longer the directory that was opened"
        raise StorageMovedError(message)

    def release(self) -> None:
        """Release the lock, unless a child process still holds it."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._describe("")
            os.close(self._descriptor)
            self._descriptor = self._status = None

    def _try(self) -> bool:
        """Take the lock; return False if another process has it."""
        self._make_directory()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(self.path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # While this waited, the owner's directory may have been renamed.
            if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                self._descriptor, descriptor = descriptor, -1
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return False

    def _make_directory(self) -> None:
        """
        Create the directory, and have its name survive a power cut.

        Without a data file, an earlier start may have been interrupted between the
        two; with one, nothing above it has changed.
        """
        make_directory(self.path)
        if self.sync and not (self.path / DATA_FILE).exists():
            for directory in self.path.resolve().parents:
                # One that this user cannot read was not created here.
                with suppress(PermissionError):
                    sync_directory(directory)

    def _description(self) -> str:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        host = socket.gethostname()
        return f"{self.holder}, pid {os.getpid()} on host {host}, since {since}"

    def _describe(self, description: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(LOCK_FILE, flags, 0o640, dir_fd=self._descriptor)
        try:
            os.write(descriptor, description.encode())
        finally:
            os.close(descriptor)

    def _refusal(self) -> str:
        owner = b""
        with suppress(OSError), (self.path / LOCK_FILE).open("rb") as file:
            owner = file.read(_LONGEST_DESCRIPTION)
        text = owner.decode("utf-8", "replace")
        return f"in use by {text if text and text.isprintable() else 'another process'}"
