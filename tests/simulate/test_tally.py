"""Tests of the counts of a simulation."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.simulate._tally import Tally
from tests._thoroughness import examples


class TallyTests(SynchronousTestCase):
    """Counts and quantiles."""

    @examples(50)
    @given(times=st.lists(st.floats(2e-5, 70), min_size=1))
    def test_quantiles(self, times: list[float]) -> None:
        """They are those of the sorted times, to two percent."""
        tally = Tally()
        for seconds in times:
            tally.passed("upload", seconds)
        (results,) = tally.results
        times.sort()
        self.assertEqual(results.slowest, times[-1])
        for share, quantile in ((0.5, results.p50), (0.99, results.p99)):
            exact = times[math.ceil(share * len(times)) - 1]
            assert quantile is not None
            self.assertTrue(exact <= quantile <= 1.021 * exact, (exact, quantile))

    def test_beyond(self) -> None:
        """Times beyond the last bound are exact."""
        tally = Tally()
        tally.passed("upload", 1000.0)
        (results,) = tally.results
        self.assertEqual((results.p50, results.p99), (1000.0, 1000.0))

    def test_counts(self) -> None:
        """Operations are counted separately, in the order of their first occurrence."""
        tally = Tally()
        tally.failed("upload")
        tally.passed("download", 0.5)
        tally.passed("upload")
        upload, download = tally.results
        self.assertEqual((upload.operation, download.operation), ("upload", "download"))
        self.assertEqual((upload.ok, upload.errors), (1, 1))
        self.assertEqual((upload.p50, upload.p99, upload.slowest), (None,) * 3)
        self.assertEqual((download.ok, download.errors), (1, 0))
