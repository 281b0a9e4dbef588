"""Counting, by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import Refusal
from asciid.metrics._request_counts import RequestCounts
from asciid.runtime.histogram import Histogram
from tests._thoroughness import examples
from tests.metrics._support import a_request

if TYPE_CHECKING:
    from asciid.http import Observer


class HistogramTests(SynchronousTestCase):
    """A histogram of plain numbers."""

    @examples(50)
    @given(st.lists(st.integers(0, 20)))
    def test_buckets(self, values: list[int]) -> None:
        """Each value is in the bucket of the first bound that it does not pass."""
        histogram = Histogram((5, 10))
        for value in values:
            histogram.add(value)
        expected = [
            sum(value <= 5 for value in values),
            sum(5 < value <= 10 for value in values),
            sum(value > 10 for value in values),
        ]
        self.assertEqual(histogram.buckets, expected)
        self.assertEqual((histogram.count, histogram.total), (len(values), sum(values)))

    def test_merge(self) -> None:
        """Merging counts the values of both."""
        one, other = Histogram((1,)), Histogram((1,))
        one.add(1)
        other.add(2)
        other.add(0.5)
        one.merge(other)
        self.assertEqual((one.buckets, one.total), ([2, 1], 3.5))


class RequestCountsTests(SynchronousTestCase):
    """The counts of observed requests."""

    def setUp(self) -> None:
        """Begin at nothing."""
        self.counts = RequestCounts()
        self.observer: Observer = self.counts

    def answer(
        self, endpoint: str | None, method: bytes, status: int, seconds: float
    ) -> None:
        """Observe a response."""
        self.observer.answered(a_request(endpoint, method, status), seconds)

    def test_by_status_and_route(self) -> None:
        """Answers are counted by status, and their times added up by route."""
        self.answer("status", b"GET", 200, 0.001)
        self.answer("status", b"GET", 200, 0.002)
        self.answer("status", b"HEAD", 404, 0.003)
        self.answer(None, b"GET", 404, 0.004)
        self.assertEqual(
            self.counts.by_status(),
            {
                ("status", "GET", 200): 2,
                ("status", "HEAD", 404): 1,
                ("none", "GET", 404): 1,
            },
        )
        routes = self.counts.by_route()
        self.assertEqual(set(routes), {"status", "none"})
        self.assertEqual(routes["status"].count, 3)
        self.assertAlmostEqual(routes["status"].total, 0.006)

    def test_refused(self) -> None:
        """A refusal of the server is counted by its status, and as a response."""
        reasons: list[str] = []
        self.counts = self.observer = RequestCounts(on_refusal=reasons.append)
        peer = IPv4Address("TCP", "192.0.2.1", 1)
        request = a_request("register", b"POST", 200)
        self.observer.refused(Refusal(413, 0, peer, None, request))
        self.observer.refused(Refusal(503, 0, peer, None, None))
        self.assertEqual(reasons, ["http-413", "http-503"])
        self.observer.refused(Refusal(503, 0, peer, None, None, "too-many-bodies"))
        self.assertEqual(self.counts.refusals.pop("too-many-bodies"), 1)
        self.assertEqual(self.counts.refusals, {"http-413": 1, "http-503": 1})
        self.assertEqual(
            self.counts.by_status(),
            {("none", "POST", 413): 1, ("none", "other", 503): 2},
        )

    def test_methods_made_up(self) -> None:
        """Clients cannot have a place kept for each method that they make up."""
        for number in range(100):
            self.answer(None, b"X%d" % number, 405, 0.0)
            self.observer.abandoned(a_request(None, b"\xff%d" % number, 200))
        self.assertEqual(self.counts.by_status(), {("none", "other", 405): 100})
        self.assertEqual(self.counts.abandoned_requests, {("none", "other"): 100})
