"""Unix sockets in a storage directory."""

from __future__ import annotations

import os
from contextlib import suppress
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
    The socket `file` in `directory`, for this user and root alone: mode 0600.

    `reactor` provides IReactorUNIX.
    """

    directory: Path
    file: str
    reactor: Any
    _descriptor: int | None = field(init=False, default=None)
    _port: IListeningPort | None = field(init=False, default=None)

    def listen(self, factory: IProtocolFactory) -> None:
        """
        Listen; this process must own the storage.

        Errors: `OSError`, `twisted.internet.error.CannotListenError`.
        """
        self._descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            name = socket_name(self._descriptor, self.file)
            # An owner that was killed has left it.
            Path(name).unlink(missing_ok=True)
            self._port = self.reactor.listenUNIX(name, factory, mode=0o600)
        except BaseException:
            self._close()
            raise

    def stop(self) -> None:
        """Remove the socket, if there is one; connections stay as they are."""
        port, self._port = self._port, None
        if port is not None and self._descriptor is not None:
            # Twisted cannot remove one that has been removed.
            with suppress(OSError):
                Path(socket_name(self._descriptor, self.file)).touch()
            maybeDeferred(port.stopListening).addBoth(lambda _: self._close())

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
