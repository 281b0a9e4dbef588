"""Tests of asciid.workers._watchdog."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.workers._watchdog import (
    HEARTBEAT_INTERVAL,
    HEARTBEAT_TIMEOUT,
    READY_TIMEOUT,
    Watchdog,
)

LONG = 3600.0


class WatchdogTests(SynchronousTestCase):
    """Processes that hang, and processes that are late."""

    def setUp(self) -> None:
        """Start a watchdog."""
        self.clock = Clock()
        self.called: list[str] = []
        self.watchdog = Watchdog(
            self.clock,
            on_hang=lambda: self.called.append("hang"),
            on_late=lambda: self.called.append("late"),
        )

    def pass_time(self, seconds: float) -> None:
        """Let time pass as it does where nothing is stopped."""
        self.clock.pump([1.0] * round(seconds))

    def test_lives(self) -> None:
        """A process that sends heartbeats is left alone."""
        self.watchdog.ready()
        for _ in range(100):
            self.watchdog.beat()
            self.pass_time(HEARTBEAT_TIMEOUT - HEARTBEAT_INTERVAL)
        self.assertEqual(self.called, [])

    def test_silent(self) -> None:
        """A process without heartbeats is reported once, and watched no more."""
        self.watchdog.ready()
        self.watchdog.beat()
        self.pass_time(HEARTBEAT_TIMEOUT)
        self.assertEqual(self.called, [])
        self.pass_time(HEARTBEAT_INTERVAL)
        self.assertEqual(self.called, ["hang"])
        self.pass_time(LONG)
        self.assertEqual(self.called, ["hang"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_before_the_first_sign(self) -> None:
        """The first heartbeat may take any time, but the process is late."""
        self.pass_time(LONG)
        self.assertEqual(self.called, ["late"])
        self.watchdog.beat()
        self.pass_time(HEARTBEAT_TIMEOUT + HEARTBEAT_INTERVAL)
        self.assertEqual(self.called, ["late", "hang"])

    def test_late(self) -> None:
        """A process that sends heartbeats and is not ready is reported once."""
        for _ in range(round(READY_TIMEOUT) * 3):
            self.watchdog.beat()
            self.pass_time(1)
        self.assertEqual(self.called, ["late"])

    def test_stopped_itself(self) -> None:
        """
        Time for which the parent was stopped does not count.

        Heartbeats of that time are read after it, and are not too late.
        """
        self.watchdog.ready()
        self.watchdog.beat()
        self.pass_time(HEARTBEAT_TIMEOUT - HEARTBEAT_INTERVAL)
        self.clock.advance(LONG)
        self.assertEqual(self.called, [])
        self.watchdog.beat()
        self.pass_time(HEARTBEAT_TIMEOUT - HEARTBEAT_INTERVAL)
        self.assertEqual(self.called, [])
        self.pass_time(3 * HEARTBEAT_INTERVAL)
        self.assertEqual(self.called, ["hang"])

    def test_stopped_itself_at_the_start(self) -> None:
        """Nor does it make a process late."""
        self.clock.advance(LONG)
        self.pass_time(READY_TIMEOUT - HEARTBEAT_INTERVAL)
        self.watchdog.ready()
        self.pass_time(LONG)
        self.assertEqual(self.called, [])

    def test_stopped(self) -> None:
        """A stopped watchdog reports nothing; it may be stopped twice."""
        self.watchdog.beat()
        self.watchdog.stop()
        self.watchdog.stop()
        self.pass_time(LONG)
        self.assertEqual(self.called, [])
