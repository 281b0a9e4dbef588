"""Tests of asciid.runtime.offload: work that is kept away from the reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import StoreBusyError
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import AT_ONCE, TIME_SLICE, Offload
from asciid.testing import ManualReactor, ManualThreadPool, run
from tests.store._support import no_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Steps:
    """Work of several steps, each of which takes `cost` seconds."""

    def __init__(self, steps: int, cost: float) -> None:
        self.steps = steps
        self.cost = cost
        self.now = 0.0
        self.done = 0
        self.closed = False

    def __iter__(self) -> Generator[None, None, str]:
        """Work."""
        try:
            for _ in range(self.steps):
                self.now += self.cost
                self.done += 1
                yield
        finally:
            self.closed = True
        return "result"

    def fail(self) -> Generator[None, None, str]:
        """Fail at the second step."""
        yield
        message = "broken"
        raise ValueError(message)


class OffloadTests(SynchronousTestCase):
    """A pool and a reactor that are stepped by hand."""

    def setUp(self) -> None:
        """Begin with two calls at most."""
        self.reactor = ManualReactor()
        self.pool = ManualThreadPool()
        self.steps = Steps(10, TIME_SLICE * 0.51)
        self.offload = Offload(
            self.reactor,
            self.pool,
            scheduler=ClientScheduler(self.reactor, lambda: self.steps.now),
            clock=lambda: self.steps.now,
            max_waiting=2,
        )

    def run_all(self, awaited: Deferred[str]) -> str:
        """Turn everything until there is a result."""
        return run(awaited, self.reactor, self.pool)

    def test_lifecycle(self) -> None:
        """The pool starts and stops with it."""
        self.offload.start()
        self.assertEqual((self.pool.started, self.pool.stopped), (True, False))
        self.offload.stop()
        self.assertTrue(self.pool.stopped)

    def test_in_thread(self) -> None:
        """A call is made in the pool; its result or failure is returned."""
        done = self.offload.in_thread(lambda: "result")
        self.assertNoResult(done)
        self.assertEqual(self.run_all(done), "result")
        failing: Deferred[str] = self.offload.in_thread(lambda: str(1 // 0))
        with self.assertRaises(ZeroDivisionError):
            self.run_all(failing)

    def test_bound(self) -> None:
        """Past the bound a call is refused; one that ended makes room."""
        first = self.offload.in_thread(lambda: "first")
        second = self.offload.in_thread(lambda: "second")
        self.failureResultOf(self.offload.in_thread(lambda: ""), StoreBusyError)
        self.assertEqual(self.run_all(first), "first")
        third = self.offload.in_thread(lambda: "third")
        self.assertEqual(self.run_all(second), "second")
        self.assertEqual(self.run_all(third), "third")

    def test_cancelled_call(self) -> None:
        """A cancelled call still runs, and frees its place afterwards."""
        for _ in range(5):
            done = self.offload.in_thread(lambda: "result")
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.assertTrue(self.pool.step())
            self.reactor.advance(0)

    def test_in_slices(self) -> None:
        """Steps go on for a bounded time in each turn of the reactor."""
        seen: list[int] = []
        call_later = self.reactor.callLater

        def note(delay: float, call: Callable[[], None]) -> object:
            seen.append(self.steps.done)
            return call_later(delay, call)

        self.patch(self.reactor, "callLater", note)
        done = self.offload.in_slices(iter(self.steps))
        self.assertNoResult(done)
        self.assertEqual(self.run_all(done), "result")
        self.assertEqual(seen, [2, 4, 6, 8, 10])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_failing_steps(self) -> None:
        """The work fails with the exception of a step."""
        self.failureResultOf(self.offload.in_slices(self.steps.fail()), ValueError)
        self.failureResultOf(AT_ONCE.in_slices(self.steps.fail()), ValueError)

    def test_cancelled_steps(self) -> None:
        """Cancelled work ends, and its resources are released."""
        done = self.offload.in_slices(iter(self.steps))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(self.steps.closed)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        """Without threads and turns everything is done before the call returns."""
        self.assertEqual(self.successResultOf(AT_ONCE.in_thread(lambda: 1)), 1)
        result = self.successResultOf(AT_ONCE.in_slices(iter(self.steps)))
        self.assertEqual((result, self.steps.done), ("result", 10))


class NoThreadTests(SynchronousTestCase):
    """The system allows no more threads."""

    def test_not_counted(self) -> None:
        """A call that no thread takes fails, and takes no place."""
        reactor, pool = ManualReactor(), ManualThreadPool()
        offload = Offload(
            reactor, pool, scheduler=ClientScheduler(reactor), max_waiting=1
        )
        limited = self.patch(pool, "callInThreadWithCallback", no_thread)
        for _ in range(2):
            self.failureResultOf(offload.in_thread(lambda: 1), OSError)
        limited.restore()
        self.assertEqual(run(offload.in_thread(lambda: 1), reactor, pool), 1)
