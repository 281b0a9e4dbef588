"""
The command socket of the owner of a storage: a Unix socket in its directory.

A request is one line of JSON, ``{"version": 1, "command": NAME}`` with the arguments of
the command, and optionally a file descriptor (SCM_RIGHTS).  The response is one line of
JSON with ``"version": 1`` and the result, or ``"error"`` and one line of text.  Lines
with ``"progress"`` may precede it.  Then the owner closes the connection.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet import interfaces
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.protocols.policies import TimeoutMixin
from zope.interface import implementer

from asciid.errors import AsciidError
from asciid.net.storage_socket import StorageSocket
from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from twisted.internet.interfaces import (
        IAddress,
        IDelayedCall,
        IReactorTime,
        ITransport,
    )
    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor

__all__ = ["MAX_LINE", "SOCKET_FILE", "VERSION", "Control"]

SOCKET_FILE = "asciid.sock"
VERSION = 1
MAX_LINE = 4096
"""Maximum bytes of a request line."""
REQUEST_TIMEOUT = 10.0
"""Maximum seconds until a request has been received."""

if TYPE_CHECKING:
    Command = Callable[["Request"], Deferred[Mapping[str, object]]]

_log = Logger()


@define(eq=False)
class Request:
    """A received command."""

    arguments: Mapping[str, Any]
    """The members of the request line."""
    progress: Callable[[Mapping[str, object]], None]
    """Sends a progress line."""
    descriptor: int | None = field(default=None)
    """The descriptor sent with the command; closed once the command was called."""


@implementer(interfaces.IFileDescriptorReceiver)
class _Connection(LineOnlyReceiver, TimeoutMixin):
    """Receives one command and sends its result; a disconnect cancels it."""

    transport: ITransport
    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE

    def __init__(self, commands: Mapping[str, Command], clock: IReactorTime) -> None:
        self._commands = commands
        self._received = False
        self._descriptors: list[int] = []
        self._answering: Deferred[None] | None = None
        self._clock = clock

    def callLater(self, period: float, func: Callable[[], object]) -> IDelayedCall:
        """Make a call later; see `TimeoutMixin`."""
        return self._clock.callLater(period, func)

    def connectionMade(self) -> None:
        self.setTimeout(REQUEST_TIMEOUT)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Receive a descriptor, before the line or with it."""
        if self._received or self._descriptors:
            os.close(descriptor)
        else:
            self._descriptors.append(descriptor)

    def lineReceived(self, line: bytes) -> None:
        if self._received:
            return
        self._received = True
        self.setTimeout(None)
        try:
            name, command, arguments = self._command(line)
        except ValueError as error:
            self._answer({"error": str(error)})
            return
        _log.info("{command} started by command", command=name)
        descriptor = self._descriptors[0] if self._descriptors else None
        request = Request(arguments, self._progress, descriptor)
        answering = maybeDeferred(command, request)
        # The command has passed it on to another process, or does not use it.
        self._close_descriptors()
        self._answering = answering.addCallbacks(
            self._done, self._failed, callbackArgs=(name,), errbackArgs=(name,)
        )
        self._answering.addErrback(
            lambda failure: _log.failure("command failed unexpectedly", failure)
        )

    def _close_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _command(self, line: bytes) -> tuple[str, Command, Mapping[str, Any]]:
        try:
            document = json.loads(line)
        except ValueError as error:
            message = "request is not a JSON object"
            raise ValueError(message) from error
        if not isinstance(document, dict) or document.get("version") != VERSION:
            message = f"unsupported protocol version (supported: {VERSION})"
            raise ValueError(message)
        name = document.get("command")
        if not isinstance(name, str) or name not in self._commands:
            message = f"unknown command (commands: {', '.join(self._commands)})"
            raise ValueError(message)
        return name, self._commands[name], document

    def lineLengthExceeded(self, _: bytes) -> None:
        self._answer({"error": f"request too long (limit {MAX_LINE} bytes)"})

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the command if it is still running."""
        del reason
        self.setTimeout(None)
        self._close_descriptors()
        if self._answering is not None:
            self._answering.cancel()

    def _done(self, outcome: Mapping[str, object], name: str) -> None:
        details = ", ".join(f"{key} {value}" for key, value in outcome.items())
        _log.info(
            "{command} finished{details}",
            command=name,
            details=f": {details}" if details else "",
        )
        self._answer(outcome)

    def _failed(self, failure: Failure, name: str) -> None:
        if failure.check(CancelledError):
            _log.warn("{command} cancelled: client disconnected", command=name)
            return
        reason = reason_of(failure.value)
        if failure.check(AsciidError, OSError):
            _log.warn("{command} failed: {reason}", command=name, reason=reason)
        else:
            _log.failure("{command} failed", failure, command=name)
        self._answer({"error": reason})

    def _progress(self, document: Mapping[str, object]) -> None:
        line = json.dumps({"version": VERSION, "progress": document}).encode()
        self.sendLine(line)

    def _answer(self, document: Mapping[str, object]) -> None:
        line = json.dumps({"version": VERSION, **document}).encode()
        self.sendLine(line)
        self.transport.loseConnection()


class _ConnectionFactory(Factory):
    """Makes connections."""

    noisy = False

    def __init__(self, commands: Mapping[str, Command], clock: IReactorTime) -> None:
        self._commands = commands
        self._clock = clock

    def buildProtocol(self, _: IAddress | None) -> _Connection:
        return _Connection(self._commands, self._clock)


class Control:
    """
    The socket in the storage `directory`, with mode 0600.

    `commands` are functions by name.  `reactor` provides IReactorUNIX and IReactorTime.
    """

    def __init__(
        self,
        directory: Path,
        commands: Mapping[str, Command],
        reactor: Reactor,
        stopping: Callable[[], object] = lambda: None,
    ) -> None:
        self._stopping = stopping
        self._socket = StorageSocket(directory, SOCKET_FILE, reactor)
        self._factory = _ConnectionFactory(commands, reactor)

    def start(self) -> None:
        """
        Listen; this process must own the storage.

        If it cannot listen, it logs the reason; the daemon works without it.
        """
        try:
            self._socket.listen(self._factory)
        except (OSError, CannotListenError) as error:
            _log.warn("command socket not available: {error}", error=reason_of(error))

    def stop(self) -> None:
        """Remove the socket, if any; pending responses are still sent."""
        self._socket.stop()
        self._stopping()
