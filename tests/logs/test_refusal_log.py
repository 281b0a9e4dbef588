"""Refused requests in the log."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.logs._refusal_log import INTERVAL, RefusalLog


class RefusalLogTests(SynchronousTestCase):
    """One line a reason and minute."""

    def setUp(self) -> None:
        """Begin with nothing refused."""
        self.clock = Clock()
        self.log = RefusalLog(self.clock)

    def note(self, *reasons: str) -> list[str]:
        """Count a refusal; return the lines logged at once."""
        with capturedLogs() as events:
            for reason in reasons:
                self.log.note(reason)
        return [formatEvent(event) for event in events]

    def minute(self) -> list[str]:
        """Advance a minute; return the lines logged."""
        with capturedLogs() as events:
            self.clock.advance(INTERVAL)
        return sorted(map(formatEvent, events))

    def test_first(self) -> None:
        """The first of a kind is logged at once."""
        self.assertEqual(
            self.note("not-found", "not-found", "store-busy"),
            [
                "request refused: not-found",
                "request refused: store-busy",
            ],
        )

    def test_counted(self) -> None:
        """Further ones are counted, and logged after a minute."""
        self.note("a", "b", *("a",) * 10)
        self.assertEqual(self.minute(), ["10 more requests refused within a minute: a"])
        self.assertEqual(self.note("a", "b"), ["request refused: b"])
        self.assertEqual(self.minute(), ["1 more requests refused within a minute: a"])

    def test_over(self) -> None:
        """After a quiet minute nothing is kept, and no timer runs."""
        self.note("a", "a")
        self.minute()
        self.assertEqual(self.minute(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.note("a"), ["request refused: a"])

    def test_end(self) -> None:
        """The remaining count is logged at the end."""
        self.note("a", "a", "a")
        with capturedLogs() as events:
            self.log.summarise()
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["2 more requests refused within a minute: a"],
        )
