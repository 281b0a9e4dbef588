"""Counts requests; see `asciid.http.Observer`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from asciid._histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LATENCIES", "RequestCounts"]

LATENCIES = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Bounds of the seconds that requests take."""

NO_ROUTE = "none"
"""The route of a request that has none."""

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}
)

Key = tuple[str | None, bytes, int]


class RequestCounts:
    """
    Counts what the front tells.

    A whole answer costs one look-up and one addition to a histogram: anything
    else is done when somebody asks.
    """

    def __init__(self) -> None:
        self._answered: dict[Key, Histogram] = {}
        self.refusals: Counter[str] = Counter()
        """Errors that were answered, by their reason."""
        self.departures: Counter[tuple[str, str]] = Counter()
        """Requests whose client has left, by route and method."""

    def answered(
        self, endpoint: str | None, method: bytes, status: int, seconds: float
    ) -> None:
        """See `asciid.http.Observer.answered`."""
        times = self._answered.get((endpoint, method, status))
        if times is None:
            times = self._new(endpoint, method, status)
        times.add(seconds)

    def refused(self, method: bytes, status: int) -> None:
        """See `asciid.http.Observer.refused`."""
        self.refusals[f"http-{status}"] += 1
        self.answered(None, method, status, 0.0)

    def abandoned(self, endpoint: str | None, method: bytes) -> None:
        """See `asciid.http.Observer.abandoned`."""
        self.departures[endpoint or NO_ROUTE, _method_name(method)] += 1

    def by_status(self) -> Mapping[tuple[str, str, int], int]:
        """Return how many answers there were, by route, method and status."""
        return {
            (endpoint or NO_ROUTE, method.decode("ascii"), status): times.count
            for (endpoint, method, status), times in self._answered.items()
        }

    def by_route(self) -> Mapping[str, Histogram]:
        """Return how long answers took, by route."""
        routes: dict[str, Histogram] = {}
        for (endpoint, _, _), times in self._answered.items():
            whole = routes.setdefault(endpoint or NO_ROUTE, Histogram(LATENCIES))
            whole.merge(times)
        return routes

    def _new(self, endpoint: str | None, method: bytes, status: int) -> Histogram:
        # What clients make up must not take a place each.
        key = endpoint, _method_name(method).encode("ascii"), status
        return self._answered.setdefault(key, Histogram(LATENCIES))


def _method_name(method: bytes) -> str:
    name = method.decode("latin-1")
    return name if name in _METHODS else "other"
