"""Turns measurements into medians, tables and targets."""

from __future__ import annotations

import json
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from catalog import EMPTY_KLEIN, GO_DURABLE, NAIVE, NGINX, TITLES
from session import CONNECTIONS, DOWNLOAD, EMPTY, EXERCISE, LARGE, MANY, REGISTER
from targets import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from session import Findings, Measurement

Results = dict[str, Any]

TABLES = [
    (EXERCISE, CONNECTIONS[0], (GO_DURABLE, NAIVE), "The exercise's workload"),
    (EXERCISE, CONNECTIONS[1], (GO_DURABLE, NAIVE), "The exercise's workload"),
    (EXERCISE, MANY, (GO_DURABLE, NAIVE), "The exercise's workload"),
    (REGISTER, max(CONNECTIONS), (GO_DURABLE, NAIVE), "Registrations alone"),
    (DOWNLOAD, max(CONNECTIONS), (NGINX, NAIVE), "Downloads of one image alone"),
    (LARGE, 1, (NGINX,), "Downloads of an image of 60 MiB"),
    (EMPTY, CONNECTIONS[0], (EMPTY_KLEIN,), "An empty handler"),
    (EMPTY, CONNECTIONS[1], (EMPTY_KLEIN,), "An empty handler"),
]
"""Workload, connections, title, and the servers of which the first that was measured
is the one that ratios refer to."""

_IDENTIFYING = ("server", "workload", "connections")

TOLERATED_OTHERS = 0.05
TOLERATED_LOAD = 0.8

_COLUMNS = [
    "req/s",
    "MiB/s",
    "ratio",
    "µs CPU/req",
    "ratio",
    "µs writer/req",
    "p50 ms",
    "p99 ms",
    "calls/req",
    "KB disk/image",
    "KB process/image",
    "CPU",
    "others",
    "load CPU",
]
_MEMORY = {
    "RSS idle": "idle_rss_bytes",
    "PSS idle": "idle_pss_bytes",
    "PSS after load": "loaded_pss_bytes",
    "RSS at most": "peak_rss_bytes",
}


def _medians(measurements: Sequence[Measurement]) -> Measurement:
    """Return one measurement whose every number is the median of that number."""
    first = measurements[0]
    return {
        name: value
        if name in _IDENTIFYING
        else median(measurement[name] for measurement in measurements)
        for name, value in first.items()
        if name != "round"
    }


def _grouped(
    measurements: Sequence[Measurement], *names: str
) -> Iterable[Sequence[Measurement]]:
    def key(measurement: Measurement) -> list[Any]:
        return [measurement[name] for name in names]

    for _, group in groupby(sorted(measurements, key=key), key):
        yield list(group)


def summarise(
    found: Findings, machine: dict[str, Any], rounds: int, seconds: float
) -> Results:
    """Return the contents of the result file."""
    medians = [
        _medians(group)
        for group in _grouped(found.loads, "server", "workload", "connections")
    ]
    calls = {
        (group[0]["server"], group[0]["workload"], group[0]["connections"]): median(
            trace["calls_per_request"] for trace in group
        )
        for group in _grouped(found.traces, "server", "workload", "connections")
    }
    for row in medians:
        key = row["server"], row["workload"], row["connections"]
        if key in calls:
            row["calls_per_request"] = calls[key]
    results = {
        "machine": machine,
        "rounds": rounds,
        "seconds_per_load": seconds,
        "medians": medians,
        "memory": [_medians(group) for group in _grouped(found.memory, "server")],
        "system_calls": found.traces,
        "measurements": found.loads,
    }
    results["targets"] = check(results)
    return results


def write_json(results: Results, path: Path) -> None:
    """Write the result file."""
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _number(row: Measurement, name: str, scale: float, digits: int) -> str:
    return f"{row[name] / scale:,.{digits}f}" if name in row else ""


