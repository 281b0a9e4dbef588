"""Converts counts to metric families of `prometheus_client`."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from attrs import frozen
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from asciid import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from asciid.http import KleinFactory
    from asciid.metrics._request_counts import RequestCounts
    from asciid.net.fair_limit import FairLimit
    from asciid.runtime.histogram import Histogram
    from asciid.store import StoreStats, StoreUsage
    from asciid.store.stats import DatabaseStats
    from asciid.web.renderings import Renderings

__all__ = [
    "ICertificate",
    "WorkersState",
    "bound_families",
    "build_families",
    "certificate_families",
    "database_families",
    "log_families",
    "readiness_families",
    "rendering_families",
    "request_families",
    "server_families",
    "store_families",
    "usage_families",
    "worker_families",
]


@frozen
class WorkersState:
    """The processes of a daemon; a daemon of one process is its own worker."""

    answering: int = 1
    """Number of workers that respond to the writer."""
    configured: int = 1
    """Number of workers configured."""
    exits: int = 0
    """How many unexpected exits of processes there were."""


def build_families() -> Iterator[Metric]:
    """Yield which release runs."""
    build = InfoMetricFamily("asciid_build", "The running release.")
    build.add_metric([], {"version": __version__})
    yield build


class ICertificate(Protocol):
    """The certificate of a TLS endpoint."""

    @property
    def expires(self) -> float:
        """Expiry in seconds since the epoch."""


def certificate_families(certificates: Mapping[str, ICertificate]) -> Iterator[Metric]:
    """Yield the expiry of the certificate of each TLS endpoint."""
    expiry = GaugeMetricFamily(
        "asciid_certificate_expiry_timestamp_seconds",
        "Expiry of a TLS certificate that is in use.",
        labels=["setting"],
    )
    for name, certificate in certificates.items():
        expiry.add_metric([name.replace("_", "-")], certificate.expires)
    yield expiry


def worker_families(state: WorkersState | None) -> Iterator[Metric]:
    """Yield the state of the worker processes, if known."""
    workers = GaugeMetricFamily("asciid_workers", "Workers that respond.")
    configured = GaugeMetricFamily("asciid_workers_configured", "Configured workers.")
    exits = CounterMetricFamily(
        "asciid_process_deaths", "Unexpected exits of processes."
    )
    if state is not None:
        workers.add_metric([], state.answering)
        configured.add_metric([], state.configured)
        exits.add_metric([], state.exits)
    yield from (workers, configured, exits)


def request_families(counts: RequestCounts) -> Iterator[Metric | None]:
    """Yield the metrics of requests and refusals; None between steps."""
    requests = CounterMetricFamily(
        "asciid_requests",
        "Responses sent.",
        labels=["route", "method", "status"],
    )
    for (route, method, status), count in counts.by_status().items():
        requests.add_metric([route, method, str(status)], count)
    yield requests
    abandoned = CounterMetricFamily(
        "asciid_requests_abandoned",
        "Requests whose client disconnected before the end of the response.",
        labels=["route", "method"],
    )
    for labels, count in counts.abandoned_requests.items():
        abandoned.add_metric(labels, count)
    yield abandoned
    seconds = HistogramMetricFamily(
        "asciid_request_seconds",
        "Time from the end of a request's header section to the end of the response.",
        labels=["route"],
    )
    routes = counts.by_route()
    for route, times in routes.items():
        yield None
        _add(seconds, [route], times)
    yield seconds
    refusals = CounterMetricFamily(
        "asciid_refusals",
        "Error responses by problem type.",
        labels=["reason"],
    )
    for reason, count in counts.refusals.items():
        refusals.add_metric([reason], count)
    yield refusals


def server_families(server: KleinFactory | None) -> Iterator[Metric]:
    """Yield the connections, and the bytes received and sent."""
    received = CounterMetricFamily(
        "asciid_received_bytes", "Bytes received from clients."
    )
    sent = CounterMetricFamily("asciid_sent_bytes", "Bytes sent to clients.")
    connections = GaugeMetricFamily("asciid_connections", "Open connections.")
    pauses = CounterMetricFamily(
        "asciid_accept_pauses",
        "Times that accepting paused for lack of file descriptors.",
    )
    if server is not None:
        received.add_metric([], server.bytes_in)
        sent.add_metric([], server.bytes_out)
        connections.add_metric([], server.connections)
        pauses.add_metric([], server.pauses)
    yield from (received, sent, connections, pauses)
    yield from _sharing_families(server)


def _sharing_families(server: KleinFactory | None) -> Iterator[Metric]:
    """Yield how clients share the limits of the server."""
    evictions = CounterMetricFamily(
        "asciid_evictions",
        "Bodies and connections that were ended early: for another client, or as "
        "too slow.",
        labels=["what", "reason"],
    )
    bodies = GaugeMetricFamily(
        "asciid_largest_client_body_bytes",
        "Bytes of request bodies of the client with the most.",
    )
    connections = GaugeMetricFamily(
        "asciid_largest_client_connections",
        "Connections of the client with the most.",
    )
    if server is not None:
        for name, limit in server.shared_limits.items():
            evictions.add_metric([name, "share"], limit.evictions)
        evictions.add_metric(["bodies", "rate"], server.slow_bodies)
        bodies.add_metric([], server.bodies.largest)
        connections.add_metric([], server.connections_limit.largest)
    yield from (evictions, bodies, connections)


def store_families(stats: StoreStats) -> Iterator[Metric]:
    """Yield the counters of the store."""
    events = stats.events
    counters: Iterable[tuple[str, str, int]] = (
        ("images_registered", "Images registered.", events.registered),
        ("images_completed", "Images completed.", events.completed),
        ("images_rejected", "Images with a hash mismatch.", events.rejected),
        ("images_expired", "Images expired.", events.expired_images),
        ("images_unreadable", "Images that failed to be read.", events.unreadable),
        ("images_deleted", "Images and uploads deleted by requests.", events.deleted),
        ("uploads_expired", "Pending uploads expired.", events.expired_uploads),
        ("chunks_stored", "Chunks stored.", events.chunks),
        ("cache_hits", "Cache hits.", stats.cache_hits),
        ("cache_misses", "Cache misses.", stats.cache_misses),
    )
    for name, text, value in counters:
        yield CounterMetricFamily(f"asciid_{name}", text, value=value)
    gauges = (
        ("cache_bytes", "Bytes of images in the cache.", stats.cache_bytes),
        ("tracked_uploads", "Pending uploads by client.", stats.tracked_uploads),
        ("tracked_clients", "Clients with pending uploads.", stats.tracked_clients),
    )
    for name, text, value in gauges:
        yield GaugeMetricFamily(f"asciid_{name}", text, value=value)
    sizes = HistogramMetricFamily("asciid_batch_operations", "Writes in a batch.")
    _add(sizes, [], stats.batch_sizes)
    yield sizes
    times = HistogramMetricFamily(
        "asciid_commit_seconds", "Seconds of a batch: its operations, commit and sync."
    )
    _add(times, [], stats.commit_times)
    yield times
    yield GaugeMetricFamily(
        "asciid_storage_reserve_bytes",
        "Free space below which writes are refused.",
        value=stats.reserve_bytes,
    )


def database_families(stats: DatabaseStats | None) -> Iterator[Metric]:
    """Yield what happened between this node and its database, if it has one."""
    if stats is None:
        return
    counters = (
        ("reconnects", "Connections to the database made again.", stats.reconnects),
        ("retries", "Transactions that ran again.", stats.retries),
        (
            "unreplicated_commits",
            "Commits whose wait for the standby was cancelled.",
            stats.unreplicated,
        ),
    )
    for name, text, value in counters:
        yield CounterMetricFamily(f"asciid_database_{name}", text, value=value)
    outcomes = CounterMetricFamily(
        "asciid_database_unknown_outcomes",
        "Transactions whose connection was lost during the commit, by their outcome.",
        labels=["outcome"],
    )
    outcomes.add_metric(["committed"], stats.settled_committed)
    outcomes.add_metric(["rerun"], stats.settled_rerun)
    outcomes.add_metric(["unresolved"], stats.unresolved)
    yield outcomes
    yield GaugeMetricFamily(
        "asciid_database_replicated",
        "Whether the database has a synchronous standby.",
        value=stats.is_replicated,
    )
    yield GaugeMetricFamily(
        "asciid_database_listening",
        "Whether the removals of other nodes are received.",
        value=stats.is_listening,
    )
    times = HistogramMetricFamily(
        "asciid_database_round_trip_seconds", "Seconds of a round trip to the database."
    )
    _add(times, [], stats.round_trips)
    yield times


def log_families(lost: Mapping[str, int]) -> Iterator[Metric]:
    """Yield the number of dropped log lines by kind of log."""
    lines = CounterMetricFamily(
        "asciid_log_lines_lost",
        "Log lines dropped, on errors or for slowness.",
        labels=["log"],
    )
    for kind in ("access", "log"):
        lines.add_metric([kind], lost.get(kind, 0))
    yield lines


def readiness_families(failed: Mapping[str, str | None]) -> Iterator[Metric]:
    """Yield the state of each check of /readyz."""
    ready = GaugeMetricFamily(
        "asciid_ready", "Whether a check of /readyz passes.", labels=["check"]
    )
    for name, reason in failed.items():
        ready.add_metric([name], reason is None)
    yield ready


def usage_families(usage: StoreUsage | None) -> Iterator[Metric]:
    """Yield how much is stored, as far as that could be measured."""
    yield GaugeMetricFamily(
        "asciid_storage_readable",
        "Whether the usage of the storage could be measured.",
        value=usage is not None,
    )
    gauges = (
        ("images", "images", "Complete images."),
        ("images_listed", "listed", "Complete images that are listed."),
        ("hashes_blocked", "blocked", "Blocked hashes."),
        ("uploads_pending", "pending", "Pending uploads."),
        ("images_quarantined", "quarantined", "Damaged images in quarantine."),
        ("storage_file_bytes", "file_bytes", "Size of the storage file."),
        (
            "storage_free_bytes",
            "free_bytes",
            "Free space of the file system of the storage.",
        ),
    )
    for name, attribute, text in gauges:
        value = None if usage is None else getattr(usage, attribute)
        yield GaugeMetricFamily(f"asciid_{name}", text, value=value)


def rendering_families(renderings: Renderings) -> Iterator[Metric]:
    """Yield what the renderer did, and how often that was not needed."""
    stats = renderings.renderer_stats
    seconds = HistogramMetricFamily(
        "asciid_rendering_seconds", "Seconds of a rendering, waiting included."
    )
    _add(seconds, [], stats.seconds)
    yield seconds
    counters = (
        ("rendering_failures", "Renderings that failed.", stats.failures),
        ("renderings_refused", "Renderings that were not accepted.", stats.refused),
        ("renderer_starts", "Starts of the process that renders.", stats.starts),
        ("rendering_cache_hits", "Renderings that were kept.", renderings.hits),
        ("rendering_cache_misses", "Renderings that were not kept.", renderings.misses),
    )
    for name, text, value in counters:
        yield CounterMetricFamily(f"asciid_{name}", text, value=value)
    yield GaugeMetricFamily(
        "asciid_rendering_cache_bytes",
        "Bytes of renderings in the cache.",
        value=renderings.used,
    )


@frozen
class _Bound:
    """A limit, its usage, and their metrics."""

    name: str
    used: int | None
    """None if unknown or per client."""
    limit: int | None
    """None or 0: unlimited."""
    limit_metric: str
    limit_help: str
    used_metric: str = ""
    """Empty if another family has the usage."""
    used_help: str = ""


def bound_families(
    server: KleinFactory | None,
    files: FairLimit | None,
    stats: StoreStats,
    usage: StoreUsage | None,
    renderings: Renderings,
) -> Iterator[Metric]:
    """Yield usage and limit of every bound, and their ratio."""
    pending = None if usage is None else usage.pending
    ratios = GaugeMetricFamily(
        "asciid_bound_used_ratio",
        "Used fraction of a limit, of the process with the highest.",
        labels=["bound"],
    )
    for bound in (
        *_store_bounds(stats, pending),
        *_server_bounds(server),
        *_file_bounds(files),
        _rendering_bound(renderings),
    ):
        limit = bound.limit or math.inf
        if bound.used_metric:
            yield GaugeMetricFamily(bound.used_metric, bound.used_help, bound.used)
        yield GaugeMetricFamily(bound.limit_metric, bound.limit_help, limit)
        if bound.used is not None:
            ratios.add_metric([bound.name], bound.used / limit)
    yield ratios


def _file_bounds(files: FairLimit | None) -> Iterator[_Bound]:
    if files is None:
        return
    yield _Bound(
        "files",
        files.used,
        files.capacity,
        "asciid_file_limit_bytes",
        "Maximum bytes of files in memory that may be converted.",
        "asciid_file_bytes",
        "Bytes of files in memory that may be converted.",
    )


def _rendering_bound(renderings: Renderings) -> _Bound:
    stats = renderings.renderer_stats
    return _Bound(
        "renderings",
        stats.waiting,
        stats.max_waiting,
        "asciid_renderings_limit",
        "Maximum renderings waiting.",
        "asciid_renderings",
        "Renderings waiting or being done.",
    )


def _store_bounds(stats: StoreStats, pending: int | None) -> Iterator[_Bound]:
    yield _Bound(
        "queue_operations",
        stats.queue_operations,
        stats.max_queue_operations,
        "asciid_queue_operations_limit",
        "Maximum writes queued for the next batch.",
        "asciid_queue_operations",
        "Writes queued for the next batch.",
    )
    yield _Bound(
        "queue_bytes",
        stats.queue_bytes,
        stats.max_queue_bytes,
        "asciid_queue_limit_bytes",
        "Maximum bytes queued for the next batch.",
        "asciid_queue_bytes",
        "Bytes queued for the next batch.",
    )
    yield _Bound(
        "reads",
        stats.reads,
        stats.max_reads,
        "asciid_reads_limit",
        "Maximum reads running or queued.",
        "asciid_reads",
        "Reads running or queued.",
    )
    yield _Bound(
        "uploads",
        pending,
        stats.max_uploads,
        "asciid_uploads_pending_limit",
        "Maximum pending uploads.",
    )
    yield _Bound(
        "client_uploads",
        None,
        stats.max_client_uploads,
        "asciid_client_uploads_limit",
        "Maximum pending uploads per client.",
    )


def _server_bounds(server: KleinFactory | None) -> Iterator[_Bound]:
    if server is None:
        return
    yield _Bound(
        "connections",
        server.connections_limit.used,
        server.connections_limit.capacity,
        "asciid_connections_limit",
        "Maximum open connections.",
    )
    yield _Bound(
        "bodies",
        server.bodies.used,
        server.bodies.capacity,
        "asciid_body_limit_bytes",
        "Maximum bytes of request bodies in memory.",
        "asciid_body_bytes",
        "Bytes of request bodies in memory.",
    )


def _add(
    family: HistogramMetricFamily, labels: list[str], histogram: Histogram
) -> None:
    # A separate count could be ahead of the buckets: threads may be adding.
    names = [*map(str, map(float, histogram.bounds)), "+Inf"]
    counts = list(accumulate(histogram.buckets))
    buckets = list(zip(names, map(float, counts), strict=True))
    family.add_metric(labels, buckets, histogram.total)
