"""A scrape yields to the reactor, whatever its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import StoreBusyError
from asciid.metrics import Metrics, RequestCounts, merge, render, snapshot
from asciid.metrics._exposition import render_in_steps
from asciid.metrics._snapshot import merge_in_steps, snapshot_in_steps
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import Offload
from asciid.testing import ManualReactor, ManualThreadPool, MemoryStore, run
from tests.metrics._support import a_request

if TYPE_CHECKING:
    from prometheus_client.core import Metric

OPENMETRICS = "application/openmetrics-text"
STATUSES = (200, 201, 304, 400, 404, 409, 412, 413, 422, 503)


class Registry:
    """The interface of a registry in prometheus_client."""

    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def collect(self) -> list[Metric]:
        """Return the families."""
        return self.families


class SliceTests(SynchronousTestCase):
    """A scrape with a reactor and a pool that are stepped by hand."""

    def setUp(self) -> None:
        """Have something of every kind counted."""
        self.reactor = ManualReactor()
        self.pool = ManualThreadPool()
        self.now = 0.0
        self.turns = 0
        call_later = self.reactor.callLater

        def note(delay: float, *call: Any) -> object:  # noqa: ANN401 - any call
            self.turns += 1
            return call_later(delay, *call)

        self.patch(self.reactor, "callLater", note)
        offload = Offload(
            self.reactor,
            self.pool,
            scheduler=ClientScheduler(self.reactor, self.clock),
            clock=self.clock,
        )
        self.metrics = Metrics(MemoryStore(), RequestCounts(), offload)
        self.offload = offload
        for route in range(12):
            for status in STATUSES:
                request = a_request(f"route{route}", b"GET", status)
                self.metrics.requests.answered(request, 0.002)

    def clock(self) -> float:
        """Make each call of the clock take 0.1 ms."""
        self.now += 0.0001
        return self.now

    def families(self) -> list[Metric]:
        """Return the samples that do not change between scrapes."""
        return list(self.metrics.collect())

    def test_scrape(self) -> None:
        """A scrape yields to the reactor many times, and reads in a thread."""
        for accept in ("", OPENMETRICS):
            self.turns = 0
            scrape = self.metrics.page(accept)
            self.assertNoResult(scrape)
            self.assertEqual(len(self.pool.work), 1)
            page = run(scrape, self.reactor, self.pool)
            self.assertIn(b"process_open_fds", page.content)
            self.assertGreater(self.turns, 40)

    def test_workers(self) -> None:
        """So do a scrape of several processes and a snapshot."""
        other = run(self.metrics.snapshot(), self.reactor, self.pool)
        self.assertGreater(self.turns, 20)
        metrics = Metrics(
            MemoryStore(),
            self.metrics.requests,
            self.offload,
            gather=lambda own: succeed([other, own]),
        )
        self.turns = 0
        page = run(metrics.page(""), self.reactor, self.pool)
        self.assertGreater(self.turns, 60)
        counted = b'asciid_requests_total{method="GET",route="route1",status="200"} 3.0'
        self.assertIn(counted, page.content)

    def test_client_leaves(self) -> None:
        """A cancelled scrape ends."""
        scrape = self.metrics.page("")
        self.pool.step()
        scrape.addErrback(lambda _: None)
        scrape.cancel()
        self.reactor.advance(0)
        self.assertFalse(self.pool.work)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_busy(self) -> None:
        """If the thread pool is full, metrics of the process are omitted."""
        pool, reactor = ManualThreadPool(), ManualReactor()
        metrics = Metrics(
            MemoryStore(),
            RequestCounts(),
            Offload(reactor, pool, scheduler=ClientScheduler(reactor), max_waiting=0),
        )
        self.failureResultOf(
            Offload(
                reactor, pool, scheduler=ClientScheduler(reactor), max_waiting=0
            ).in_thread(int),
            StoreBusyError,
        )
        page = run(metrics.page(""), reactor)
        self.assertNotIn(b"process_open_fds", page.content)
        self.assertIn(b"asciid_images", page.content)

    def test_same(self) -> None:
        """A page made in steps equals that of prometheus_client."""
        families = self.families()
        whole: Any = Registry(families)
        self.assertEqual(render(families, "").content, generate_latest(whole))
        self.assertEqual(
            render(families, OPENMETRICS).content,
            openmetrics.generate_latest(whole),
        )
        self.assertEqual(render([], OPENMETRICS).content, b"# EOF\n")

    def test_steps(self) -> None:
        """A step does as much as one family, or a few samples of a large one."""
        families = self.families()
        samples = sum(len(family.samples) for family in families)
        self.assertGreater(samples, 300)
        other = snapshot(families)
        for steps, least in (
            (render_in_steps(families, ""), len(families) + samples // 50),
            (snapshot_in_steps(families), len(families)),
            (merge_in_steps([other, other]), 3 * len(families)),
        ):
            self.assertGreaterEqual(sum(1 for _ in steps), least)
        self.assertEqual(len(merge([other])), len(families))
