"""The periodic task, on a fake clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings
from asciid.daemon.housekeeping import Housekeeper, housekeeping_interval
from asciid.errors import StorageFailedError
from asciid.testing import MemoryStore


class Store(MemoryStore):
    """A store that counts the calls and returns the test's result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.answer: Deferred[int] | None = None

    def expire(self) -> Deferred[int]:
        """Count the call and answer."""
        self.calls += 1
        return self.answer or succeed(0)


class HousekeeperTests(SynchronousTestCase):
    """When the store is called, and what is logged."""

    def setUp(self) -> None:
        """Make a housekeeper for every ten seconds."""
        self.clock = Clock()
        self.store = Store()
        self.housekeeper = Housekeeper(self.store, clock=self.clock, interval=10)
        self.addCleanup(self.housekeeper.stop)

    def test_calls(self) -> None:
        """The store is called at once and then at each interval, until the stop."""
        self.housekeeper.start()
        self.assertEqual(self.store.calls, 1)
        self.clock.advance(9)
        self.assertEqual(self.store.calls, 1)
        self.clock.advance(1)
        self.assertEqual(self.store.calls, 2)
        self.housekeeper.stop()
        self.clock.advance(100)
        self.assertEqual(self.store.calls, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_at_a_time(self) -> None:
        """A call that takes long is waited for."""
        self.store.answer = Deferred()
        self.housekeeper.start()
        self.clock.advance(100)
        self.assertEqual(self.store.calls, 1)
        answer, self.store.answer = self.store.answer, None
        answer.callback(0)
        self.clock.advance(10)
        self.assertEqual(self.store.calls, 2)

    def test_stopped_meanwhile(self) -> None:
        """After a stop no further call is made, even if one was in progress."""
        answer: Deferred[int] = Deferred()
        self.store.answer = answer
        self.housekeeper.start()
        self.housekeeper.stop()
        answer.callback(0)
        self.clock.advance(100)
        self.assertEqual(self.store.calls, 1)

    def test_log(self) -> None:
        """Removals are logged; if nothing was removed, nothing is logged."""
        self.store.answer = succeed(3)
        with capturedLogs() as events:
            self.housekeeper.start()
            self.store.answer = None
            self.clock.advance(10)
        (event,) = [
            e for e in events if e["log_namespace"] == "asciid.daemon.housekeeping"
        ]
        self.assertEqual(event["n"], 3)

    def test_failures(self) -> None:
        """Failures end nothing; of those in a row the first is logged."""
        with capturedLogs() as events:
            for seconds in (0, 10, 10):
                self.store.answer = fail(StorageFailedError())
                if seconds:
                    self.clock.advance(seconds)
                else:
                    self.housekeeper.start()
            self.store.answer = None
            self.clock.advance(10)
            self.store.answer = fail(StorageFailedError())
            self.clock.advance(10)
        self.assertEqual(self.store.calls, 5)
        warnings = [e for e in events if e["log_level"] is LogLevel.warn]
        self.assertEqual(len(warnings), 2)

    def test_mistakes(self) -> None:
        """What should not happen is logged in full, and ends nothing."""
        self.store.answer = fail(ZeroDivisionError())
        self.housekeeper.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.store.answer = None
        self.clock.advance(10)
        self.assertEqual(self.store.calls, 2)


class IntervalTests(SynchronousTestCase):
    """How often the store is called."""

    def test_intervals(self) -> None:
        """The interval follows the shortest lifetime, between 1 and 60 seconds."""
        for upload_ttl, image_ttl, interval in (
            (0, 0, 60),
            (24 * 60 * 60, 0, 60),
            (100, 0, 5),
            (24 * 60 * 60, 200, 10),
            (5, 200, 1),
        ):
            settings = Settings(
                "tcp:0",
                None,
                1,
                1,
                sync=True,
                upload_ttl=upload_ttl,
                image_ttl=image_ttl,
            )
            self.assertEqual(housekeeping_interval(settings), interval)
