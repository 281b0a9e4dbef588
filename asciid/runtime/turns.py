"""
Shares the reactor's time among clients.

Work that can wait is queued for its client.  While more than one client is
active, each client gets `SLICE` seconds in a turn of the reactor, so a client with a
hundred connections delays the others no longer than one with a single connection.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

__all__ = ["Share", "Turn", "Turns"]

SLICE = 0.0004
"""Seconds of one client in a turn of the reactor, while other clients are active."""

ROUND = 0.001
"""Seconds of all queues in a turn of the reactor, while several clients are active."""

WINDOW = 0.005
"""Seconds after which a client with an empty queue may use `SLICE` again."""

AT_WORK = 4
"""Requests of one client that are at work, while other clients are active."""

CONTENDED = 10.0
"""Seconds for which two clients count as active, from the last request of one on."""


class Turn:
    """A call that waits for its turn; `begins` is true if it begins a request."""

    __slots__ = ("_call", "begins")

    def __init__(self, call: Callable[[], None], *, begins: bool) -> None:
        self._call: Callable[[], None] | None = call
        self.begins = begins

    def cancel(self) -> None:
        """Do not make the call."""
        self._call = None

    def run(self) -> None:
        """Make the call, unless it was cancelled."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Share:
    """The use of the reactor by one client, and its queue of calls."""

    __slots__ = (
        "__weakref__",
        "_began",
        "_used",
        "at_work",
        "in_line",
        "parked",
        "queue",
    )

    def __init__(self) -> None:
        self.queue: deque[Turn] = deque()
        self.parked: deque[Turn] = deque()
        """Turns that wait until fewer requests are at work."""
        self.at_work = 0
        """Requests that were received, and are not answered yet."""
        self.in_line = False
        """Whether `Turns` has this in its line."""
        self._used = 0.0
        self._began = 0.0

    def must_wait(self, now: float) -> bool:
        """Return whether a request has to wait, as others of its client have to."""
        if self.queue or self.parked or self.at_work >= AT_WORK:
            return True
        if now - self._began >= WINDOW:
            self._began = now
            self._used = 0.0
        return self._used >= SLICE

    def use(self, seconds: float) -> None:
        """Count time that was used."""
        self._used += seconds

    def begin(self) -> None:
        """Count a request that is at work, until `Turns.done` is called."""
        self.at_work += 1


class Turns:
    """
    The queues of all clients.

    :param reactor: runs the queues.
    :param clock: monotonic seconds.
    :ivar latest: the share of the client that was active last.
    :ivar contended_until: the monotonic time until which several clients count as
        active.
    """

    def __init__(
        self, reactor: IReactorTime, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.latest: Share | None = None
        self.contended_until = float("-inf")
        self._reactor = reactor
        self._clock = clock
        self._shares: WeakValueDictionary[str, Share] = WeakValueDictionary()
        # Shares with something in their queue, the next one first.
        self._line: deque[Share] = deque()
        self._scheduled = False

    def share_of(self, client: str) -> Share:
        """Return the share of a client, by its key: one object while it is in use."""
        share = self._shares.get(client)
        if share is None:
            share = self._shares[client] = Share()
        return share

    def switch(self, share: Share, now: float) -> None:
        """Record that another client than the latest one is active."""
        if self.latest is not None:
            self.contended_until = now + CONTENDED
        self.latest = share

    def later(
        self, share: Share, call: Callable[[], None], *, begins: bool = False
    ) -> Turn:
        """
        Make `call` in a later turn of the reactor.

        :param begins: whether it begins a request, and so may have to wait for others.
        """
        turn = Turn(call, begins=begins)
        self._add(share, turn)
        return turn

    def done(self, share: Share) -> None:
        """Record that a request is no longer at work."""
        share.at_work -= 1
        if share.parked:
            self._add(share, share.parked.popleft())

    def _add(self, share: Share, turn: Turn) -> None:
        share.queue.append(turn)
        if not share.in_line:
            share.in_line = True
            self._line.append(share)
        if not self._scheduled:
            self._scheduled = True
            self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        line, self._line = self._line, deque()
        now = began = self._clock()
        contended = began < self.contended_until
        try:
            while line and not (contended and now - began >= ROUND):
                share = line.popleft()
                share.in_line = False
                now = self._run_queue(share, now, contended=contended)
        finally:
            self._line.extendleft(reversed(line))
            self._scheduled = bool(self._line)
            if self._scheduled:
                self._reactor.callLater(0, self._run)

    def _run_queue(self, share: Share, began: float, *, contended: bool) -> float:
        # Returns the time at the end.  Calls that are queued meanwhile wait for the
        # next turn of the reactor.
        queue = share.queue
        now = began
        try:
            for _ in range(len(queue)):
                turn = queue.popleft()
                if turn.begins and contended and share.at_work >= AT_WORK:
                    share.parked.append(turn)
                    continue
                turn.run()
                now = self._clock()
                if contended and now - began >= SLICE:
                    break
        finally:
            if queue and not share.in_line:
                share.in_line = True
                self._line.append(share)
        return now
