"""Several processes' metrics as those of one."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.openmetrics import parser as openmetrics
from twisted.trial.unittest import SynchronousTestCase

from asciid import __version__
from asciid.metrics import Metrics, RequestCounts, lasting, merge, render, snapshot
from asciid.metrics._snapshot import SHARED, WORST
from asciid.model import ImageSpec
from asciid.store import PendingLimits
from asciid.testing import MemoryStore
from tests.api._support import CAT_BYTES, CAT_SHA256
from tests.metrics._support import a_request, documented_metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ADDED_GAUGES = {
    "asciid_body_bytes",
    "asciid_body_limit_bytes",
    "asciid_cache_bytes",
    "asciid_connections",
    "asciid_connections_limit",
    "asciid_file_bytes",
    "asciid_file_limit_bytes",
    "asciid_largest_client_body_bytes",
    "asciid_largest_client_connections",
    "asciid_reads",
    "asciid_reads_limit",
    "asciid_rendering_cache_bytes",
    "asciid_renderings",
    "asciid_renderings_limit",
    "asciid_tracked_clients",
    "asciid_tracked_uploads",
    "asciid_workers",
    "asciid_workers_configured",
}
"""Metrics that are parts in each process, or of one process."""

OPENMETRICS = "application/openmetrics-text"


def values_of(families: list[Metric]) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the values by name and the values of the labels, sorted by label."""
    return {
        (sample.name, tuple(dict(sorted(sample.labels.items())).values())): sample.value
        for family in families
        for sample in family.samples
    }


def routes(counts: dict[str, int]) -> bytes:
    """Return the snapshot of a counter with one label."""
    family = CounterMetricFamily("asciid_requests", "Requests.", labels=["route"])
    for route, count in counts.items():
        family.add_metric([route], count)
    return snapshot([family])


def _limit_of(bound: str) -> str:
    """Return the name of the metric that has the limit of `bound`."""
    if bound.endswith("_bytes"):
        return f"asciid_{bound.removesuffix('_bytes')}_limit_bytes"
    return f"asciid_{bound}_limit"


