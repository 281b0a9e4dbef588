"""Tests of asciid.engines.remote._last_snapshots."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.remote._last_snapshots import LastSnapshots
from asciid.metrics import merge
from tests.workers._support import snapshot_of

MANY = 50


class LastSnapshotsTests(SynchronousTestCase):
    """The metrics of processes that start and end."""

    def setUp(self) -> None:
        """Begin without snapshots."""
        self.snapshots = LastSnapshots({})

    def counted(self, asking: str) -> float:
        """Return the chunks that all others have counted."""
        others = {
            metric.name: metric for metric in merge(self.snapshots.others(asking))
        }
        return others["asciid_chunks_stored"].samples[0].value

    def test_many_ended(self) -> None:
        """However many have ended, memory is bounded, and no count is lost."""
        for number in range(MANY):
            name = f"process {number}"
            self.snapshots.record(name, snapshot_of(2))
            self.snapshots.record(name, snapshot_of(3))
            self.snapshots.end(name)
        self.assertEqual(self.counted("another"), 3 * MANY)
        self.assertLess(len(self.snapshots.others("another")), MANY / 2)

    def test_loaded(self) -> None:
        """Saved snapshots are loaded; a process that also reports counts once."""
        for name, chunks in (("old", 2), ("new", 3)):
            self.snapshots.record(name, snapshot_of(chunks))
        self.snapshots.end("old")
        for _ in range(MANY):
            saved = self.snapshots.all()
            self.snapshots = LastSnapshots(saved)
            self.snapshots.record("new", snapshot_of(3))
            self.snapshots.record("short", snapshot_of(1))
            self.snapshots.end("short")
        self.assertEqual(self.counted("another"), 2 + 3 + 1)

    def test_writers(self) -> None:
        """However often the writer is replaced, memory is bounded."""
        for number in range(MANY):
            saved = {**self.snapshots.all(), f"writer {number}": snapshot_of(1)}
            self.snapshots = LastSnapshots(saved)
            self.snapshots.record("worker", snapshot_of(3))
            self.snapshots.record(f"ended {number}", snapshot_of(2))
            self.snapshots.end(f"ended {number}")
        self.assertEqual(self.counted("another"), 3 + 3 * MANY)
        self.assertLess(len(self.snapshots.all()), MANY / 2)

    def test_unknown(self) -> None:
        """A process that ends before its first snapshot leaves nothing."""
        self.snapshots.end("process")
        self.assertEqual(self.snapshots.others("another"), [])
