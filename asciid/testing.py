"""
Test doubles: thread pools and reactors that run immediately or in steps.

With these a store runs in a `twisted.trial.unittest.SynchronousTestCase`: the test
executes the work of threads, in order.  `MemoryStore` does everything immediately.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from asciid.engines.memory import MemoryEngine
from asciid.store import FOR_EVER, NO_LIMITS, ImageStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from asciid.store import IImageObserver, Lifetimes, PendingLimits

__all__ = [
    "ImmediateReactor",
    "ImmediateThreadPool",
    "ManualReactor",
    "ManualThreadPool",
    "MemoryStore",
    "run",
]

ResultT = TypeVar("ResultT")


class ManualReactor(Clock):
    """A `Clock` with `callFromThread`."""

    def callFromThread(
        self, call: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Schedule `call` for the next iteration; see `IReactorFromThreads`."""
        self.callLater(0, call, *args, **kwargs)


class ImmediateReactor:
    """Executes delayed calls, and calls from threads, immediately."""

    def callLater(
        self, delay: float, call: Callable[..., object], /, *args: object
    ) -> IDelayedCall:
        """Execute `call`; the result has nothing to cancel."""
        call(*args)
        return Clock().callLater(delay, list)

    def callFromThread(self, call: Callable[..., object], /, *args: object) -> None:
        """Execute `call`."""
        call(*args)


class ImmediateThreadPool(ThreadPool):
    """A pool without threads, which executes calls immediately."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def callInThread(
        self, func: Callable[..., object], *args: object, **kw: object
    ) -> None:
        """Execute the call."""
        func(*args, **kw)


class MemoryStore(ImageStore):
    """
    A started store in memory that does everything immediately.

    The parameters are those of `MemoryEngine` and `ImageStore`.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        *,
        lifetimes: Lifetimes = FOR_EVER,
        pending: PendingLimits = NO_LIMITS,
        listed_by_default: bool = True,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        observers: Sequence[IImageObserver] = (),
    ) -> None:
        reactor = ImmediateReactor()
        engine = MemoryEngine(
            reactor=reactor,
            pending=pending,
            clock=clock,
            monotonic=monotonic,
            pool=ImmediateThreadPool(),
            hash_pool=ImmediateThreadPool(),
        )
        super().__init__(
            engine,
            reactor=reactor,
            lifetimes=lifetimes,
            listed_by_default=listed_by_default,
            observers=observers,
        )
        super().start()


class ManualThreadPool(ThreadPool):
    """A pool without threads: `step` executes the oldest call."""

    def __init__(self) -> None:
        super().__init__(0, 1)
        self.work: deque[Callable[[], object]] = deque()
        self.started = False
        self.stopped = False

    def start(self) -> None:
        """Record the start."""
        self.started = True

    def stop(self) -> None:
        """Record the stop."""
        self.stopped = True

    def callInThread(
        self, func: Callable[..., object], *args: object, **kw: object
    ) -> None:
        """Queue a call for `step`."""
        self.work.append(lambda: func(*args, **kw))

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        func: Callable[..., object],
        *args: object,
        **kw: object,
    ) -> None:
        """Queue a call for `step`; call `onResult` with success and result."""

        def call() -> None:
            try:
                went_well, result = True, func(*args, **kw)
            except Exception:  # noqa: BLE001 - a pool passes on any exception
                went_well, result = False, Failure()
            if onResult is not None:
                onResult(went_well, result)

        self.work.append(call)

    def step(self) -> bool:
        """Execute the oldest call, if any; return whether there was one."""
        if not self.work:
            return False
        self.work.popleft()()
        return True


def run(
    awaited: Deferred[ResultT], reactor: ManualReactor, *pools: ManualThreadPool
) -> ResultT:
    """
    Run the reactor and the pools until `awaited` fires; return its result.

    When idle, advance the time to the next delayed call.

    Raises its failure, or `AssertionError` if nothing is left to do.
    """
    outcome: list[Any] = []
    awaited.addBoth(outcome.append)
    while not outcome:
        reactor.advance(0)
        stepped = [pool.step() for pool in pools if not outcome]
        if not outcome and not any(stepped):
            calls = reactor.getDelayedCalls()
            if not calls:
                message = "nothing is left to do, and there is no result"
                raise AssertionError(message)
            next_call = min(call.getTime() for call in calls)
            reactor.advance(max(0.0, next_call - reactor.seconds()))
    result = outcome[0]
    if hasattr(result, "raiseException"):
        result.raiseException()
    return cast("ResultT", result)
