"""What a process that the parent has started does, from its start to its end."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger

from asciid.logs import LineWriter, pass_on, write_lines
from asciid.runtime.malloc import set_allocator_thresholds
from asciid.runtime.tuning import count_monotonically, rest_collector
from asciid.workers._spawning import (
    ALIVE,
    HELD,
    LIFELINE,
    LOG,
    PRINTED,
    READY,
    REREAD,
    SIGNS,
)
from asciid.workers._watching import SIGN_EVERY

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from asciid.config.settings import Settings

__all__ = ["IRole", "run"]

_log = Logger()


class IRole(Protocol):
    """What a process does."""

    def start(self) -> Deferred[None]:
        """Begin; answer once the work is done as it should be."""

    def retire(self) -> Deferred[None]:
        """Leave the work to the process that comes next; answer once that is so."""

    def stop(self) -> Deferred[None]:
        """Finish what is under way, then end."""

    def reread(self) -> None:
        """Read again what may have changed in files."""


def run(make: Callable[[Settings, Any], IRole], settings: Settings) -> None:
    """Be the process that `make` makes until told to end; exit."""
    # The parent puts this into its own log.
    log = LineWriter("the parent's log", "log", partial(write_lines, os.dup(LOG)))
    pass_on(log)
    from twisted.internet import reactor  # noqa: PLC0415 - importing installs it

    count_monotonically(reactor)
    rest_collector()
    set_allocator_thresholds()
    log.attach(reactor)
    life = _Life(make(settings, reactor), reactor)
    reactor.callWhenRunning(life.begin)
    reactor.addSystemEventTrigger("before", "shutdown", life.end)
    reactor.run()
    sys.exit(life.code)


class _Life:
    """A process from its start to its end, and the signals in between."""

    def __init__(self, role: IRole, reactor: Any) -> None:  # noqa: ANN401 - several interfaces
        self._role = role
        self._reactor = reactor
        self._ending = False
        self._replaced = False
        self.code = 0

    def begin(self) -> None:
        """Begin to work, once the reactor has its own signal handlers."""
        # Who types Ctrl-C means the parent, which ends the others in order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, lambda *_: self._note_successor())
        signal.signal(
            REREAD, lambda *_: self._reactor.callFromThread(self._role.reread)
        )
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        _Lifeline(self._orphaned, self._reactor).startReading()
        # A parent that is stopped reads nothing, and must not have this process wait.
        for descriptor in (SIGNS, PRINTED):
            os.set_blocking(descriptor, False)
        self._live()
        self._role.start().addCallbacks(self._announce, self._give_up)

    def end(self) -> Deferred[None]:
        """End the work; the reactor stops when that is done."""
        self._ending = True
        # Who signals the whole group has the parent pass on the same once more.  At
        # a second one it ends at once, and this process with it.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return Deferred.fromCoroutine(self._ended())

    def _announce(self, _: None) -> None:
        self._tell(READY)

    def _live(self) -> None:
        """Give the parent a sign of life now and then, as long as the reactor turns."""
        self._tell(ALIVE)
        self._reactor.callLater(SIGN_EVERY, self._live)

    def _tell(self, sign: bytes) -> None:
        # At the end of a parent that has ended the lifeline is what counts.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(SIGNS, sign)

    def _give_up(self, failure: Failure) -> None:
        _log.critical("{reason}", reason=failure.getErrorMessage())
        self.code = 1
        self._stop()

    def _note_successor(self) -> None:
        """Take note that another process takes this one's place when it ends."""
        self._replaced = True

    async def _ended(self) -> None:
        if self._replaced:
            await self._role.retire()
        await self._role.stop()

    def _orphaned(self) -> None:
        if self._ending:
            # The parent was told to end at once, and so is this.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        self._stop()

    def _stop(self) -> None:
        if not self._ending:
            self._ending = True
            self._reactor.stop()


class _Lifeline(FileDescriptor):
    """A pipe that ends when the parent does, however that happens."""

    connected = 1

    def __init__(self, ended: Callable[[], None], reactor: Any) -> None:  # noqa: ANN401 - several interfaces
        super().__init__(reactor)
        self._ended = ended
        os.set_blocking(LIFELINE, False)

    def fileno(self) -> int:
        """Return the descriptor."""
        return LIFELINE

    def doRead(self) -> Exception | None:
        """Look whether this is the end: nothing is ever written."""
        if os.read(LIFELINE, 1):
            return None
        return CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """Tell of the end, which not every reactor has read before this."""
        super().connectionLost(reason)
        # A reactor that stops calls this, too, with another reason.
        if reason.check(ConnectionDone):
            self._ended()
