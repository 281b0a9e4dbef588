"""
Shares the reactor's time among clients.

Work that can wait is queued for its client.  While more than one client is
active, each client gets `CLIENT_SLICE` seconds in a turn of the reactor, so a client
with a hundred connections delays the others no longer than one with a single
connection.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

__all__ = ["ClientQueue", "ClientScheduler", "QueuedCall"]

CLIENT_SLICE = 0.0004
"""Seconds of one client in a turn of the reactor, while other clients are active."""

ROUND = 0.001
"""Seconds of all queues in a turn of the reactor, while several clients are active."""

WINDOW = 0.005
"""Seconds after which a client with an empty queue may use `CLIENT_SLICE` again."""

AT_WORK = 4
"""Requests of one client that are at work, while other clients are active."""

CONTENDED = 10.0
"""Seconds for which two clients count as active, from the last request of one on."""


class QueuedCall:
    """A call in a queue; `begins` is true if it begins a request."""

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


class ClientQueue:
    """The use of the reactor by one client, and its queue of calls."""

    __slots__ = (
        "__weakref__",
        "_began",
        "_used",
        "at_work",
        "calls",
        "in_line",
        "parked",
    )

    def __init__(self) -> None:
        self.calls: deque[QueuedCall] = deque()
        self.parked: deque[QueuedCall] = deque()
        """Calls that wait until fewer requests are at work."""
        self.at_work = 0
        """Requests that were received, and are not answered yet."""
        self.in_line = False
        """Whether `ClientScheduler` has this in its line."""
        self._used = 0.0
        self._began = 0.0

    def must_wait(self, now: float) -> bool:
        """Return whether a request has to wait, as others of its client have to."""
        if self.calls or self.parked or self.at_work >= AT_WORK:
            return True
        if now - self._began >= WINDOW:
            self._began = now
            self._used = 0.0
        return self._used >= CLIENT_SLICE

    def use(self, seconds: float) -> None:
        """Count time that was used."""
        self._used += seconds

    def begin(self) -> None:
        """Count a request that is at work, until `ClientScheduler.done` is called."""
        self.at_work += 1


class ClientScheduler:
    """
    The queues of all clients.

    :param reactor: runs the queues.
    :param clock: monotonic seconds.
    :ivar latest: the queue of the client that was active last.
    :ivar contended_until: the monotonic time until which several clients count as
        active.
    """

    def __init__(
        self, reactor: IReactorTime, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.latest: ClientQueue | None = None
        self.contended_until = float("-inf")
        self._reactor = reactor
        self._clock = clock
        self._queues: WeakValueDictionary[str, ClientQueue] = WeakValueDictionary()
        # Queues that are not empty, the next one first.
        self._line: deque[ClientQueue] = deque()
        self._scheduled = False

    def queue_of(self, client: str) -> ClientQueue:
        """Return the queue of a client, by its key: one object while it is in use."""
        queue = self._queues.get(client)
        if queue is None:
            queue = self._queues[client] = ClientQueue()
        return queue

    def switch(self, queue: ClientQueue, now: float) -> None:
        """Record that another client than the latest one is active."""
        if self.latest is not None:
            self.contended_until = now + CONTENDED
        self.latest = queue

    def later(
        self, queue: ClientQueue, call: Callable[[], None], *, begins: bool = False
    ) -> QueuedCall:
        """
        Make `call` in a later turn of the reactor.

        :param begins: whether it begins a request, and so may have to wait for others.
        """
        queued = QueuedCall(call, begins=begins)
        self._add(queue, queued)
        return queued

    def done(self, queue: ClientQueue) -> None:
        """Record that a request is no longer at work."""
        queue.at_work -= 1
        if queue.parked:
            self._add(queue, queue.parked.popleft())

    def _add(self, queue: ClientQueue, queued: QueuedCall) -> None:
        queue.calls.append(queued)
        if not queue.in_line:
            queue.in_line = True
            self._line.append(queue)
        if not self._scheduled:
            self._scheduled = True
            self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        line, self._line = self._line, deque()
        now = began = self._clock()
        contended = began < self.contended_until
        try:
            while line and not (contended and now - began >= ROUND):
                queue = line.popleft()
                queue.in_line = False
                now = self._run_queue(queue, now, contended=contended)
        finally:
            self._line.extendleft(reversed(line))
            self._scheduled = bool(self._line)
            if self._scheduled:
                self._reactor.callLater(0, self._run)

    def _run_queue(self, queue: ClientQueue, began: float, *, contended: bool) -> float:
        # Returns the time at the end.  Calls that are queued meanwhile wait for the
        # next turn of the reactor.
        calls = queue.calls
        now = began
        try:
            for _ in range(len(calls)):
                queued = calls.popleft()
                if queued.begins and contended and queue.at_work >= AT_WORK:
                    queue.parked.append(queued)
                    continue
                queued.run()
                now = self._clock()
                if contended and now - began >= CLIENT_SLICE:
                    break
        finally:
            # One call that was released may begin no request: its connection is closed,
            # or the response was sent at once.  Nothing else would release the others.
            while queue.parked and queue.at_work + len(calls) < AT_WORK:
                calls.append(queue.parked.popleft())
            if calls and not queue.in_line:
                queue.in_line = True
                self._line.append(queue)
        return now
