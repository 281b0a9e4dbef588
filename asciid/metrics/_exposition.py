"""The metrics of a process, and their text for a scraper."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from attrs import frozen
from prometheus_client import PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred

from asciid.errors import AsciidError
from asciid.logs import lost_lines
from asciid.metrics._families import (
    ICertificate,
    WorkersState,
    bound_families,
    build_families,
    certificate_families,
    database_families,
    log_families,
    readiness_families,
    rendering_families,
    request_families,
    server_families,
    store_families,
    usage_families,
    worker_families,
)
from asciid.metrics._readiness import failed_checks, remarks
from asciid.metrics._snapshot import (
    LASTING_KINDS,
    merge_in_steps,
    snapshot,
    snapshot_in_steps,
)
from asciid.runtime.offload import AT_ONCE, run_steps
from asciid.web.renderer import NO_RENDERER
from asciid.web.renderings import Renderings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from asciid.http import KleinFactory
    from asciid.metrics._request_counts import RequestCounts
    from asciid.net.fair_limit import FairLimit
    from asciid.runtime.offload import IOffload
    from asciid.store import IImageStore, StoreUsage

__all__ = ["Metrics", "Page", "render"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the Prometheus text format."""

_OPENMETRICS = "application/openmetrics-text"
_OPENMETRICS_TYPE = openmetrics.CONTENT_TYPE_LATEST
_OPENMETRICS_END = b"# EOF\n"

_SAMPLES = 10
"""Samples rendered per step."""

_MAX_DELIMITERS = 100
"""Maximum delimiters in an Accept field."""
_START = "process_start_time_seconds"


@frozen
class Page:
    """A rendered response; `content_type` is its media type."""

    content: bytes
    content_type: str


