"""Fake reactors and agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import MemoryReactorClock
from twisted.web.client import ResponseNeverReceived
from twisted.web.iweb import IAgent
from zope.interface import implementer

if TYPE_CHECKING:
    from treq.testing import RequestTraversalAgent

__all__ = ["FailingAgent", "FakeReactor", "StuckAgent", "TickingReactor"]


class FakeReactor(MemoryReactorClock):
    """A reactor that fires the triggers of its shutdown, and counts the stops."""

    stops = 0
    _exitSignal: int | None = None

    def stop(self) -> None:
        """Shut down, by SIGINT or by the program."""
        self.stops += 1
        for trigger, args, kwargs in self.triggers["before"]["shutdown"]:
            trigger(*args, **kwargs)


class TickingReactor(FakeReactor):
    """A reactor whose time passes until it is stopped, or has nothing to wait for."""

    def __init__(self, agent: RequestTraversalAgent) -> None:
        super().__init__()
        self.agent = agent

    def run(self) -> None:
        """Advance time, and deliver the writes of `agent`."""
        for function, args, kwargs in self.whenRunningHooks:
            function(*args, **kwargs)
        while not self.stops and self.getDelayedCalls():
            self.advance(0.01)
            self.agent.flush()
        if not self.stops:
            self.stop()


@implementer(IAgent)
class StuckAgent:
    """An agent whose requests stay unanswered; it counts them."""

    def __init__(self) -> None:
        self.requests: list[Deferred[Any]] = []
        self.uris: list[bytes] = []
        self.cancelled = 0

    def request(
        self,
        _method: bytes,
        uri: bytes,
        *_: object,
    ) -> Deferred[Any]:
        """Never answer; fail like the real thing when cancelled."""

        def cancel(request: Deferred[Any]) -> None:
            self.cancelled += 1
            cancelled = Deferred[None]()
            cancelled.cancel()
            cancelled.addErrback(
                lambda failure: request.errback(ResponseNeverReceived([failure]))
            )

        self.uris.append(uri)
        self.requests.append(Deferred(cancel))
        return self.requests[-1]


@implementer(IAgent)
class FailingAgent:
    """An agent whose requests fail at once."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def request(self, *_: object) -> Deferred[Any]:
        """Fail."""
        return fail(self.error)