class MergeTests(SynchronousTestCase):
    """Adding up."""

    def process(self, **requests: int) -> Metrics:
        """Return the metrics of a process after `requests` requests."""
        store = MemoryStore(pending=PendingLimits(total=5, per_client=3))
        spec = ImageSpec(CAT_SHA256, len(CAT_BYTES), len(CAT_BYTES))
        self.successResultOf(store.register(spec, "client"))
        metrics = Metrics(store, RequestCounts())
        for route, count in requests.items():
            for _ in range(count):
                request = a_request(route, b"GET", 200)
                metrics.requests.answered(request, 0.002)
        return metrics

    def snapshot_of(self, metrics: Metrics) -> bytes:
        """Return the snapshot of a process."""
        return self.successResultOf(metrics.snapshot())

    def test_every_gauge(self) -> None:
        """Each gauge is added up, or the same in each process, or its worst counts."""
        documented = documented_metrics()
        gauges = {
            name.removesuffix("_info") for name, kind in documented if kind == "gauge"
        }
        self.assertEqual(gauges - SHARED - set(WORST), ADDED_GAUGES)

    def test_one(self) -> None:
        """The snapshot of one process, merged alone, equals its page."""
        metrics = self.process(download=2)
        merged = merge([self.snapshot_of(metrics)])
        page = self.successResultOf(metrics.page(OPENMETRICS))
        own = list(openmetrics.text_string_to_metric_families(page.content.decode()))
        self.assertEqual(
            [(f.name, f.type, f.documentation) for f in merged],
            [(f.name, f.type, f.documentation) for f in own],
        )
        self.assertEqual(set(values_of(merged)), set(values_of(own)))

    def test_several(self) -> None:
        """Counters are added up; the storage is counted once."""
        processes = self.process(download=2), self.process(download=3, status=1)
        merged = merge(map(self.snapshot_of, processes))
        values = values_of(merged)
        for name, labels, value in (
            ("asciid_requests_total", ("GET", "download", "200"), 5),
            ("asciid_requests_total", ("GET", "status", "200"), 1),
            ("asciid_request_seconds_count", ("download",), 5),
            ("asciid_request_seconds_bucket", ("0.001", "download"), 0),
            ("asciid_request_seconds_bucket", ("0.0025", "download"), 5),
            ("asciid_images_registered_total", (), 2),
            ("asciid_tracked_uploads", (), 2),
            ("asciid_uploads_pending", (), 1),
            ("asciid_storage_readable", (), 1),
            ("asciid_build_info", (__version__,), 1),
            ("asciid_bound_used_ratio", ("uploads",), 0.2),
            ("asciid_uploads_pending_limit", (), 5),
            ("asciid_client_uploads_limit", (), 3),
        ):
            self.assertEqual(values[name, labels], value, (name, labels))
        seconds = values["asciid_request_seconds_sum", ("download",)]
        self.assertAlmostEqual(seconds, 0.01)

    def test_order_of_fractions(self) -> None:
        """A sum does not depend on the order, nor on which processes have ended."""
        parts = []
        for value in (0.1, 0.2, 0.3, 2.91):
            family = CounterMetricFamily("process_cpu_seconds", "CPU.")
            family.add_metric([], value)
            parts.append(snapshot([family]))
        sums = {
            values_of(merge([*order[:2], lasting(order[2:])]))[
                "process_cpu_seconds_total", ()
            ]
            for order in permutations(parts)
        }
        (total,) = sums
        self.assertAlmostEqual(total, 3.51)

    def test_one_queue(self) -> None:
        """
        The queue is that of the writer, with its limit.

        Added up, the writes of workers would count twice, against the sum of the
        limits, which would never be reached.
        """
        processes = [
            snapshot(
                GaugeMetricFamily(name, "A bound.", value)
                for bound in ("queue_bytes", "queue_operations", "reads")
                for name, value in (
                    (f"asciid_{bound}", waiting),
                    (_limit_of(bound), 64),
                )
            )
            for waiting in (60, 40)
        ]
        values = values_of(merge(processes))
        for bound, taken, most in (
            ("queue_bytes", 60, 64),
            ("queue_operations", 60, 64),
            ("reads", 100, 128),
        ):
            self.assertEqual(values[f"asciid_{bound}", ()], taken)
            self.assertEqual(values[_limit_of(bound), ()], most)

    def test_worst(self) -> None:
        """One process that is at its bound, or not ready, is not averaged away."""
        processes = []
        for ratio, ready in ((0.1, 1), (0.9, 1), (0.2, 0)):
            used = GaugeMetricFamily("asciid_bound_used_ratio", "Used.", labels=["b"])
            used.add_metric(["connections"], ratio)
            checks = GaugeMetricFamily("asciid_ready", "Ready.", labels=["check"])
            checks.add_metric(["writes"], ready)
            processes.append(snapshot([used, checks]))
        values = values_of(merge(processes))
        self.assertEqual(values["asciid_bound_used_ratio", ("connections",)], 0.9)
        self.assertEqual(values["asciid_ready", ("writes",)], 0)

    def test_descriptors(self) -> None:
        """Those of the process nearest to its limit are exported, not the sum."""
        processes = []
        for taken, most in (10, 1000), (95, 100), (700, 1000), (900, None):
            families = [GaugeMetricFamily("process_open_fds", "Open.", taken)]
            if most is not None:
                families.append(GaugeMetricFamily("process_max_fds", "Most.", most))
            processes.append(snapshot(families))
        values = values_of(merge(processes))
        self.assertEqual(values["process_open_fds", ()], 95)
        self.assertEqual(values["process_max_fds", ()], 100)
        values = values_of(merge(processes[-1:]))
        self.assertEqual(values, {("process_open_fds", ()): 900})

    def test_page(self) -> None:
        """Prometheus' own parser accepts the merged page."""
        processes = self.process(download=2), self.process(status=1)
        page = render(merge(map(self.snapshot_of, processes)), OPENMETRICS)
        text = page.content.decode()
        families = list(openmetrics.text_string_to_metric_families(text))
        values = values_of(families)
        self.assertEqual(values["asciid_request_seconds_count", ("status",)], 1)

    def test_one_cannot_measure(self) -> None:
        """A metric that the first process lacks is taken from the next."""
        images = GaugeMetricFamily("asciid_images", "Images.")
        known = GaugeMetricFamily("asciid_images", "Images.", value=7)
        merged = merge([snapshot([images]), snapshot([known])])
        self.assertEqual(values_of(merged), {("asciid_images", ()): 7})

    @settings(max_examples=30)
    @given(
        st.lists(
            st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**9)), max_size=4
        )
    )
    def test_any(self, processes: list[dict[str, int]]) -> None:
        """Each label has the sum over the processes."""
        merged = merge(map(routes, processes))
        expected: dict[tuple[str, tuple[str, ...]], float] = {}
        for counts in processes:
            for route, count in counts.items():
                key = "asciid_requests_total", (route,)
                expected[key] = expected.get(key, 0) + count
        self.assertEqual(values_of(merged), expected)

    def test_histogram(self) -> None:
        """Buckets are added up one by one, the infinite one too."""
        data = []
        for low, high, total in ((1, 3, 4.5), (2, 2, 0.5)):
            family = HistogramMetricFamily("asciid_commit_seconds", "Time.")
            family.add_metric([], [("0.5", low), ("+Inf", high)], total)
            data.append(snapshot([family]))
        self.assertEqual(
            values_of(merge(data)),
            {
                ("asciid_commit_seconds_bucket", ("0.5",)): 3,
                ("asciid_commit_seconds_bucket", ("+Inf",)): 5,
                ("asciid_commit_seconds_count", ()): 5,
                ("asciid_commit_seconds_sum", ()): 5,
            },
        )

    def test_no_snapshot(self) -> None:
        """Bytes that are no snapshot are refused."""
        self.assertRaises(msgspec.DecodeError, merge, [b"\xc1"])
        self.assertRaises(msgspec.DecodeError, merge, [b"\x91\x01"])
