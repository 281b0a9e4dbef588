"""Tests of asciid.workers._record."""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from asciid.workers._record import (
    Record,
    load_counters,
    recorded_exits,
    recorded_start,
    save_counters,
)


class RecordTests(SynchronousTestCase):
    """Data that one process writes and another reads."""

    def setUp(self) -> None:
        """Make a record that another process has inherited."""
        self.before = time.time()
        self.record = Record()
        self.inherited = os.dup(self.record.descriptor)
        self.addCleanup(os.close, self.inherited)

    def test_exits(self) -> None:
        """A process that inherited the descriptor can read the number any time."""
        for number in range(300):
            self.assertEqual(recorded_exits(self.inherited), number)
            self.record.count_exit()
        self.record.close()
        self.assertEqual(recorded_exits(self.inherited), 300)

    def test_start(self) -> None:
        """The time of the start is kept."""
        started = recorded_start(self.inherited)
        self.assertTrue(self.before <= started <= time.time())
        self.record.count_exit()
        self.assertEqual(recorded_start(self.inherited), started)
        self.record.close()

    def test_counters(self) -> None:
        """The last saved counters are loaded, however many there were before."""
        self.assertEqual(load_counters(self.inherited), {})
        for saved in ({"a": b"1" * 100_000, "b": b"2"}, {"c": b"3"}, {}):
            save_counters(self.inherited, saved)
            self.record.count_exit()
            self.assertEqual(load_counters(self.record.descriptor), saved)
        self.record.close()

    def test_torn(self) -> None:
        """Counters written in part, as by a killed process, are not used."""
        save_counters(self.inherited, {"a": b"1" * 100})
        end = os.fstat(self.inherited).st_size
        os.pwrite(self.inherited, b"\0", end - 1)
        self.assertEqual(load_counters(self.inherited), {})
        self.record.close()
