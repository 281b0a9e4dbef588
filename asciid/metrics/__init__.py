"""The metrics of the daemon, in the formats that Prometheus reads."""

from asciid.metrics._exposition import Metrics, Page, render
from asciid.metrics._families import WorkersState
from asciid.metrics._request_counts import RequestCounts
from asciid.metrics._snapshot import lasting, merge, snapshot

__all__ = [
    "Metrics",
    "Page",
    "RequestCounts",
    "WorkersState",
    "lasting",
    "merge",
    "render",
    "snapshot",
]
