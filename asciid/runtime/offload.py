"""Runs work that would hold the reactor thread for too long at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred

from asciid.errors import StoreBusyError
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from twisted.python.failure import Failure
    from twisted.python.threadpool import ThreadPool

    from asciid.runtime.client_scheduler import ClientScheduler, QueuedCall
    from asciid.runtime.reactor import Reactor

__all__ = ["AT_ONCE", "TIME_SLICE", "IOffload", "Offload", "run_steps"]

ResultT = TypeVar("ResultT")

TIME_SLICE = 0.0002
"""Seconds after which work in steps lets the reactor serve others."""


class IOffload(Protocol):
    """Runs work away from the current turn of the reactor."""

    def in_thread(self, call: Callable[[], ResultT]) -> Deferred[ResultT]:
        """
        Call `call` in a thread: for C code that releases the GIL.

        Cancelling the Deferred does not end the call.

        Errors: those of `call`; `StoreBusyError` if too many calls wait.
        """

    def in_slices(
        self, steps: Generator[None, None, ResultT], client: str = ""
    ) -> Deferred[ResultT]:
        """
        Run `steps` in slices of `TIME_SLICE` seconds on the reactor: for Python code.

        In a thread it would hold the GIL, and thereby the reactor, for 5 ms at a
        time.  A step must be short.  Cancelling the Deferred closes `steps`.

        `client` is the key of the client whose share of the reactor's time is used.

        Errors: those of `steps`.
        """


class Offload:
    """
    Offloads to a thread pool, and to later turns of the reactor.

    :param reactor: provides `IReactorTime` and `IReactorFromThreads`.
    :param pool: belongs to this object, which starts and stops it.
    :param scheduler: shares the reactor's time among clients.
    :param clock: monotonic seconds.
    :param max_waiting: calls that may wait for a thread or run in one.
    """

    def __init__(
        self,
        reactor: Reactor,
        pool: ThreadPool,
        *,
        scheduler: ClientScheduler,
        clock: Callable[[], float] = time.monotonic,
        max_waiting: int = 1_024,
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self._clock = clock
        self._scheduler = scheduler
        self._max_waiting = max_waiting
        self._waiting = 0

    def start(self) -> None:
        """
        Start the threads.

        Errors: those of `ThreadPool.start`.
        """
        self._pool.start()

    def stop(self) -> None:
        """Stop the threads; calls that wait for one are made first."""
        self._pool.stop()

    def in_thread(self, call: Callable[[], ResultT]) -> Deferred[ResultT]:
        """See `IOffload.in_thread`."""
        if self._waiting >= self._max_waiting:
            return fail(StoreBusyError())
        self._waiting += 1
        done: Deferred[ResultT] = Deferred()

        def ended(outcome: ResultT | Failure) -> None:
            self._waiting -= 1
            done.callback(outcome)

        call_in_pool(self._reactor, self._pool, call).addBoth(ended)
        return done

    def in_slices(
        self, steps: Generator[None, None, ResultT], client: str = ""
    ) -> Deferred[ResultT]:
        """See `IOffload.in_slices`; the first slice runs at once."""
        queue = self._scheduler.queue_of(client)
        later: list[QueuedCall] = []

        def cancel(_: Deferred[ResultT]) -> None:
            steps.close()
            for waiting in later:
                waiting.cancel()

        def run_slice() -> None:
            end = self._clock() + TIME_SLICE
            try:
                next(steps)
                while self._clock() < end:
                    next(steps)
            except StopIteration as stop:
                done.callback(stop.value)
            except Exception:  # noqa: BLE001 - handed to the caller
                done.errback()
            else:
                later[:] = [self._scheduler.later(queue, run_slice)]

        done: Deferred[ResultT] = Deferred(cancel)
        run_slice()
        return done


def run_steps(steps: Generator[None, None, ResultT]) -> ResultT:
    """Run all steps at once and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: ResultT = stop.value
            return result


class _AtOnce:
    """Does everything at once, in the caller's thread."""

    def in_thread(self, call: Callable[[], ResultT]) -> Deferred[ResultT]:
        """See `IOffload.in_thread`."""
        return maybeDeferred(call)

    def in_slices(
        self,
        steps: Generator[None, None, ResultT],
        client: str = "",  # noqa: ARG002 - there is no queue
    ) -> Deferred[ResultT]:
        """See `IOffload.in_slices`."""
        return maybeDeferred(run_steps, steps)


AT_ONCE: IOffload = _AtOnce()
"""For tests, and for processes that serve no other requests."""
