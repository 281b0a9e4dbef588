"""Unix sockets in a storage directory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from asciid.runtime.text import reason_of
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IDelayedCall,
        IListeningPort,
        IProtocolFactory,
    )

__all__ = ["CHECK_EVERY", "StorageSocket", "socket_name"]

CHECK_EVERY = 10.0
"""Seconds between checks that a socket exists."""

_log = Logger()


def socket_name(directory: int, file: str) -> str:
    """
    Return a short name of the socket `file` in an open directory.

    The system limits the names of sockets to about 100 bytes; paths of storages may be
    longer.
    """
    return f"/proc/self/fd/{directory}/{file}"


@define(eq=False)
class StorageSocket:
    """
    The socket `file` in `directory`, with mode 0600.

    A removed socket is created again within `CHECK_EVERY` seconds.  `reactor` provides
    IReactorUNIX, IReactorTime and IReactorThreads.
    """

    directory: Path
    file: str
    reactor: Any
    _descriptor: int | None = field(init=False, default=None)
    _port: IListeningPort | None = field(init=False, default=None)
    _factory: IProtocolFactory | None = field(init=False, default=None)
    """None unless listening."""
    _check: IDelayedCall | None = field(init=False, default=None)

    def listen(self, factory: IProtocolFactory) -> None:
        """
        Listen; this process must own the storage.

        Errors: `OSError`, `twisted.internet.error.CannotListenError`.
        """
        self._descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            name = socket_name(self._descriptor, self.file)
            # left by a killed owner
            Path(name).unlink(missing_ok=True)
            self._port = self.reactor.listenUNIX(name, factory, mode=0o600)
        except BaseException:
            self._close()
            raise
        self._factory = factory
        self._check_later()

    def stop(self) -> None:
        """Remove the socket, if any; open connections are kept."""
        port, self._port, self._factory = self._port, None, None
        waiting = self._check is not None and self._check.active()
        if self._check is not None and waiting:
            self._check.cancel()
        if port is not None and self._descriptor is not None:
            # Twisted's removal fails if the file does not exist.
            with suppress(OSError):
                Path(socket_name(self._descriptor, self.file)).touch()
            maybeDeferred(port.stopListening).addBoth(lambda _: self._close())
        elif waiting:
            self._close()

    def _check_later(self) -> None:
        self._check = self.reactor.callLater(CHECK_EVERY, self._look)

    def _look(self) -> None:
        """Check, in a thread, whether the socket still exists."""
        if self._port is None:
            self._listen_again(None)
            return
        name = socket_name(self._descriptor or 0, self.file)
        pool = self.reactor.getThreadPool()
        # No thread available: check next time.
        call_in_pool(self.reactor, pool, os.path.lexists, name).addCallbacks(
            self._looked, lambda _: self._looked(is_there=True)
        )

    def _looked(self, is_there: object) -> None:
        if self._factory is None or self._port is None or self._descriptor is None:
            return
        if is_there:
            self._check_later()
            return
        _log.warn("{file} was removed; creating it again", file=self.file)
        port, self._port = self._port, None
        name = socket_name(self._descriptor, self.file)
        # Twisted's removal fails if the file does not exist.
        with suppress(OSError):
            Path(name).touch()
        maybeDeferred(port.stopListening).addBoth(self._listen_again)

    def _listen_again(self, _: object) -> None:
        factory = self._factory
        if factory is None:
            self._close()
            return
        try:
            name = socket_name(self._descriptor or 0, self.file)
            self._port = self.reactor.listenUNIX(name, factory, mode=0o600)
        except (OSError, CannotListenError) as error:
            reason = reason_of(error)
            _log.error("cannot create {file}: {reason}", file=self.file, reason=reason)
        self._check_later()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
