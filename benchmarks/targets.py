"""The figures that asciid is to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import catalog
from session import (
    CONNECTIONS,
    DOWNLOAD,
    EMPTY,
    EXERCISE,
    LARGE,
    MANY,
    TRACED_CONNECTIONS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY_TIMES = [
    (catalog.EMPTY_KLEIN, 8),
    (catalog.EMPTY_AIOHTTP, 2),
    (catalog.EMPTY_STARLETTE, 2),
]
"""How many times the requests a second of each the empty handler must reach."""
WORKERS_TIMES = [
    (catalog.OURS, "one process alone", 1.25),
    (catalog.OURS_APART, "one of 4 processes apart", 1.0),
]
"""
The CPU per request of four workers, and of the writer, against that of one process.

Against one that has the core to itself, and against one of four that share it, as the
workers do: only these two have the same caches to themselves.
"""
SERVICE_TIMES = 5
"""The whole service against the naive one: requests a second, and CPU."""
CALLS_PER_REQUEST = 2.5
DISK_BYTES_PER_IMAGE = 16_000

IDLE_RSS_BYTES = 50e6
"""Of one process."""
IDLE_PSS_BYTES = 210e6
"""Of four workers, with the writer and the parent."""

CPU = "cpu_us_per_request"
REQUESTS = "requests_per_second"


class Peer(NamedTuple):
    """A figure of asciid, divided by that of another server."""

    what: str
    key: str
    workload: str
    connections: int
    figure: str
    bound: float
    least: bool = False
    """Whether the quotient must be at least `bound`, rather than at most."""


_64 = max(CONNECTIONS)
PEERS = [
    Peer("CPU per request", catalog.GO_DURABLE, EXERCISE, _64, CPU, 0.95),
    Peer("requests/s", catalog.GO_DURABLE, EXERCISE, _64, REQUESTS, 1.15, least=True),
    Peer("CPU per request", catalog.GO_MEMORY, EXERCISE, _64, CPU, 2.4),
    Peer("CPU per hot GET", catalog.NGINX, DOWNLOAD, _64, CPU, 2.0),
    Peer("CPU per 60 MiB", catalog.NGINX, LARGE, 1, CPU, 4.0),
    Peer("60 MiB/s", catalog.NGINX, LARGE, 1, REQUESTS, 0.7, least=True),
]

Target = dict[str, Any]
Rows = dict[tuple[str, str, int], dict[str, Any]]
"""Medians by server, workload and connections."""


def check(results: dict[str, Any]) -> list[Target]:
    """Return the targets for which everything was measured."""
    rows = {
        (row["server"], row["workload"], row["connections"]): row
        for row in results["medians"]
    }
    return [*_check(rows), *_check_peers(rows), *_check_memory(results["memory"])]


def _target(text: str, *, passed: bool) -> Target:
    return {"text": text, "passed": passed}


def _check(rows: Rows) -> Iterator[Target]:
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


def _check_workers(rows: Rows) -> Iterator[Target]:
    for connections in (*CONNECTIONS, MANY):
        four = rows.get((catalog.OURS_WORKERS, EXERCISE, connections))
        for key, what, times in WORKERS_TIMES:
            one = rows.get((key, EXERCISE, connections))
            if one and four:
                ratio = four[CPU] / one[CPU]
                yield _target(
                    f"service, {connections} connections: 4 workers take {ratio:.2f} "
                    f"of the CPU per request of {what} (at most {times})",
                    passed=ratio <= times,
                )


def _check_peers(rows: Rows) -> Iterator[Target]:
    for peer in PEERS:
        ours = rows.get((catalog.OURS, peer.workload, peer.connections))
        other = rows.get((peer.key, peer.workload, peer.connections))
        if ours and other:
            ratio = ours[peer.figure] / other[peer.figure]
            bound = f"{'at least' if peer.least else 'at most'} {peer.bound}"
            yield _target(
                f"{catalog.TITLES[peer.key]}: {ratio:.2f} times its {peer.what} "
                f"({bound})",
                passed=ratio >= peer.bound if peer.least else ratio <= peer.bound,
            )


def _check_memory(memory: list[dict[str, Any]]) -> Iterator[Target]:
    rows = {row["server"]: row for row in memory}
    for key, name, what, most in (
        (catalog.OURS, "idle_rss_bytes", "MB RSS", IDLE_RSS_BYTES),
        (catalog.OURS_WORKERS, "idle_pss_bytes", "MB PSS", IDLE_PSS_BYTES),
    ):
        if key in rows:
            used = rows[key][name]
            yield _target(
                f"{catalog.TITLES[key]}, idle: {used / 1e6:.1f} {what} "
                f"(at most {most / 1e6:.0f})",
                passed=used <= most,
            )
