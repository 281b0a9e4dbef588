"""Tests of asciid.engines.remote._last_snapshots."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.remote._last_snapshots import LastSnapshots
from asciid.metrics import merge
from tests.workers._support import told

MANY = 50


class ToldTests(SynchronousTestCase):
    """The figures of processes that come and go."""

    def setUp(self) -> None:
        """Know nothing."""
        self.told = LastSnapshots({})

    def counted(self, asking: str) -> float:
        """Return the chunks that all others have counted."""
        others = {metric.name: metric for metric in merge(self.told.others(asking))}
        return others["asciid_chunks_stored"].samples[0].value

    def test_many_ended(self) -> None:
        """However many have ended, little is kept, and nothing is forgotten."""
        for number in range(MANY):
            name = f"process {number}"
            self.told.note(name, told(2))
            self.told.note(name, told(3))
            self.told.end(name)
        self.assertEqual(self.counted("another"), 3 * MANY)
        self.assertLess(len(self.told.others("another")), MANY / 2)

    def test_loaded(self) -> None:
        """What another process has saved is known; who comes again counts once."""
        for name, chunks in (("old", 2), ("new", 3)):
            self.told.note(name, told(chunks))
        self.told.end("old")
        for _ in range(MANY):
            saved = self.told.all()
            self.told = LastSnapshots(saved)
            self.told.note("new", told(3))
            self.told.note("short", told(1))
            self.told.end("short")
        self.assertEqual(self.counted("another"), 2 + 3 + 1)

    def test_writers(self) -> None:
        """However often the process that writes is replaced, little is kept."""
        for number in range(MANY):
            saved = {**self.told.all(), f"writer {number}": told(1)}
            self.told = LastSnapshots(saved)
            self.told.note("worker", told(3))
            self.told.note(f"ended {number}", told(2))
            self.told.end(f"ended {number}")
        self.assertEqual(self.counted("another"), 3 + 3 * MANY)
        self.assertLess(len(self.told.all()), MANY / 2)

    def test_unknown(self) -> None:
        """One that ends before it has told anything leaves nothing behind."""
        self.told.end("process")
        self.assertEqual(self.told.others("another"), [])