def _cells(row: Measurement, base: Measurement | None) -> list[str]:
    def ratio(name: str) -> str:
        return f"{row[name] / base[name]:.2f}" if base else ""

    return [
        _number(row, "requests_per_second", 1, 0),
        _number(row, "bytes_per_second", 2**20, 0),
        ratio("requests_per_second"),
        _number(row, "cpu_us_per_request", 1, 1),
        ratio("cpu_us_per_request"),
        _number(row, "writer_us_per_request", 1, 1),
        _number(row, "p50_us", 1000, 2),
        _number(row, "p99_us", 1000, 2),
        _number(row, "calls_per_request", 1, 2),
        _number(row, "disk_bytes_per_image", 1000, 1),
        _number(row, "process_bytes_per_image", 1000, 1),
        f"{row['server_cpu_share']:.0%}",
        f"{row['others_cpu_share']:.0%}",
        f"{row['load_cpu_share']:.0%}",
    ]


def _layout(title: str, lines: Sequence[Sequence[str]]) -> str:
    used = [0] + [
        column
        for column in range(1, len(lines[0]))
        if any(line[column] for line in lines[1:])
    ]
    widths = [max(len(line[column]) for line in lines) for column in used]
    text = [title]
    for line in lines:
        first, *others = (
            line[column].rjust(width)
            for column, width in zip(used, widths, strict=True)
        )
        text.append("  ".join([first.strip().ljust(widths[0]), *others]))
    return "\n".join(text)


def _tables(results: Results) -> Iterable[str]:
    for workload, connections, base_keys, title in TABLES:
        rows = {
            row["server"]: row
            for row in results["medians"]
            if row["workload"] == workload and row["connections"] == connections
        }
        if not rows:
            continue
        base_key = next((key for key in base_keys if key in rows), "")
        base = rows.get(base_key)
        lines = [["", *_COLUMNS]]
        lines += [
            [TITLES[key], *_cells(rows[key], base)] for key in TITLES if key in rows
        ]
        against = f"; ratios to {TITLES[base_key]}" if base else ""
        plural = "s" if connections > 1 else ""
        yield _layout(f"{title}, {connections} connection{plural}{against}", lines)


def _memory(results: Results) -> str:
    rows = {row["server"]: row for row in results["memory"]}
    lines = [["", *_MEMORY]]
    lines += [
        [TITLES[key], *(f"{rows[key][name] / 1e6:.1f}" for name in _MEMORY.values())]
        for key in TITLES
        if key in rows
    ]
    return _layout("Memory of all processes of a server, in MB", lines)


def _doubts(results: Results) -> Iterable[str]:
    """Yield reasons to doubt the figures."""
    others = max(row["others_cpu_share"] for row in results["medians"])
    if others > TOLERATED_OTHERS:
        yield (
            f"NOISE: other programs took up to {others:.0%} of a core that was "
            "measured; measure again when the machine is quiet"
        )
    load = max(row["load_cpu_share"] for row in results["medians"])
    if load > TOLERATED_LOAD:
        yield (
            f"LIMIT: the load generator used {load:.0%} of its core; the fastest "
            "server may be faster than shown"
        )


def table(results: Results) -> str:
    """Return the results as text."""
    machine = results["machine"]
    interpreter = machine["interpreter"]
    head = (
        f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, "
        f"{machine['filesystem']}, "
        f"commit {machine['commit']}{' with changes' if machine['changed'] else ''}\n"
        f"{interpreter['path']}, Python {machine['python']}, "
        f"optimizations: {interpreter['optimizations']}\n"
        f"{', '.join(f'{name} {each}' for name, each in machine['peers'].items())}\n"
        f"medians of {results['rounds']} rounds of {results['seconds_per_load']} s; "
        "one core for the server, another for the load\n"
        "disk: what everybody wrote to the device until a final sync, other programs "
        "included;\nprocess: bytes the kernel ascribes to the server itself"
    )
    verdicts = [
        f"{'pass' if target['passed'] else 'FAIL'}  {target['text']}"
        for target in results["targets"]
    ]
    skipped = [f"skipped: {each}" for each in results["skipped"]]
    return "\n\n".join(
        [
            *(head, *_tables(results), _memory(results)),
            *("\n".join(verdicts), *_doubts(results), *skipped),
        ]
    )
