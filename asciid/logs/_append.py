"""A log file that is reopened after rotation."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["LOOK_EVERY", "AppendedFile", "write_lines"]

LOOK_EVERY = 1.0
"""Seconds between checks for rotation."""

_MODE = 0o640

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY

_UNREACHABLE = {
    stat.S_IFIFO: "no process has the FIFO open for reading",
    stat.S_IFSOCK: "it is a socket",
}
"""The meaning of ENXIO by file type."""


@define
class AppendedFile:
    """
    Appends whole lines atomically, so that several processes can share the file.

    It is reopened within a second of being moved or deleted (log rotation), or after an
    error.  Writes block on a slow reader of a FIFO, and on the disk: use it in a
    thread.  `monotonic` is in seconds.
    """

    path: Path
    monotonic: Callable[[], float] = time.monotonic
    _descriptor: int | None = field(init=False, default=None)
    _look_at: float = field(init=False, default=float("-inf"))
    """Time of the next check for rotation."""
    _error: OSError | None = field(init=False, default=None)
    """The error of the last attempt to open it, until the next check."""
    _torn: tuple[int, int] | None = field(init=False, default=None)
    """Device and inode of a file that may end with an incomplete line."""

    def write(self, lines: str) -> None:
        """
        Append `lines`, each with its newline.

        Errors: `OSError`; some of them may have been written.
        """
        try:
            if self.monotonic() >= self._look_at:
                self._look_at = self.monotonic() + LOOK_EVERY
                self._error = None
                self._follow()
            elif self._error is not None:
                raise self._error
            descriptor = (
                self._opened() if self._descriptor is None else self._descriptor
            )
            status = os.fstat(descriptor)
            identity = status.st_dev, status.st_ino
            if self._torn == identity and stat.S_ISREG(status.st_mode):
                # Terminates a line that a full disk cut off.
                lines = f"\n{lines}"
            self._torn = identity
            write_lines(descriptor, lines)
            self._torn = None
        except OSError as error:
            self._error = error
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _follow(self) -> None:
        """Close the file if it was moved or deleted."""
        if self._descriptor is None:
            return
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._descriptor)):
            self.close()

    def _opened(self) -> int:
        try:
            # Opening a FIFO blocks until it has a reader.
            descriptor = os.open(self.path, _FLAGS | os.O_NONBLOCK, _MODE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                kind = stat.S_IFMT(self.path.stat().st_mode)
                reason = _UNREACHABLE.get(kind, error.strerror)
                raise OSError(errno.ENXIO, reason) from error
            raise
        os.set_blocking(descriptor, True)
        self._descriptor = descriptor
        return descriptor


def write_lines(descriptor: int, lines: str) -> None:
    """
    Write `lines` to a file, pipe, socket or terminal; blocks.

    Writes to pipes are atomic, so lines of several processes do not mix.

    Errors: `OSError`.
    """
    data = lines.encode("utf-8", "backslashreplace")
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        _write_all(descriptor, data)
        return
    for piece in _pieces(data):
        _write_all(descriptor, piece)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Split at line ends into pieces that a pipe writes atomically (PIPE_BUF)."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
        if not end:
            # A longer line.
            end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Another process has set O_NONBLOCK on the shared file.
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
