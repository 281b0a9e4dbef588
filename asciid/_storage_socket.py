"""Unix sockets in a storage directory."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory

__all__ = ["StorageSocket", "socket_name"]


def socket_name(directory: int, file: str) -> str:
    """
    Return a name of the socket `file` in the directory open as that descriptor.

    The system takes only about 100 bytes for the name of a socket, which that of
    a storage may exceed.
    """
    return f"/proc/self/fd/{directory}/{file}"


@define(eq=False)
class StorageSocket:
    """
    The socket `file` in `directory`, for whoever may open it: mode 0600.

    Of several processes that listen on it, the first has it.  `reactor` provides
    IReactorUNIX.
    """

    directory: Path
    file: str
    reactor: Any
    _descriptor: int | None = field(init=False, default=None)
    _port: IListeningPort | None = field(init=False, default=None)

    def listen(self, factory: IProtocolFactory) -> bool:
        """
        Listen, if no other process does; tell whether that is so.

        The directory must exist.

        Errors: `OSError`, `twisted.internet.error.CannotListenError`.
        """
        try:
            self._descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            # Two processes that start must not take one another's socket for one
            # that was left behind.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                name = socket_name(self._descriptor, self.file)
                self._port = self._listen(name, factory)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            if self._port is None:
                self._close()
        return self._port is not None

    def stop(self) -> None:
        """Remove the socket, if there is one; connections stay as they are."""
        port, self._port = self._port, None
        if port is not None and self._descriptor is not None:
            if os.path.lexists(socket_name(self._descriptor, self.file)):
                maybeDeferred(port.stopListening).addBoth(lambda _: self._close())
            else:
                self._close()

    def _listen(self, name: str, factory: IProtocolFactory) -> IListeningPort | None:
        if os.path.lexists(name):
            if _is_served(name):
                return None
            Path(name).unlink()
        port: IListeningPort = self.reactor.listenUNIX(name, factory, mode=0o600)
        return port

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _is_served(name: str) -> bool:
    """Tell whether anybody listens on the socket of that name."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003 - as the method is
        # A queue that is full (EAGAIN) is somebody's, too.
        return probe.connect_ex(name) not in (errno.ECONNREFUSED, errno.ENOENT)
