"""
Listens on a Unix socket whose name an earlier process may have left behind.

Twisted leaves a lock file with the process id, and takes it for stale once no process
has that id.  In a container the id is always the same, 1 for example: after a kill the
daemon would wait for itself.  Here a socket is stale if it refuses connections.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.error import CannotListenError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PATIENCE", "UnixName", "open_unix_socket"]

PATIENCE = 2.0
"""Seconds to wait for a socket in use: the processes that have it may be exiting."""

_PAUSE = 0.05


@frozen
class UnixName:
    """The name of a Unix socket that this process has made."""

    address: str
    made: os.stat_result

    def remove(self) -> None:
        """Remove the name, unless another process has put its own there."""
        with suppress(OSError):
            if os.path.samestat(self.made, os.lstat(self.address)):
                Path(self.address).unlink()


def open_unix_socket(
    address: str, backlog: int, mode: int
) -> tuple[socket.socket, UnixName]:
    """
    Listen on a socket of that name; it replaces one that nobody answers on.

    This waits for `PATIENCE` seconds for a socket that is in use, and is for processes
    that start.

    Errors: `CannotListenError` if another process listens there.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        with _directory_locked(address):
            if _remove_stale(address):
                return _listen(address, backlog, mode)
        if time.monotonic() > deadline:
            reason = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            raise CannotListenError("unix", address, reason)
        time.sleep(_PAUSE)


def _listen(address: str, backlog: int, mode: int) -> tuple[socket.socket, UnixName]:
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.settimeout(0)
        opened.bind(address)
        # Nobody can connect before it listens.
        Path(address).chmod(mode)
        name = UnixName(address, os.lstat(address))
        opened.listen(backlog)
    except OSError as error:
        opened.close()
        raise CannotListenError("unix", address, error) from error
    return opened, name


@contextmanager
def _directory_locked(address: str) -> Iterator[None]:
    """
    Keep others from replacing sockets in the same directory at the same time.

    Two processes that start would each take the other's socket for a stale one before
    it listens.  A directory that cannot be read, or that somebody keeps locked, is used
    without.
    """
    try:
        directory = os.open(Path(address).parent, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + PATIENCE
        while not _lock(directory) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(directory)


def _lock(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_stale(address: str) -> bool:
    """Remove a socket that nobody answers on; return whether the name can be used."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(address).st_mode)
    except OSError:
        return True  # there is none, or the reason why will be found again
    if not is_socket:
        return True  # listening fails, and what is there stays
    if _is_served(address):
        return False
    Path(address).unlink()
    # Twisted's own, of an earlier release.
    with suppress(OSError):
        Path(f"{address}.lock").unlink()
    return True


def _is_served(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        # A queue that is full (EAGAIN), or a socket that may not be opened, is
        # somebody's, too.
        return probe.connect_ex(address) not in {errno.ECONNREFUSED, errno.ENOENT}
