"""Tests of asciid.workers._watching."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.workers._watching import READY_WITHIN, SIGN_EVERY, SILENT_FOR, Watch

LONG = 3600.0


class WatchTests(SynchronousTestCase):
    """What is heard of a process, and what that means."""

    def setUp(self) -> None:
        """Begin to watch."""
        self.clock = Clock()
        self.told: list[str] = []
        self.watch = Watch(
            self.clock,
            on_silent=lambda: self.told.append("silent"),
            on_late=lambda: self.told.append("late"),
        )

    def let_go_by(self, seconds: float) -> None:
        """Let time go by as it does where nothing is stopped."""
        self.clock.pump([1.0] * round(seconds))

    def test_lives(self) -> None:
        """Of a process that gives signs of life nothing is told."""
        self.watch.ready()
        for _ in range(100):
            self.watch.heard()
            self.let_go_by(SILENT_FOR - SIGN_EVERY)
        self.assertEqual(self.told, [])

    def test_silent(self) -> None:
        """One that falls silent is told of, once, and watched no more."""
        self.watch.ready()
        self.watch.heard()
        self.let_go_by(SILENT_FOR)
        self.assertEqual(self.told, [])
        self.let_go_by(SIGN_EVERY)
        self.assertEqual(self.told, ["silent"])
        self.let_go_by(LONG)
        self.assertEqual(self.told, ["silent"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_before_the_first_sign(self) -> None:
        """Until it can give a sign a process has as long as it takes, but is late."""
        self.let_go_by(LONG)
        self.assertEqual(self.told, ["late"])
        self.watch.heard()
        self.let_go_by(SILENT_FOR + SIGN_EVERY)
        self.assertEqual(self.told, ["late", "silent"])

    def test_late(self) -> None:
        """One that lives and does not come to do its work is told of, once."""
        for _ in range(round(READY_WITHIN) * 3):
            self.watch.heard()
            self.let_go_by(1)
        self.assertEqual(self.told, ["late"])

    def test_stopped_itself(self) -> None:
        """
        Time in which nobody could watch does not count.

        What the process said meanwhile is read after that, and is not too late.
        """
        self.watch.ready()
        self.watch.heard()
        self.let_go_by(SILENT_FOR - SIGN_EVERY)
        self.clock.advance(LONG)
        self.assertEqual(self.told, [])
        self.watch.heard()
        self.let_go_by(SILENT_FOR - SIGN_EVERY)
        self.assertEqual(self.told, [])
        self.let_go_by(3 * SIGN_EVERY)
        self.assertEqual(self.told, ["silent"])

    def test_stopped_itself_at_the_start(self) -> None:
        """Nor does it make a process late."""
        self.clock.advance(LONG)
        self.let_go_by(READY_WITHIN - SIGN_EVERY)
        self.watch.ready()
        self.let_go_by(LONG)
        self.assertEqual(self.told, [])

    def test_ended(self) -> None:
        """Of a process that has ended nothing is told, however often that is said."""
        self.watch.heard()
        self.watch.end()
        self.watch.end()
        self.let_go_by(LONG)
        self.assertEqual(self.told, [])
