"""
Listens on Unix sockets, replacing stale ones.

Twisted uses a lock file with the process id, which is stale once no process has that
id.  In a container the id is always the same, such as 1: after a kill the daemon would
wait for itself.  Here a socket is stale if it refuses connections.
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

__all__ = ["RELEASE_TIMEOUT", "UnixName", "open_unix_socket"]

RELEASE_TIMEOUT = 2.0
"""Seconds to wait for a socket in use, whose processes may be exiting."""

_PAUSE = 0.05


@frozen
class UnixName:
    """The name of a Unix socket that this process created."""

    address: str
    made: os.stat_result

    def remove(self) -> None:
        """Remove the name, unless another process has replaced it."""
        with suppress(OSError):
            if os.path.samestat(self.made, os.lstat(self.address)):
                Path(self.address).unlink()


def open_unix_socket(
    address: str, backlog: int, mode: int
) -> tuple[socket.socket, UnixName]:
    """
    Listen on a socket of that name, replacing a stale one.

    Blocks up to `RELEASE_TIMEOUT` seconds for a socket in use; to be called only at the
    start.

    Errors: `CannotListenError` if another process listens there.
    """
    deadline = time.monotonic() + RELEASE_TIMEOUT
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
        # Connections are possible only after listen().
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
    Lock the directory against concurrent replacement of sockets.

    Otherwise two starting processes could each consider the other's socket stale before
    it listens.  A directory that cannot be read, or stays locked, is used without a
    lock.
    """
    try:
        directory = os.open(Path(address).parent, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + RELEASE_TIMEOUT
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
    """Remove a stale socket; return whether the name is free."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(address).st_mode)
    except OSError:
        return True  # no socket, or bind() will report the error
    if not is_socket:
        return True  # not a socket: bind() fails
    if _is_served(address):
        return False
    Path(address).unlink()
    # of Twisted, from an earlier release
    with suppress(OSError):
        Path(f"{address}.lock").unlink()
    return True


def _is_served(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        # A full backlog (EAGAIN) or EACCES means that it is in use, too.
        return probe.connect_ex(address) not in {errno.ECONNREFUSED, errno.ENOENT}
