"""The alert rules and the dashboard, on what real daemons export."""

from __future__ import annotations

import json
import re
import ssl
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests._commands import CommandTestCase
from tests._programs import program
from tests.contrib.test_monitoring import ALERTS, CONTRIB
from tests.integration._case import Art
from tests.integration._certificate import write_certificate
from tests.integration._daemon import Daemon
from tests.integration.test_tls import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Scrape = dict[str, float]


class ScrapeTestCase(CommandTestCase):
    """Scrapes daemons, and has Prometheus evaluate queries on that."""

    def request(
        self, daemon: Daemon, method: str, path: str, document: object = None
    ) -> bytes:
        """Send a request; return the body of the answer."""
        context = ssl.create_default_context(cafile=str(daemon.directory / "cert.pem"))
        connection = HTTPSConnection(
            "127.0.0.1", daemon.port, timeout=30, context=context
        )
        self.addCleanup(connection.close)
        body = None if document is None else json.dumps(document).encode()
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()

    def use(self, daemon: Daemon) -> None:
        """Have it store, send and render an image, and refuse something."""
        art = Art.random()
        path = f"/image/{art.spec.sha256}"
        self.request(daemon, "POST", "/image", art.registration)
        for chunk_id in art.ids:
            self.request(daemon, "POST", f"{path}/chunks", art.chunk(chunk_id))
        for _ in range(2):
            self.request(daemon, "GET", path)
            self.request(daemon, "GET", f"/i/{art.spec.sha256[:12]}.svg")
        self.request(daemon, "GET", f"/image/{64 * '0'}")

    def scrape(self, daemon: Daemon) -> Scrape:
        """Return the samples, by name and labels as queries have them."""
        text = self.request(daemon, "GET", "/metrics").decode()
        return {
            sample.name
            + "{"
            + ",".join(f"{key}={json.dumps(v)}" for key, v in sample.labels.items())
            + "}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def evaluate(
        self,
        instances: dict[str, tuple[Scrape, Scrape]],
        expected: Iterable[tuple[str, float]],
    ) -> None:
        """
        Have promtool check that each query has a value, for scrapes of instances.

        The first of the two scrapes was repeated for some minutes, then the other.
        """
        series = []
        for instance, (before, after) in instances.items():
            for name, value in after.items():
                first = before.get(name, 0.0)
                more = f'job="asciid",instance="{instance}"'
                labels = re.sub(r"\{(.*)\}$", rf"{{{more},\1}}", name)
                series.append(
                    {
                        "series": labels.replace(",}", "}"),
                        "values": f"{_number(first)}x5 {_number(value)}x4",
                    }
                )
        tests = [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": "7m",
                        "exp_samples": [{"value": value}],
                    }
                    for query, value in expected
                ],
            }
        ]
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "tests.yml").write_text(
            json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": tests})
        )
        self.run_command(
            program("promtool"), "test", "rules", "tests.yml", cwd=directory
        )

    def panels(self) -> list[dict[str, Any]]:
        """Return the panels of the dashboard that have queries."""
        text = (CONTRIB / "grafana-dashboard.json").read_text(encoding="utf-8")
        return [panel for panel in json.loads(text)["panels"] if "targets" in panel]

    def queries(self) -> list[str]:
        """Return the query of every target, as Grafana sends it."""
        return [
            _filled_in(target["expr"])
            for panel in self.panels()
            for target in panel["targets"]
        ]


class OneProcessTests(ScrapeTestCase):
    """The metrics of one daemon, with any number of processes."""

    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = {}

    def is_exported(self, query: str) -> bool:
        """Return whether a daemon without a database exports what a query asks for."""
        return "asciid_database_" not in query

    def whole_scrape(self, daemon: Daemon) -> Scrape:
        """Scrape until the writer has the metrics of all workers."""
        while True:
            scrape = self.scrape(daemon)
            if any(name.startswith("asciid_requests_total") for name in scrape):
                return scrape

    def test_queries(self) -> None:
        """
        Rules and panels query what the daemon exports, and nothing else.

        Each query of each panel has a value that is a number, and without any
        request no query is NaN.
        """
        program("promtool")
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        write_certificate(directory)
        daemon = Daemon(
            directory,
            [
                *("--max-uploads=100", "--max-client-uploads=10"),
                *("--port", ENDPOINT, *self.options),
            ],
            environ=self.environ,
        )
        self.addCleanup(daemon.kill)
        daemon.start()
        self.use(daemon)
        before = self.whole_scrape(daemon)
        self.use(daemon)
        after = self.whole_scrape(daemon)
        daemon.stop()

        panels = list(filter(self.is_exported, self.queries()))
        rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
        queries = panels + [
            rule["expr"]
            for group in rules["groups"]
            for rule in group["rules"]
            if self.is_exported(rule["expr"])
        ]
        used = set(re.findall(r"\b(?:asciid|process)_\w+", " ".join(queries)))
        # This one begins with the first client that leaves.
        used.discard("asciid_requests_abandoned_total")
        self.assertEqual(used - {name.partition("{")[0] for name in after}, set())
        self.evaluate(
            {"a": (before, after)},
            [(f"clamp_max(count(({query}) == ({query})), 1)", 1) for query in panels],
        )
        self.evaluate(
            {"a": (after, after)},
            [(f"count(({query}) != ({query})) or vector(0)", 0) for query in panels],
        )


class WorkersTests(OneProcessTests):
    """A daemon with workers."""

    options = ("--workers=2",)


class InstancesTests(ScrapeTestCase):
    """Two daemons, each on a storage of its own."""

    def test_sums(self) -> None:
        """Each has images of its own: those of all are the sum."""
        stored = {
            "asciid_images{}": 3.0,
            "asciid_uploads_pending{}": 5.0,
            "asciid_storage_file_bytes{}": 7.0,
        }
        more = {name: 10 * value for name, value in stored.items()}
        titles = {"Images": 33.0, "Pending uploads": 55.0, "Storage file": 77.0}
        queries = [
            (f"sum({_filled_in(panel['targets'][0]['expr'])})", titles[panel["title"]])
            for panel in self.panels()
            if panel["type"] == "stat" and panel["title"] in titles
        ]
        self.assertEqual(len(queries), 3)
        self.evaluate({"a": (stored, stored), "b": (more, more)}, queries)


def _filled_in(query: str) -> str:
    """Return a query of the dashboard as Grafana sends it, for all instances."""
    for variable, value in (
        ("$__rate_interval", "5m"),
        ("$job", "asciid"),
        ("$instance", ".+"),
    ):
        query = query.replace(variable, value)
    return query


def _number(value: float) -> str:
    return {float("inf"): "+Inf"}.get(value, f"{value:f}")
