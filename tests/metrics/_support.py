"""Helpers for the tests of metrics."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

__all__ = [
    "Samples",
    "a_request",
    "documented_metrics",
    "exported",
    "metrics_section",
    "samples_of",
]

Samples = dict[str, float]


def samples_of(families: Iterable[Metric]) -> Samples:
    """Return the values by name and labels, the latter in order."""
    values = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(
                f'{key}="{sample.labels[key]}"' for key in sorted(sample.labels)
            )
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            values[name] = sample.value
    return values


def exported(families: Iterable[Metric]) -> set[str]:
    """Return the names of our own metrics, as the documentation has them."""
    endings = {"counter": "_total", "info": "_info"}
    return {
        family.name + endings.get(family.type, "")
        for family in families
        if family.name.startswith("asciid_")
    }


def metrics_section() -> str:
    """Return the metrics in the documentation."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    return text.partition("## Metrics\n")[2].partition("\n## ")[0]


def documented_metrics(*, of_database: bool = False) -> list[tuple[str, str]]:
    """
    Return name and type of each of our own metrics, as documented.

    Those of a database are exported by a node of one only.
    """
    pattern = r"^\| `(asciid_\w+)` \| (\w+) \|"
    return [
        (name, kind)
        for name, kind in re.findall(pattern, metrics_section(), re.MULTILINE)
        if name.startswith("asciid_database_") == of_database
    ]


def a_request(endpoint: str | None, method: bytes, status: int) -> Any:  # noqa: ANN401 - only the observed attributes
    """Return a fake request."""
    route = SimpleNamespace(endpoint=endpoint)
    return SimpleNamespace(route=route, method=method, code=status)
