"""Counts requests; see `asciid.http.Observer`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from asciid.runtime.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from asciid.http import Refusal, Request

__all__ = ["LATENCIES", "RequestCounts"]

LATENCIES = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Histogram bounds, in seconds."""

NO_ROUTE = "none"
"""The label of requests without a route."""

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}
)

Key = tuple[str | None, bytes, int]


def _ignore(_: str) -> None:
    """Do nothing."""


class RequestCounts:
    """
    Counts requests; `on_refusal` is called with the reason of every refusal.

    Counters of `reasons` are exported from the start: the increase of one that appears
    with the first refusal is not seen.

    A response costs one look-up and one addition to a histogram: anything else is done
    when the counts are read.
    """

    def __init__(
        self,
        reasons: Iterable[str] = (),
        on_refusal: Callable[[str], object] = _ignore,
    ) -> None:
        self._answered: dict[Key, Histogram] = {}
        self.refusals: Counter[str] = Counter(dict.fromkeys(reasons, 0))
        """Error responses by their reason."""
        self.abandoned_requests: Counter[tuple[str, str]] = Counter()
        """Number of requests whose client disconnected, by route and method."""
        self._on_refusal = on_refusal

    def answered(self, request: Request, seconds: float) -> None:
        """See `asciid.http.Observer.answered`."""
        key = request.route.endpoint, request.method, request.code
        times = self._answered.get(key)
        if times is None:
            times = self._new(*key)
        # Histogram.add, without a call for each request.
        times.buckets[bisect_left(LATENCIES, seconds)] += 1
        times.total += seconds

    def refused(self, refusal: Refusal) -> None:
        """See `asciid.http.Observer.refused`."""
        self.refuse(refusal.problem or f"http-{refusal.status}")
        self._new(None, refusal.method, refusal.status).add(0.0)

    def refuse(self, reason: str) -> None:
        """Count an error response."""
        self.refusals[reason] += 1
        self._on_refusal(reason)

    def abandoned(self, request: Request) -> None:
        """See `asciid.http.Observer.abandoned`."""
        route = request.route.endpoint or NO_ROUTE
        self.abandoned_requests[route, _method_name(request.method)] += 1

    def by_status(self) -> Mapping[tuple[str, str, int], int]:
        """Return the number of responses by route, method and status."""
        return {
            (endpoint or NO_ROUTE, method.decode("ascii"), status): times.count
            for (endpoint, method, status), times in self._answered.items()
        }

    def by_route(self) -> Mapping[str, Histogram]:
        """Return the histogram of response times by route."""
        routes: dict[str, Histogram] = {}
        for (endpoint, _, _), times in self._answered.items():
            whole = routes.setdefault(endpoint or NO_ROUTE, Histogram(LATENCIES))
            whole.merge(times)
        return routes

    def _new(self, endpoint: str | None, method: bytes, status: int) -> Histogram:
        # Invented methods must not each take memory.
        key = endpoint, _method_name(method).encode("ascii"), status
        return self._answered.setdefault(key, Histogram(LATENCIES))


def _method_name(method: bytes) -> str:
    name = method.decode("latin-1")
    return name if name in _METHODS else "other"
