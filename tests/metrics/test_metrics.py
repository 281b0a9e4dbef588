"""`GET /metrics`: names, values and formats."""

from __future__ import annotations

import json
import re
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING

from attrs import evolve
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import (
    MemoryReactorClock,
    StringTransportWithDisconnection,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid import __version__
from asciid.api import MetricsAPI
from asciid.api._contract import METHODS, load_contract
from asciid.api._problems import PROBLEM_TYPES
from asciid.errors import StorageFailedError
from asciid.http import KleinFactory, Limits
from asciid.metrics import Metrics, RequestCounts
from asciid.net.body_limits import InputLimits
from asciid.store import IImageStore, PendingLimits
from asciid.store.stats import DatabaseStats
from asciid.testing import ManualReactor, MemoryStore
from tests._programs import program
from tests.api._raw import OnAsciid, RawAnswer, RawCase, parse_response
from tests.api._support import (
    CAT,
    CAT_BYTES,
    CAT_SHA256,
    Client,
    OneToken,
    make_api,
    make_server,
)
from tests.metrics._support import (
    documented_metrics,
    exported,
    metrics_section,
    samples_of,
)

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from asciid.store import IImageReader, StoreUsage
    from tests.metrics._support import Samples

IMAGE = f"/image/{CAT_SHA256}"
TEXT = "Content-Type: text/plain"
JSON = "Content-Type: application/json"
OPENMETRICS = "application/openmetrics-text"


class IdleHolder:
    """Holds a part of a limit."""

    def eviction_gain(self, _: float) -> float | None:
        """Keep it."""

    def evict(self) -> None:
        """Do nothing."""


@implementer(IImageStore)
class UnreadableStore(MemoryStore):
    """A store that cannot be measured."""

    def usage(self) -> Deferred[StoreUsage]:
        """Fail."""
        return fail(StorageFailedError())


class MetricsTests(OnAsciid, RawCase, SynchronousTestCase):
    """The metrics of a daemon in memory."""

    def setUp(self) -> None:
        """Serve an empty store."""
        self.serve(MemoryStore(pending=PendingLimits(total=2, per_client=1)))

    def scrape(self, accept: str = f"{OPENMETRICS};version=1.0.0") -> list[Metric]:
        """Return the metrics, parsed by Prometheus' own parser."""
        answer = self.ask("GET", "/metrics", f"Accept: {accept}")
        self.assertEqual(answer.status, 200)
        text = answer.body.decode()
        if answer.fields["content-type"].startswith(OPENMETRICS):
            return list(openmetrics.text_string_to_metric_families(text))
        return list(text_string_to_metric_families(text))

    def moved(self, before: Samples) -> Samples:
        """Return by how much each value has changed."""
        after = samples_of(self.scrape())
        return {
            name: value - before.get(name, 0)
            for name, value in after.items()
            if value != before.get(name, 0)
        }

    def register(self, text: str = CAT) -> RawAnswer:
        """Register an image of one chunk."""
        name = sha256(text.encode()).hexdigest()
        size = len(text.encode())
        body = {"sha256": name, "size": size, "chunk_size": size}
        return self.ask("POST", "/image", JSON, body=json.dumps(body))

    def test_others_unknown(self) -> None:
        """
        While other processes are unavailable, no counters are exported.

        Those of one process would be less than the sum before.
        """
        merged: list[list[bytes]] = [[]]
        metrics = Metrics(
            MemoryStore(), RequestCounts(), gather=lambda _: succeed(merged[0])
        )
        page = self.successResultOf(metrics.page(""))
        families = list(text_string_to_metric_families(page.content.decode()))
        self.assertEqual({family.type for family in families}, {"gauge"})
        self.assertIn("asciid_images", {family.name for family in families})
        merged[0] = [self.successResultOf(metrics.snapshot())]
        page = self.successResultOf(metrics.page(""))
        self.assertIn(b"asciid_chunks_stored_total 0.0", page.content)

    def test_documented(self) -> None:
        """Every metric is documented, and every documented one is there."""
        documented = documented_metrics()
        families = self.scrape()
        self.assertEqual({name for name, _ in documented}, exported(families))
        self.assertEqual(len(documented), len(exported(families)))
        kinds = {family.name: family.type for family in families}
        for name, kind in documented:
            short = name.removesuffix("_total").removesuffix("_info")
            self.assertEqual(kinds[short].replace("info", "gauge"), kind, name)
        bounds = re.findall(
            r"^\| `(\w+)` \| (?:`--|none)", metrics_section(), re.MULTILINE
        )
        ratios = next(f for f in families if f.name == "asciid_bound_used_ratio")
        shown = [sample.labels["bound"] for sample in ratios.samples]
        self.assertEqual(sorted(bounds), sorted(shown))

    def test_database(self) -> None:
        """A node of a database exports what happens between the two, documented."""
        stats = DatabaseStats(
            reconnects=1,
            retries=2,
            unreplicated=3,
            settled_committed=4,
            settled_rerun=5,
            unresolved=6,
            is_replicated=False,
        )
        stats.round_trips.add(0.002)
        store = MemoryStore()
        before = exported(self.scrape())
        known = evolve(store.stats(), database=stats)
        self.patch(store, "stats", lambda: known)
        self.serve(store)
        families = self.scrape()
        documented = documented_metrics(of_database=True)
        added = exported(families) - before
        self.assertEqual({name for name, _ in documented}, added)
        kinds = {family.name: family.type for family in families}
        for name, kind in documented:
            self.assertEqual(kinds[name.removesuffix("_total")], kind, name)
        values = samples_of(families)
        outcomes = "asciid_database_unknown_outcomes_total"
        for name, value in (
            ("asciid_database_reconnects_total", 1),
            ("asciid_database_retries_total", 2),
            ("asciid_database_unreplicated_commits_total", 3),
            (f'{outcomes}{{outcome="committed"}}', 4),
            (f'{outcomes}{{outcome="rerun"}}', 5),
            (f'{outcomes}{{outcome="unresolved"}}', 6),
            ("asciid_database_replicated", 0),
            ("asciid_database_listening", 1),
            ("asciid_database_round_trip_seconds_sum", 0.002),
        ):
            self.assertEqual(values[name], value, name)

    def test_routes(self) -> None:
        """Each operation of the contract is counted by its operationId."""
        self.api_options = {"tokens": OneToken(b"good")}
        self.serve(MemoryStore())
        served = load_contract(InputLimits(1_000, 1_000))
        expected = set()
        for path, operations in served["paths"].items():
            target = path.format(sha256=CAT_SHA256, name="chunk-exists")
            for method in set(METHODS) & set(operations) - {"head", "options"}:
                self.ask(method.upper(), target, JSON)
                expected.add((operations[method]["operationId"], method.upper()))
        requests = next(f for f in self.scrape() if f.name == "asciid_requests")
        counted = {
            (sample.labels["route"], sample.labels["method"])
            for sample in requests.samples
        }
        self.assertEqual(counted, expected)

    def test_formats(self) -> None:
        """Clients that accept OpenMetrics get it; others get the older text format."""
        for accept, kind in (
            (
                "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
                OPENMETRICS,
            ),
            ("text/plain, Application/OpenMetrics-Text ; q=0.3", OPENMETRICS),
            ("application/openmetrics-text;q=0", "text/plain"),
            ("application/openmetrics-text; q=0.000", "text/plain"),
            ("*/*", "text/plain"),
            ("", "text/plain"),
            (OPENMETRICS + ",a" * 100, OPENMETRICS),
            (OPENMETRICS + ",a" * 101, "text/plain"),
        ):
            answer = self.ask("GET", "/metrics", f"Accept: {accept}")
            self.assertEqual(answer.fields["content-type"].partition(";")[0], kind)
            self.assertEqual(answer.fields["cache-control"], "no-store")
        one, other = (self.scrape(accept) for accept in ("text/plain", OPENMETRICS))
        self.assertEqual(set(samples_of(one)) - set(samples_of(other)), set())

    def test_promtool(self) -> None:
        """Prometheus' own tool finds no fault with names, types and texts."""
        promtool = program("promtool")
        self.register()
        answer = self.ask("GET", "/metrics")
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=answer.body,
            capture_output=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_process(self) -> None:
        """Process, Python and release are exported."""
        values = samples_of(self.scrape())
        self.assertGreater(values["process_resident_memory_bytes"], 1_000_000)
        self.assertEqual(values[f'asciid_build_info{{version="{__version__}"}}'], 1)
        self.assertIn("python_info", {name.partition("{")[0] for name in values})

    def test_workers(self) -> None:
        """A daemon of one process has one worker; in others it may be unknown."""
        values = samples_of(self.scrape())
        self.assertEqual(values["asciid_workers"], 1)
        self.assertEqual(values["asciid_workers_configured"], 1)
        self.assertEqual(values["asciid_process_deaths_total"], 0)
        metrics = Metrics(MemoryStore(), RequestCounts(), workers=lambda: None)
        page = self.successResultOf(metrics.page("")).content
        self.assertNotIn(b"\nasciid_workers ", page)

    def test_upload(self) -> None:
        """An upload in chunks changes its metrics."""
        before = samples_of(self.scrape())
        self.register()
        body = json.dumps({"id": 0, "size": len(CAT_BYTES), "data": CAT})
        answer = self.ask("POST", f"{IMAGE}/chunks", JSON, body=body)
        self.assertEqual(answer.status, 201)
        moved = self.moved(before)
        for name in (
            "asciid_images_registered_total",
            "asciid_images_completed_total",
            "asciid_chunks_stored_total",
            "asciid_images",
            'asciid_requests_total{method="POST",route="register",status="201"}',
            'asciid_requests_total{method="POST",route="add_chunk",status="201"}',
            'asciid_request_seconds_count{route="add_chunk"}',
            'asciid_request_seconds_bucket{le="+Inf",route="add_chunk"}',
        ):
            self.assertEqual(moved[name], 1, name)
        self.assertGreater(moved["asciid_received_bytes_total"], len(body))
        self.assertGreater(moved["asciid_sent_bytes_total"], 100)

    def test_whole_image(self) -> None:
        """An image in one request is completed, or rejected for its hash."""
        before = samples_of(self.scrape())
        self.ask("PUT", IMAGE, TEXT, body="dog")
        self.ask("PUT", IMAGE, TEXT, body=CAT)
        moved = self.moved(before)
        self.assertEqual(moved["asciid_images_completed_total"], 1)
        self.assertEqual(moved["asciid_images_rejected_total"], 1)
        self.assertEqual(moved['asciid_refusals_total{reason="hash-mismatch"}'], 1)
        self.assertNotIn("asciid_images_registered_total", moved)

    def test_deletion(self) -> None:
        """Deletions are counted, and so are refused ones."""
        self.api_options = {"tokens": OneToken(b"good")}
        self.serve(MemoryStore())
        token = "Authorization: Bearer good"
        self.ask("PUT", IMAGE, TEXT, token, body=CAT)
        before = samples_of(self.scrape())
        self.assertEqual(self.ask("DELETE", IMAGE).status, 401)
        self.assertEqual(self.ask("DELETE", IMAGE, token).status, 204)
        moved = self.moved(before)
        for name in (
            "asciid_images_deleted_total",
            'asciid_refusals_total{reason="token-missing"}',
            'asciid_requests_total{method="DELETE",route="delete",status="204"}',
            'asciid_requests_total{method="DELETE",route="delete",status="401"}',
        ):
            self.assertEqual(moved[name], 1, name)
        self.assertEqual(moved["asciid_images"], -1)

    def test_no_refusals(self) -> None:
        """Each problem has its counter from the start, so that the first one shows."""
        values = samples_of(self.scrape())
        for name in PROBLEM_TYPES:
            self.assertEqual(values[f'asciid_refusals_total{{reason="{name}"}}'], 0)

    def test_refusals(self) -> None:
        """Refusals of routes and of the HTTP server are counted by reason."""
        before = samples_of(self.scrape())
        self.ask("GET", IMAGE)
        self.ask("GET", "/nowhere")
        self.ask("BREW", "/image")
        moved = self.moved(before)
        for name in (
            'asciid_refusals_total{reason="image-not-found"}',
            'asciid_refusals_total{reason="not-found"}',
            'asciid_refusals_total{reason="http-501"}',
            'asciid_requests_total{method="GET",route="download",status="404"}',
            'asciid_requests_total{method="GET",route="none",status="404"}',
            'asciid_requests_total{method="other",route="none",status="501"}',
        ):
            self.assertEqual(moved[name], 1, name)

    def test_bounds(self) -> None:
        """Each bound has its usage and its limit."""
        self.register()
        self.assertEqual(self.register("dog").status, 429)
        values = samples_of(self.scrape())
        self.assertEqual(values['asciid_bound_used_ratio{bound="uploads"}'], 0.5)
        self.assertEqual(values["asciid_uploads_pending_limit"], 2)
        self.assertEqual(values["asciid_client_uploads_limit"], 1)
        self.assertEqual(values['asciid_refusals_total{reason="client-uploads"}'], 1)
        self.assertEqual(values["asciid_tracked_uploads"], 1)
        self.assertEqual(values["asciid_tracked_clients"], 1)
        self.assertEqual(values["asciid_uploads_pending"], 1)
        self.assertGreaterEqual(values["asciid_connections"], 1)
        self.assertEqual(values["asciid_connections_limit"], 20_000)
        self.assertEqual(
            values['asciid_bound_used_ratio{bound="connections"}'],
            values["asciid_connections"] / 20_000,
        )

    def test_units(self) -> None:
        """Each bound is a metric of its own, whose name has its unit."""
        names = {family.name for family in self.scrape()}
        for used, limit in (
            ("asciid_connections", "asciid_connections_limit"),
            ("asciid_body_bytes", "asciid_body_limit_bytes"),
            ("asciid_queue_bytes", "asciid_queue_limit_bytes"),
            ("asciid_queue_operations", "asciid_queue_operations_limit"),
            ("asciid_reads", "asciid_reads_limit"),
            ("asciid_uploads_pending", "asciid_uploads_pending_limit"),
        ):
            self.assertLessEqual({used, limit}, names)
        self.assertFalse({"asciid_bound_used", "asciid_bound_limit"} & names)

    def test_readiness(self) -> None:
        """Each check of /readyz is a sample, 0 if it fails."""
        store = MemoryStore()
        self.serve(store)
        values = samples_of(self.scrape())
        for check in ("storage", "writes", "room", "serving"):
            self.assertEqual(values[f'asciid_ready{{check="{check}"}}'], 1)
        self.successResultOf(store.stop())
        values = samples_of(self.scrape())
        self.assertEqual(values['asciid_ready{check="storage"}'], 0)

    def test_bodies(self) -> None:
        """The bytes of bodies in flight are those of the server."""
        api = make_api(MemoryStore(), max_image_size=100, max_chunk_size=100)
        server = make_server(api, ManualReactor(), Limits(bodies=9))
        page = self.successResultOf(api.metrics.page(""))
        self.assertIn(b"\nasciid_body_bytes 0.0", page.content)
        self.assertIn(b"\nasciid_body_limit_bytes 9.0", page.content)
        server.bodies.take("192.0.2.1", IdleHolder(), 4)
        server.bodies.take("192.0.2.2", IdleHolder(), 3)
        page = self.successResultOf(api.metrics.page(""))
        self.assertIn(b"\nasciid_body_bytes 7.0", page.content)
        self.assertIn(b"asciid_largest_client_body_bytes 4.0", page.content)
        server.slow_bodies = 2
        server.bodies.evictions = 3
        page = self.successResultOf(api.metrics.page(""))
        for what, reason, count in (("bodies", "rate", 2), ("bodies", "share", 3)):
            line = (
                f'asciid_evictions_total{{reason="{reason}",what="{what}"}} {count}.0'
            )
            self.assertIn(line, page.content.decode())

    def test_no_bound(self) -> None:
        """A bound that is not set has an infinite limit."""
        self.serve(MemoryStore())
        values = samples_of(self.scrape())
        self.assertEqual(values["asciid_uploads_pending_limit"], float("inf"))
        self.assertEqual(values['asciid_bound_used_ratio{bound="uploads"}'], 0)

    def test_unreadable_store(self) -> None:
        """If the storage cannot be measured, only its usage is omitted."""
        self.serve(UnreadableStore())
        values = samples_of(self.scrape())
        self.assertEqual(values["asciid_storage_readable"], 0)
        self.assertNotIn("asciid_images", values)
        self.assertNotIn('asciid_bound_used_ratio{bound="uploads"}', values)
        self.assertEqual(values["asciid_images_completed_total"], 0)

    def test_without_a_server(self) -> None:
        """Without a server and an API there are no metrics of connections and files."""
        page = self.successResultOf(
            Metrics(MemoryStore(), RequestCounts()).page(OPENMETRICS)
        )
        text = page.content.decode()
        families = list(openmetrics.text_string_to_metric_families(text))
        values = samples_of(families)
        self.assertNotIn("asciid_connections", values)
        self.assertEqual(values["asciid_storage_readable"], 1)
        missing = exported(self.scrape()) - exported(families)
        self.assertEqual(
            missing,
            {"asciid_body_bytes", "asciid_body_limit_bytes"}
            | {"asciid_file_bytes", "asciid_file_limit_bytes"}
            | {"asciid_connections_limit"},
        )


class ApartTests(SynchronousTestCase):
    """Metrics on a port of their own."""

    def setUp(self) -> None:
        """Make both services."""
        self.api = make_api(
            MemoryStore(), max_image_size=100, max_chunk_size=100, metrics_apart=True
        )
        self.main = Client(make_server(self.api, MemoryReactorClock()))
        server = KleinFactory(
            MetricsAPI(self.api.metrics).app, reactor=MemoryReactorClock()
        )
        self.apart = Client(server)

    def ask(self, client: Client, head: str, *lines: str) -> RawAnswer:
        """Send a request without a body."""
        request = "\r\n".join([f"{head} HTTP/1.1", "Host: a", *lines, "", ""])
        return parse_response(client.raw(request))

    def test_there(self) -> None:
        """They have the metrics of the service, in both formats."""
        self.ask(self.main, "GET /nowhere")
        answer = self.ask(self.apart, "GET /metrics", f"Accept: {OPENMETRICS}")
        self.assertEqual(answer.status, 200)
        families = list(
            openmetrics.text_string_to_metric_families(answer.body.decode())
        )
        values = samples_of(families)
        refusals = values['asciid_refusals_total{reason="not-found"}']
        self.assertEqual(refusals, 1)
        head = self.ask(self.apart, "HEAD /metrics")
        self.assertEqual((head.status, head.body), (200, b""))

    def test_nothing_else(self) -> None:
        """Nothing else is there; errors are problem documents."""
        for request, status in (("GET /image", 404), ("POST /metrics", 405)):
            answer = self.ask(self.apart, request)
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.fields["content-type"], "application/problem+json")

    def test_not_on_the_main_port(self) -> None:
        """The main port has neither them nor a word of them in its contract."""
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            self.assertEqual(self.ask(self.main, f"{method} /metrics").status, 404)
        contract = json.loads(self.ask(self.main, "GET /openapi.json").body)
        self.assertNotIn("/metrics", contract["paths"])


@implementer(IImageStore)
class SilentStore(MemoryStore):
    """A store that never answers a download."""

    def open(self, sha256: str) -> Deferred[IImageReader]:  # noqa: ARG002 - silent
        """Keep silent."""
        return Deferred()


class AbandonedTests(SynchronousTestCase):
    """Clients that leave."""

    def test_abandoned(self) -> None:
        """A request whose client disconnected is counted without a status."""
        api = make_api(SilentStore(), max_image_size=100, max_chunk_size=100)
        server = make_server(api, ManualReactor())
        channel = server.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(f"GET {IMAGE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        self.assertEqual(server.connections, 1)
        transport.loseConnection()
        page = self.successResultOf(api.metrics.page(""))
        values = samples_of(list(text_string_to_metric_families(page.content.decode())))
        labels = 'method="GET",route="download"'
        self.assertEqual(values[f"asciid_requests_abandoned_total{{{labels}}}"], 1)
        self.assertNotIn(f'asciid_requests_total{{{labels},status="200"}}', values)
        self.assertEqual(values["asciid_connections"], 0)
