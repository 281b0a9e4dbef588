"""
How commands reach the owner of a storage: a Unix socket beside the file.

A command is one line of JSON, ``{"version": 1, "command": NAME}`` with the arguments
of that command; a file descriptor may come with it (SCM_RIGHTS).  The answer is one
line of JSON, too, which has ``"version": 1`` and either what the command answers or
``"error"``, one line for people.  Lines with ``"progress"`` may precede it.  Then the
owner closes the connection.
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
MAX_LINE = 1024
"""Bytes of a command at the most."""
PATIENCE = 10.0
"""Seconds for a command to arrive."""

if TYPE_CHECKING:
    Command = Callable[["Request"], Deferred[Mapping[str, object]]]

_log = Logger()


@define(eq=False)
class Request:
    """A command that has arrived."""

    arguments: Mapping[str, Any]
    """What the line of the command has."""
    progress: Callable[[Mapping[str, object]], None]
    """Sends what was found so far."""
    descriptor: int | None = field(default=None)
    """A descriptor that came with it, valid until the command was begun."""


@implementer(interfaces.IFileDescriptorReceiver)
class _Connection(LineOnlyReceiver, TimeoutMixin):
    """Reads one command and answers it; a command that closes it is cancelled."""

    transport: ITransport
    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE

    def __init__(self, commands: Mapping[str, Command], clock: IReactorTime) -> None:
        self._commands = commands
        self._asked = False
        self._descriptors: list[int] = []
        self._answering: Deferred[None] | None = None
        self._clock = clock

    def callLater(self, period: float, func: Callable[[], object]) -> IDelayedCall:
        """Make a call later; see `TimeoutMixin`."""
        return self._clock.callLater(period, func)

    def connectionMade(self) -> None:
        self.setTimeout(PATIENCE)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Take a descriptor that came before the line, or with it."""
        if self._asked or self._descriptors:
            os.close(descriptor)
        else:
            self._descriptors.append(descriptor)

    def lineReceived(self, line: bytes) -> None:
        if self._asked:
            return
        self._asked = True
        self.setTimeout(None)
        try:
            name, command, arguments = self._command(line)
        except ValueError as error:
            self._answer({"error": str(error)})
            return
        _log.info("{command} begins, as a command asks", command=name)
        descriptor = self._descriptors[0] if self._descriptors else None
        request = Request(arguments, self._progress, descriptor)
        answering = maybeDeferred(command, request)
        # Another process has it by now, or nobody needs it.
        self._close_descriptors()
        self._answering = answering.addCallbacks(
            self._done, self._failed, callbackArgs=(name,), errbackArgs=(name,)
        )
        self._answering.addErrback(
            lambda failure: _log.failure("A command was not answered", failure)
        )

    def _close_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _command(self, line: bytes) -> tuple[str, Command, Mapping[str, Any]]:
        try:
            document = json.loads(line)
        except ValueError as error:
            message = "the command is not JSON"
            raise ValueError(message) from error
        if not isinstance(document, dict) or document.get("version") != VERSION:
            message = f"only version {VERSION} of the commands is known"
            raise ValueError(message)
        name = document.get("command")
        if not isinstance(name, str) or name not in self._commands:
            message = f"the commands are {', '.join(self._commands)}"
            raise ValueError(message)
        return name, self._commands[name], document

    def lineLengthExceeded(self, _: bytes) -> None:
        self._answer({"error": f"a command has at most {MAX_LINE} bytes"})

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the command, if it is still under way."""
        del reason
        self.setTimeout(None)
        self._close_descriptors()
        if self._answering is not None:
            self._answering.cancel()

    def _done(self, outcome: Mapping[str, object], name: str) -> None:
        details = ", ".join(f"{key} {value}" for key, value in outcome.items())
        _log.info(
            "{command} is done{details}",
            command=name,
            details=f": {details}" if details else "",
        )
        self._answer(outcome)

    def _failed(self, failure: Failure, name: str) -> None:
        if failure.check(CancelledError):
            _log.warn("{command} is cancelled: the command ended", command=name)
            return
        reason = str(failure.value) or type(failure.value).__name__
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
    The socket in the storage `directory`, for this user and root alone: mode 0600.

    `commands` are called by their names.  `reactor` provides IReactorUNIX and
    IReactorTime.
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

        The daemon works without, too: where it is impossible the log says why.
        """
        try:
            self._socket.listen(self._factory)
        except (OSError, CannotListenError) as error:
            _log.warn("Commands cannot reach this daemon: {error}", error=error)

    def stop(self) -> None:
        """Remove the socket, if there is one; answers under way are still sent."""
        self._socket.stop()
        self._stopping()
