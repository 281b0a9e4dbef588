"""The figures that asciid is to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import catalog
from session import CONNECTIONS, EMPTY, EXERCISE, MANY, TRACED_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY_TIMES = [
    (catalog.EMPTY_KLEIN, 8),
    (catalog.EMPTY_AIOHTTP, 2),
    (catalog.EMPTY_STARLETTE, 2),
]
"""How many times the requests a second of each the empty handler must reach."""
WORKERS_TIMES = 1.25
"""
The CPU per request of four workers, and of the writer, against that of one process.

Against one that has the core to itself, and against one of four that share it, as the
workers do: only these two have the same caches to themselves.
"""
SERVICE_TIMES = 5
"""The whole service against the naive one: requests a second, and CPU."""
CALLS_PER_REQUEST = 3.5
DISK_BYTES_PER_IMAGE = 16_000

Target = dict[str, Any]


def check(results: dict[str, Any]) -> list[Target]:
    """Return the targets for which everything was measured."""
    return list(_check(results["medians"]))


def _target(text: str, *, passed: bool) -> Target:
    return {"text": text, "passed": passed}


def _check(medians: list[dict[str, Any]]) -> Iterator[Target]:
    rows = {
        (row["server"], row["workload"], row["connections"]): row for row in medians
    }
    ours = rows.get((catalog.EMPTY_OURS, EMPTY, max(CONNECTIONS)))
    for key, times in EMPTY_TIMES:
        other = rows.get((key, EMPTY, max(CONNECTIONS)))
        if ours and other:
            ratio = ours["requests_per_second"] / other["requests_per_second"]
            yield _target(
                f"empty handler: {ratio:.1f} times the requests/s of "
                f"{catalog.TITLES[key]} (at least {times})",
                passed=ratio >= times,
            )
    for connections in CONNECTIONS:
        ours = rows.get((catalog.OURS, EXERCISE, connections))
        naive = rows.get((catalog.NAIVE, EXERCISE, connections))
        if ours and naive:
            yield from _check_service(ours, naive, connections)
    yield from _check_workers(rows)
    for connections in CONNECTIONS:
        ours = rows.get((catalog.OURS, EXERCISE, connections))
        if ours:
            written = ours["disk_bytes_per_image"]
            yield _target(
                f"service, {connections} connections: {written / 1000:.1f} KB written "
                f"to disk per image (at most {DISK_BYTES_PER_IMAGE / 1000:.0f})",
                passed=written <= DISK_BYTES_PER_IMAGE,
            )
    ours = rows.get((catalog.OURS, EXERCISE, TRACED_CONNECTIONS))
    if ours and "calls_per_request" in ours:
        calls = ours["calls_per_request"]
        yield _target(
            f"service, {TRACED_CONNECTIONS} connections: {calls:.2f} system calls per "
            f"request (at most {CALLS_PER_REQUEST})",
            passed=calls <= CALLS_PER_REQUEST,
        )


def _check_service(
    ours: dict[str, Any], naive: dict[str, Any], connections: int
) -> Iterator[Target]:
    ratio = ours["requests_per_second"] / naive["requests_per_second"]
    yield _target(
        f"service, {connections} connections: {ratio:.1f} times the requests/s of "
        f"the naive one (at least {SERVICE_TIMES})",
        passed=ratio >= SERVICE_TIMES,
    )
    share = ours["cpu_us_per_request"] / naive["cpu_us_per_request"]
    yield _target(
        f"service, {connections} connections: {share:.2f} of the CPU per request of "
        f"the naive one (at most {1 / SERVICE_TIMES})",
        passed=share <= 1 / SERVICE_TIMES,
    )


def _check_workers(rows: dict[Any, dict[str, Any]]) -> Iterator[Target]:
    for connections in (*CONNECTIONS, MANY):
        four = rows.get((catalog.OURS_WORKERS, EXERCISE, connections))
        for key, what in (
            (catalog.OURS, "one process alone"),
            (catalog.OURS_APART, "one of 4 processes apart"),
        ):
            one = rows.get((key, EXERCISE, connections))
            if one and four:
                ratio = four["cpu_us_per_request"] / one["cpu_us_per_request"]
                yield _target(
                    f"service, {connections} connections: 4 workers take {ratio:.2f} "
                    f"of the CPU per request of {what} (at most {WORKERS_TIMES})",
                    passed=ratio <= WORKERS_TIMES,
                )
