"""Tests of asciid.workers._told."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.metrics import merge
from asciid.workers._told import Told
from tests.workers._support import told

MANY = 50


class ToldTests(SynchronousTestCase):
    """The figures of processes that come and go."""

    def setUp(self) -> None:
        """Know nothing."""
        self.told = Told()

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

    def test_unknown(self) -> None:
        """One that ends before it has told anything leaves nothing behind."""
        self.told.end("process")
        self.assertEqual(self.told.others("another"), [])
