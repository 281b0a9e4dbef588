"""The alert rules and the dashboard are valid and use existing metrics."""

from __future__ import annotations

import json
import re
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from asciid.api._problems import PROBLEM_TYPES
from asciid.metrics import Metrics, RequestCounts
from asciid.testing import MemoryStore
from tests._commands import CommandTestCase
from tests._programs import program
from tests.integration._daemon import ROOT
from tests.metrics._support import documented_metrics

CONTRIB = ROOT / "contrib"
ALERTS = CONTRIB / "alerts.yml"
ALERTS_TEST = Path(__file__).with_name("alerts_test.yml")

PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["row", "stat", "timeseries"]},
        "title": {"type": "string", "minLength": 1},
        "gridPos": {
            "type": "object",
            "required": ["h", "w", "x", "y"],
            "properties": {
                "w": {"type": "integer", "minimum": 1, "maximum": 24},
                "h": {"type": "integer", "minimum": 1},
                "x": {"type": "integer", "minimum": 0, "maximum": 23},
                "y": {"type": "integer", "minimum": 0},
            },
        },
    },
    "if": {"properties": {"type": {"const": "row"}}},
    "else": {
        "required": ["description", "datasource", "fieldConfig", "targets"],
        "properties": {
            "targets": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["refId", "datasource", "expr", "legendFormat"],
                    "properties": {"refId": {"pattern": "^[A-Z]$"}},
                },
            },
        },
    },
}
DASHBOARD = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "templating", "time", "panels"],
    "properties": {
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {"type": "array", "items": PANEL},
    },
}
"""The part of Grafana's dashboard model that this dashboard uses."""


def exported_names() -> set[str]:
    """Return the names that queries may use: of samples, histograms' included."""
    documented = [*documented_metrics(), *documented_metrics(of_database=True)]
    names = {name for name, kind in documented if kind != "histogram"}
    histograms = {name for name, kind in documented if kind == "histogram"}
    endings = ("_bucket", "_sum", "_count")
    return names | {name + ending for name in histograms for ending in endings}


class QueryTestCase(CommandTestCase):
    """Checks queries."""

    def process_names(self) -> set[str]:
        """Return the names of the metrics of the process."""
        page = self.successResultOf(Metrics(MemoryStore(), RequestCounts()).page(""))
        return set(re.findall(r"^(process_\w+) ", page.content.decode(), re.MULTILINE))

    def check_query(self, query: str) -> set[str]:
        """Check that all metrics that `query` names exist; return them."""
        known = exported_names() | self.process_names()
        used = set(re.findall(r"\b(?:asciid|process)_\w+", query))
        self.assertEqual(used - known, set(), query)
        for reason in re.findall(r'refusals_total{[^}]*reason="(.*?)"', query):
            self.assertIn(reason, PROBLEM_TYPES)
        return used


class AlertTests(QueryTestCase):
    """`contrib/alerts.yml`."""

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules."""
        document = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
        return [rule for group in document["groups"] for rule in group["rules"]]

    def test_rules(self) -> None:
        """Each has a query of existing metrics, a severity, and instructions."""
        for rule in self.rules():
            self.check_query(rule["expr"])
            self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
            self.assertEqual(set(rule["annotations"]), {"summary", "description"})
            members = {"alert", "expr", "labels", "annotations"}
            self.assertEqual(set(rule) - {"for"}, members)

    def test_documented(self) -> None:
        """The documentation lists them all."""
        text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        section = text.partition("\n## Alerts\n")[2].partition("\n## ")[0]
        names = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        self.assertEqual(names, [rule["alert"] for rule in self.rules()])

    def test_every_one_is_tried(self) -> None:
        """The rules' own test expects each of them."""
        text = ALERTS_TEST.read_text(encoding="utf-8")
        tried = re.findall(r'alertname="(\w+)"', text)
        self.assertEqual(set(tried), {rule["alert"] for rule in self.rules()})

    def test_promtool(self) -> None:
        """Prometheus accepts them; they fire when they should, and only then."""
        promtool = program("promtool")
        directory = Path(self.mktemp())
        directory.mkdir()
        shutil.copy(ALERTS, directory)
        shutil.copy(ALERTS_TEST, directory)
        self.run_command(promtool, "check", "rules", ALERTS.name, cwd=directory)
        self.run_command(promtool, "test", "rules", ALERTS_TEST.name, cwd=directory)


class DashboardTests(QueryTestCase):
    """`contrib/grafana-dashboard.json`."""

    def setUp(self) -> None:
        """Load it."""
        text = (CONTRIB / "grafana-dashboard.json").read_text(encoding="utf-8")
        self.dashboard = json.loads(text)
        self.panels = self.dashboard["panels"]

    def queries(self) -> list[str]:
        """Return the query of every target."""
        return [
            target["expr"]
            for panel in self.panels
            for target in panel.get("targets", ())
        ]

    def test_form(self) -> None:
        """It has the form that Grafana reads; no two panels have one id or place."""
        Draft202012Validator(DASHBOARD).validate(self.dashboard)
        ids = [panel["id"] for panel in self.panels]
        self.assertEqual(len(set(ids)), len(ids))
        for one, other in combinations((p["gridPos"] for p in self.panels), 2):
            apart = any(
                one[start] + one[length] <= other[start]
                or other[start] + other[length] <= one[start]
                for start, length in (("x", "w"), ("y", "h"))
            )
            self.assertTrue(apart, (one, other))
        for panel in self.panels:
            self.assertLessEqual(panel["gridPos"]["x"] + panel["gridPos"]["w"], 24)

    def test_metrics(self) -> None:
        """Its metrics exist, and each documented one is shown."""
        shown: set[str] = set()
        for query in self.queries():
            shown |= self.check_query(query)
        for name, _ in documented_metrics():
            self.assertTrue(any(each.startswith(name) for each in shown), name)

    def test_variables(self) -> None:
        """Its queries use no variables but its own, and Grafana's."""
        own = {variable["name"] for variable in self.dashboard["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(self.panels)))
        self.assertEqual(used, own | {"__rate_interval"})

    def test_promtool(self) -> None:
        """Prometheus accepts each query."""
        promtool = program("promtool")
        rules = [
            {"record": f"q{number}", "expr": query.replace("$__rate_interval", "5m")}
            for number, query in enumerate(self.queries())
        ]
        directory = Path(self.mktemp())
        directory.mkdir()
        document = {"groups": [{"name": "dashboard", "rules": rules}]}
        (directory / "rules.json").write_text(json.dumps(document))  # JSON is YAML
        output = self.run_command(
            promtool, "check", "rules", "rules.json", cwd=directory
        )
        self.assertIn(f"{len(rules)} rules found", output)
