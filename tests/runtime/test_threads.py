"""Tests of asciid.runtime.threads."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any

from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime._call_queue import CallQueue
from asciid.runtime.threads import FixedThreadPool, call_in_pool
from asciid.testing import ManualReactor, ManualThreadPool, run
from tests.store._support import no_thread


class FixedThreadPoolTests(SynchronousTestCase):
    """A pool whose threads all exist from its start on."""

    def threads(self) -> list[threading.Thread]:
        """Return the threads that run."""
        return [thread for thread in threading.enumerate() if "fixed" in thread.name]

    def test_starts_all(self) -> None:
        """All threads run once it is started; work needs no more of them."""
        pool = FixedThreadPool(3, "fixed")
        self.assertEqual(self.threads(), [])
        pool.start()
        self.addCleanup(pool.stop)
        self.assertEqual(len(self.threads()), 3)
        self.patch(threading.Thread, "start", no_thread)
        done = threading.Semaphore(0)
        for _ in range(10):
            pool.callInThread(done.release)
        for _ in range(10):
            self.assertTrue(done.acquire(timeout=10))

    def test_stop(self) -> None:
        """Calls are made in their order; those that wait at the stop, too."""
        pool = FixedThreadPool(1, "fixed")
        pool.start()
        began, go_on, made = threading.Event(), threading.Event(), list[int]()
        pool.callInThread(began.set)
        pool.callInThread(go_on.wait, 10)
        for number in range(3):
            pool.callInThread(made.append, number)
        self.assertTrue(began.wait(10))
        self.assertEqual(made, [])
        go_on.set()
        pool.stop()
        self.assertEqual(made, [0, 1, 2])
        self.assertEqual(self.threads(), [])
        pool.callInThread(made.append, 3)
        self.assertEqual(made, [0, 1, 2])

    def test_exit(self) -> None:
        """What would end a thread is a failure of the call, and ends none."""
        pool = FixedThreadPool(1, "fixed")
        pool.start()
        outcomes: list[tuple[bool, object]] = []

        def take(succeeded: bool, result: object) -> None:  # noqa: FBT001 - Twisted's
            outcomes.append((succeeded, result))

        pool.callInThread(sys.exit)
        pool.callInThreadWithCallback(take, sys.exit)
        pool.callInThreadWithCallback(take, int, "12")
        pool.stop()
        [(failed, failure), other] = outcomes
        self.assertFalse(failed)
        self.assertIsInstance(failure, Failure)
        self.assertEqual(other, (True, 12))
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_failing_calls(self) -> None:
        """A call that fails is logged, unless it is handled, and ends no thread."""
        pool = FixedThreadPool(1, "fixed")
        pool.start()
        outcomes: list[tuple[bool, object]] = []

        def take(succeeded: bool, result: object) -> None:  # noqa: FBT001 - Twisted's
            outcomes.append((succeeded, result))
            if result == "refuse":
                raise ValueError

        pool.callInThread(lambda: 1 / 0)
        pool.callInThreadWithCallback(take, lambda: 1 / 0)
        pool.callInThreadWithCallback(take, lambda: "refuse")
        pool.callInThreadWithCallback(take, int, "12", base=3)
        pool.stop()
        (failed, failure), *others = outcomes
        self.assertFalse(failed)
        self.assertIsInstance(failure, Failure)
        self.assertEqual(others, [(True, "refuse"), (True, 5)])
        logged = self.flushLoggedErrors(ZeroDivisionError, ValueError)
        self.assertEqual(len(logged), 2)

    def test_keeps_nothing(self) -> None:
        """A thread that waits refers to no argument or result of its last call."""

        class Large:
            """An argument, and the result."""

        large = Large()
        reference = weakref.ref(large)
        found: list[bool] = []

        class Calls(CallQueue[Any]):
            """Records what the thread still refers to when it begins to wait."""

            def get(self) -> Any:  # noqa: ANN401 - any call
                found.append(reference() is not None)
                return super().get()

        pool = FixedThreadPool(1, "fixed")
        pool._calls = Calls()
        pool.callInThreadWithCallback(lambda *_: None, lambda each: each, large)
        del large
        pool.start()
        pool.stop()
        self.assertEqual(found, [True, False])

    def test_limit_of_threads(self) -> None:
        """Where the last thread cannot be created, there is none."""
        start = threading.Thread.start

        def start_two(thread: threading.Thread) -> None:
            if len(self.threads()) == 2:
                no_thread()
            start(thread)

        limited = self.patch(threading.Thread, "start", start_two)
        pool = FixedThreadPool(3, "fixed")
        error = self.assertRaises(OSError, pool.start)
        self.assertIn("cannot create the threads of fixed: can't start", str(error))
        self.assertEqual(self.threads(), [])
        limited.restore()


class CallInPoolTests(SynchronousTestCase):
    """A call in a pool that creates threads on demand."""

    def test_result(self) -> None:
        """The Deferred has the result or the exception of the call."""
        reactor, pool = ManualReactor(), ManualThreadPool()
        called = call_in_pool(reactor, pool, int, "12", base=3)
        self.assertEqual(run(called, reactor, pool), 5)
        failed = call_in_pool(reactor, pool, int, "none")
        self.assertRaises(ValueError, run, failed, reactor, pool)

    def test_no_thread(self) -> None:
        """Without a thread the call fails, and the pool can be used and stopped."""
        reactor, pool = ManualReactor(), ThreadPool(0, 1)
        pool.start()
        limited = self.patch(threading.Thread, "start", no_thread)
        called = call_in_pool(reactor, pool, int, "1")
        error = self.failureResultOf(called, OSError).value
        self.assertIn("cannot create a thread: can't start", str(error))
        limited.restore()
        called = call_in_pool(reactor, pool, int, "1")
        pool.stop()
        reactor.advance(0)
        self.assertEqual(self.successResultOf(called), 1)
