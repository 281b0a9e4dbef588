"""Tests of asciid.engines.remote._last_snapshots."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.remote._last_snapshots import LastSnapshots
from asciid.metrics import merge
from tests.workers._support import told

MANY = 50


class LastSnapshotsTests(SynchronousTestCase):
    """The figures of processes that come and go."""

    def setUp(self) -> None:
        """Know nothing."""
        self.snapshots = LastSnapshots({})

    def counted(self, asking: str) -> float:
        """Return the chunks that all others have counted."""
        others = {
            metric.name: metric for metric in merge(self.snapshots.others(asking))
        }
        return others["asciid_chunks_stored"].samples[0].value

    def test_many_ended(self) -> None:
        """However many have ended, little is kept, and nothing is forgotten."""
        for number in range(MANY):
            name = f"process {number}"
            self.snapshots.note(name, told(2))
            self.snapshots.note(name, told(3))
            self.snapshots.end(name)
        self.assertEqual(self.counted("another"), 3 * MANY)
        self.assertLess(len(self.snapshots.others("another")), MANY / 2)

    def test_loaded(self) -> None:
        """What another process has saved is known; who comes again counts once."""
        for name, chunks in (("old", 2), ("new", 3)):
            self.snapshots.note(name, told(chunks))
        self.snapshots.end("old")
        for _ in range(MANY):
            saved = self.snapshots.all()
            self.snapshots = LastSnapshots(saved)
            self.snapshots.note("new", told(3))
            self.snapshots.note("short", told(1))
            self.snapshots.end("short")
        self.assertEqual(self.counted("another"), 2 + 3 + 1)

    def test_writers(self) -> None:
        """However often the process that writes is replaced, little is kept."""
        for number in range(MANY):
            saved = {**self.snapshots.all(), f"writer {number}": told(1)}
            self.snapshots = LastSnapshots(saved)
            self.snapshots.note("worker", told(3))
            self.snapshots.note(f"ended {number}", told(2))
            self.snapshots.end(f"ended {number}")
        self.assertEqual(self.counted("another"), 3 + 3 * MANY)
        self.assertLess(len(self.snapshots.all()), MANY / 2)

    def test_unknown(self) -> None:
        """One that ends before it has told anything leaves nothing behind."""
        self.snapshots.end("process")
        self.assertEqual(self.snapshots.others("another"), [])
