"""Tests of asciid.runtime.threads."""

from __future__ import annotations

import threading

from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

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
