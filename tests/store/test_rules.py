"""Tests of asciid.store.rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.store.rules import missing_ranges


def runs(ids: set[int], longest: int) -> list[tuple[int, int]]:
    """Return ids as runs of at most `longest`."""
    found: list[tuple[int, int]] = []
    for chunk_id in sorted(ids):
        first, last = found[-1] if found else (-1, -1)
        if found and chunk_id == last + 1 < first + longest:
            found[-1] = (first, chunk_id)
        else:
            found.append((chunk_id, chunk_id))
    return found


class MissingRangesTests(SynchronousTestCase):
    """Gaps between stored chunk ids."""

    @given(st.sets(st.integers(0, 39)), st.integers(1, 25), st.integers(1, 9))
    def test_gaps(self, stored: set[int], limit: int, longest: int) -> None:
        """Ranges and stored ids together are all ids, unless ranges were cut."""
        ranges, cut = missing_ranges(runs(stored, longest), 40, limit)
        missing = [i for first, last in ranges for i in range(first, last + 1)]
        expected = [i for i in range(40) if i not in stored]
        if cut:
            self.assertEqual(len(ranges), limit)
            self.assertLess(len(missing), len(expected))
        self.assertEqual(missing, expected[: len(missing)] if cut else expected)

    def test_adjacent_gaps_are_one(self) -> None:
        """A range is as long as it can be."""
        self.assertEqual(missing_ranges([(3, 3)], 6), (((0, 2), (4, 5)), False))
        self.assertEqual(missing_ranges([], 3), (((0, 2),), False))
        self.assertEqual(missing_ranges([(0, 0), (1, 2)], 3), ((), False))
