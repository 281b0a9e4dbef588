"""Tests of asciid.testing."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from asciid.testing import ManualReactor, ManualThreadPool, run


class RunTests(SynchronousTestCase):
    """Driving a Deferred by hand."""

    def setUp(self) -> None:
        """Make the objects to run."""
        self.reactor = ManualReactor()
        self.pool = ManualThreadPool()

    def run_(self, awaited: Deferred[int]) -> int:
        """Drive `awaited`."""
        return run(awaited, self.reactor, self.pool)

    def test_result(self) -> None:
        """Work in the pool and calls from it run until there is a result."""
        awaited: Deferred[int] = Deferred()
        self.pool.callInThread(self.reactor.callFromThread, awaited.callback, 5)
        self.assertEqual(self.run_(awaited), 5)

    def test_failure(self) -> None:
        """A failure is raised."""
        awaited: Deferred[int] = fail(KeyError("key"))
        self.assertRaises(KeyError, self.run_, awaited)

    def test_later(self) -> None:
        """Time advances to calls that are due later."""
        awaited: Deferred[int] = Deferred()
        self.reactor.callLater(5, awaited.callback, 1)
        self.assertEqual(self.run_(awaited), 1)
        self.assertEqual(self.reactor.seconds(), 5)

    def test_nothing_left_to_do(self) -> None:
        """A Deferred that nothing would ever fire is an error, not a hang."""
        self.assertRaises(AssertionError, self.run_, Deferred())

    def test_idle_pool(self) -> None:
        """A pool without work returns False."""
        self.assertFalse(self.pool.step())
