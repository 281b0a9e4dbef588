"""Reports the state of the daemon to the service manager that has started it."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from asciid.runtime.reactor import Reactor

__all__ = ["RETRY_AFTER", "ServiceManager"]

RETRY_AFTER = 0.1
"""Seconds until a message is sent again that found the socket's buffer full."""

_is_interval = re.compile("[0-9]{1,20}").fullmatch
"""Whether a text is a number of microseconds, which has 64 bits."""

_log = Logger()


@define(eq=False)
class ServiceManager:
    """
    The service manager's end of the protocol in sd_notify(3).

    `address` is NOTIFY_SOCKET, the empty string if there is none: then nothing is
    sent.  `watchdog` is the time in seconds within which the service manager expects
    a sign of life, None if it expects none.  It is sent by `reactor` (IReactorTime)
    twice in that time, so that a reactor that is stuck is noticed.  Nothing here
    blocks: a message for which there is no room is sent again later, but not a sign of
    life.
    """

    reactor: Any
    address: str = ""
    watchdog: float | None = None
    _socket: socket.socket | None = field(init=False, default=None)
    _unsent: list[bytes] = field(init=False, factory=list)
    _status: str = field(init=False, default="")
    _reloads: int = field(init=False, default=0)
    """Reloads that are under way."""
    _serves: bool = field(init=False, default=False)
    _unreachable: bool = field(init=False, default=False)
    """Whether the last message could not be sent, which was logged."""

    @classmethod
    def from_environment(
        cls,
        environ: MutableMapping[str, str],
        reactor: Reactor,
    ) -> ServiceManager:
        """
        Return the service manager that `environ` names, and remove its variables.

        Child processes must not notify it; the watchdog watches this process only.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        interval = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        watchdog = None
        if _is_interval(interval) and int(interval) and pid in {"", str(os.getpid())}:
            watchdog = int(interval) / 1_000_000
        if address and address[0] not in "/@":
            _log.warn(
                "NOTIFY_SOCKET is neither a path nor an abstract name: {address}",
                address=address,
            )
            address = ""
        return cls(reactor, address, watchdog)

    def serving(self, status: str) -> None:
        """Report that the daemon serves; `status` is one line for people."""
        self._status, self._serves = status, True
        self._send(f"READY=1\nSTATUS={status}")
        if self.address and self.watchdog is not None:
            alive = LoopingCall(self._send_sign_of_life)
            alive.clock = self.reactor
            alive.start(self.watchdog / 2)

    def reload(self, action: Callable[[], object]) -> None:
        """
        Have `action` reload the configuration, and report begin and end.

        Before the daemon serves, or once it stops, that is not reported: the service
        manager would take its end for that of the start.
        """
        if not self._serves:
            action()
            return
        self._reloads += 1
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reloading")
        maybeDeferred(action).addErrback(
            lambda failure: _log.failure("reload failed", failure)
        ).addCallback(lambda _: self._reloaded())

    def stopping(self) -> None:
        """Report that the daemon stops."""
        self._serves = False
        self._send("STOPPING=1\nSTATUS=Finishing the requests under way")

    def _reloaded(self) -> None:
        self._reloads -= 1
        if self._serves and not self._reloads:
            self._send(f"READY=1\nSTATUS={self._status}")

    def _send_sign_of_life(self) -> None:
        if not self._unsent:
            self._try_to_send(b"WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self.address:
            self._unsent.append(message.encode())
            if len(self._unsent) == 1:
                self._send_all()

    def _send_all(self) -> None:
        while self._unsent:
            if not self._try_to_send(self._unsent[0]):
                self.reactor.callLater(RETRY_AFTER, self._send_all)
                return
            del self._unsent[0]

    def _try_to_send(self, message: bytes) -> bool:
        """Return whether `message` is dealt with: sent, or impossible to send."""
        if self._socket is None:
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
            )
        # A name that begins with @ is in the abstract namespace (unix(7)).
        name = f"\0{self.address[1:]}" if self.address[0] == "@" else self.address
        try:
            self._socket.sendto(message, name)
        except BlockingIOError:
            return False
        except OSError as error:
            if not self._unreachable:
                reason = reason_of(error)
                _log.warn("cannot reach the service manager: {reason}", reason=reason)
            self._unreachable = True
        else:
            self._unreachable = False
        return True
