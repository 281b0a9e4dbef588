"""
Listening on a Unix socket whose name an earlier process may have left behind.

Twisted leaves a lock that names the process, and takes it for stale once there is no
process of that number.  In a container the number is always the same, 1 for example:
after a kill the daemon would wait for itself.  Here it counts whether anybody accepts
connections.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError

from asciid.runtime.reactor import ReactorProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IListeningPort, IProtocolFactory
    from twisted.python.failure import Failure


__all__ = ["PATIENCE", "NameKeeping", "StaleReplacing"]

PATIENCE = 10.0
"""
Seconds that a socket in use is waited for: its processes may be ending.

A storage in use is waited for as long.
"""

_PAUSE = 0.05


class StaleReplacing(ReactorProxy):
    """
    A reactor whose Unix sockets take the place of one that nobody answers on.

    Listening waits for `PATIENCE` seconds for a socket that is in use: it is for
    processes that start.
    """

    def listenUNIX(
        self,
        address: str,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,  # noqa: FBT001, FBT002 - as the interface has it
    ) -> IListeningPort:
        """
        Listen on a socket of that name; see `IReactorUNIX`.

        Errors: `CannotListenError` if somebody else does.
        """
        del wantPID
        deadline = time.monotonic() + PATIENCE
        while True:
            with _directory_locked(address):
                if _remove_stale(address):
                    port: IListeningPort = self._reactor.listenUNIX(
                        address, factory, backlog, mode
                    )
                    _remove_own_name_alone(port, address)
                    return port
            if time.monotonic() > deadline:
                reason = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
                raise CannotListenError("unix", address, reason)
            time.sleep(_PAUSE)


class NameKeeping(ReactorProxy):
    """
    A reactor that leaves the name of a Unix socket that it adopts where it is.

    The service manager that has made the socket keeps it, and starts the daemon again
    for the next connection.
    """

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> IListeningPort:
        """See `IReactorSocket`."""
        port: IListeningPort = self._reactor.adoptStreamPort(
            fileDescriptor, addressFamily, factory
        )
        if isinstance(port, unix.Port):
            port._shouldShutdown = False  # noqa: SLF001 - no other way
            port.connectionLost = partial(tcp.Port.connectionLost, port)  # type: ignore[method-assign] # likewise
        return port


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


def _remove_own_name_alone(port: IListeningPort, address: str) -> None:
    """Have a port remove its name in the end only if that is still its own."""
    if not isinstance(port, unix.Port):
        return
    own = os.lstat(address)

    def connection_lost(reason: Failure) -> None:
        # Somebody may have removed it, and another process have put its own there.
        with suppress(OSError):
            if os.path.samestat(own, os.lstat(address)):
                unix.Port.connectionLost(port, reason)
                return
        tcp.Port.connectionLost(port, reason)

    port.connectionLost = connection_lost  # type: ignore[method-assign] # no other way