class Metrics:
    """
    The metrics of one process and of `store`, computed when they are read.

    `requests` counts requests: it is an `asciid.http.Observer`.  `offload` keeps a
    scrape from holding the reactor.  `certificates` are those of TLS endpoints by the
    name of the setting.  `started` is when the daemon started, in seconds since the
    epoch, if this process is not the first one.  `workers` returns the state of the
    daemon's processes, or None where another process has it.  `gather`, if any, takes
    the snapshot of this process, and returns those of the others, to be added to it;
    none if they are not known, and then no counters are exported.
    """

    def __init__(  # noqa: PLR0913 - each is a source of its own
        self,
        store: IImageStore,
        requests: RequestCounts,
        offload: IOffload = AT_ONCE,
        *,
        certificates: Mapping[str, ICertificate] | None = None,
        started: float | None = None,
        workers: Callable[[], WorkersState | None] = WorkersState,
        gather: Callable[[bytes], Deferred[list[bytes]]] | None = None,
        renderings: Renderings | None = None,
    ) -> None:
        self.requests = requests
        self._server: KleinFactory | None = None
        self._files: FairLimit | None = None
        self._workers = workers
        self._gather = gather
        self._renderings = renderings or Renderings(NO_RENDERER)
        self._started = started
        self._certificates = certificates or {}
        self._store = store
        self._offload = offload
        self._usage: StoreUsage | None = None
        self._process = (
            ProcessCollector(registry=None),
            PlatformCollector(registry=None),
        )

    def add_server(self, server: KleinFactory) -> None:
        """Include the connections of `server`, which serves these metrics itself."""
        self._server = server

    def add_files(self, limit: FairLimit) -> None:
        """Include `limit`, on bytes of files that may have to be converted."""
        self._files = limit

    def page(self, accept: str) -> Deferred[Page]:
        """
        Return all metrics, as OpenMetrics if `accept` (the Accept field) lists it.

        Metrics that cannot be measured are omitted.
        """
        return Deferred.fromCoroutine(self._page(accept))

    def snapshot(self) -> Deferred[bytes]:
        """Return all metrics as bytes for `asciid.metrics.merge`."""
        return Deferred.fromCoroutine(self._snapshot())

    def counters(self) -> bytes:
        """Return the counters, without those that need a query of the storage."""
        return snapshot(
            metric
            for metric in (*self._collect_process(), *self.collect())
            if metric.type in LASTING_KINDS
        )

    def failed_checks(self) -> Mapping[str, str | None]:
        """See `asciid.metrics._readiness.failed_checks`."""
        server = self._server
        return failed_checks(
            self._store.health(),
            draining=server is not None and server.draining,
            limits={} if server is None else server.shared_limits,
        )

    def remarks(self) -> Mapping[str, str]:
        """See `asciid.metrics._readiness.remarks`."""
        server = self._server
        return remarks(
            self._store.health(), {} if server is None else server.shared_limits
        )

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of asciid."""
        yield from filter(None, self._steps())

    def _steps(self) -> Iterator[Metric | None]:
        stats = self._store.stats()
        yield from build_families()
        yield from worker_families(self._workers())
        yield from certificate_families(self._certificates)
        yield from request_families(self.requests)
        yield from server_families(self._server)
        yield from log_families(lost_lines)
        yield from readiness_families(self.failed_checks())
        yield from store_families(stats)
        yield from database_families(stats.database)
        yield from usage_families(self._usage)
        yield from rendering_families(self._renderings)
        yield from bound_families(
            self._server, self._files, stats, self._usage, self._renderings
        )

    def _collect_process(self) -> list[Metric]:
        return [metric for each in self._process for metric in each.collect()]

    def _collect_in_steps(
        self, families: list[Metric]
    ) -> Generator[None, None, list[Metric]]:
        """Add every metric of asciid to `families`."""
        for metric in self._steps():
            if metric is not None:
                families.append(metric)
            yield
        return families

    async def _page(self, accept: str) -> Page:
        families = await self._all()
        return await self._offload.in_slices(render_in_steps(families, accept))

    async def _snapshot(self) -> bytes:
        families = await self._families()
        return await self._offload.in_slices(snapshot_in_steps(families))

    async def _all(self) -> list[Metric]:
        own = await self._families()
        if self._gather is None:
            return own
        counted = await self._offload.in_slices(snapshot_in_steps(own))
        others = await self._gather(counted)
        if not others:
            # A counter that decreases looks like one that was reset, and its whole
            # value counts as an increase when the others are exported again.  A gap
            # is harmless.  Nor is the start of this process that of the daemon.
            return [
                metric
                for metric in own
                if metric.type not in LASTING_KINDS and metric.name != _START
            ]
        # Shared metrics are those of the first, the writer.
        return await self._offload.in_slices(merge_in_steps([*others, counted]))

    async def _families(self) -> list[Metric]:
        try:
            usage = await self._store.usage()
        except (AsciidError, OSError):
            usage = None
        self._usage = usage
        try:
            # Reads files, and lists a descriptor per connection: in a thread.
            process = await self._offload.in_thread(self._collect_process)
        except AsciidError:
            process = []
        families = await self._offload.in_slices(self._collect_in_steps(process))
        if self._started is not None:
            families = [
                GaugeMetricFamily(_START, metric.documentation, self._started)
                if metric.name == _START
                else metric
                for metric in families
            ]
        return families


class _Families(Collector):
    """Collected families, with the interface of a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._families


def render(families: Iterable[Metric], accept: str) -> Page:
    """Return `families` as text, in OpenMetrics if the Accept field has it."""
    return run_steps(render_in_steps(families, accept))


def render_in_steps(
    families: Iterable[Metric], accept: str
) -> Generator[None, None, Page]:
    """Like `render`, in steps for `asciid.runtime.offload`."""
    write: Callable[[Collector], bytes] = generate_latest
    content_type, end = TEXT, b""
    if _takes_openmetrics(accept):
        write, content_type = openmetrics.generate_latest, _OPENMETRICS_TYPE
        end = _OPENMETRICS_END
    pieces = []
    for family in families:
        samples = family.samples
        for start in range(0, len(samples) or 1, _SAMPLES):
            part = copy(family)
            part.samples = samples[start : start + _SAMPLES]
            text = write(_Families([part])).removesuffix(end)
            # HELP and TYPE are written once, before the first step.
            pieces.append(text if not start else _without_comments(text))
            yield
    return Page(b"".join([*pieces, end]), content_type)


def _without_comments(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"# "))


def _takes_openmetrics(accept: str) -> bool:
    if accept.count(",") + accept.count(";") > _MAX_DELIMITERS:
        return False
    for accepted in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in accepted.split(";"))
        if kind == _OPENMETRICS:
            # RFC 9110, section 12.4.2: weight 0 means "not acceptable".
            return not any(
                part.startswith("q=") and not part[2:].strip("0.")
                for part in parameters
            )
    return False
