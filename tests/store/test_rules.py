"""Tests of asciid.store._rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.store._rules import missing_ranges


class MissingRangesTests(SynchronousTestCase):
    """Gaps between stored chunk ids."""

    @given(st.sets(st.integers(0, 39)), st.integers(1, 25))
    def test_gaps(self, stored: set[int], limit: int) -> None:
        """Ranges and stored ids together are all ids, unless ranges were cut."""
        ranges, cut = missing_ranges(sorted(stored), 40, limit)
        missing = [i for first, last in ranges for i in range(first, last + 1)]
        expected = [i for i in range(40) if i not in stored]
        if cut:
            self.assertEqual(len(ranges), limit)
            self.assertLess(len(missing), len(expected))
        self.assertEqual(missing, expected[: len(missing)] if cut else expected)

    def test_adjacent_gaps_are_one(self) -> None:
        """A range is as long as it can be."""
        self.assertEqual(missing_ranges([3], 6), (((0, 2), (4, 5)), False))
        self.assertEqual(missing_ranges([], 3), (((0, 2),), False))
        self.assertEqual(missing_ranges([0, 1, 2], 3), ((), False))
