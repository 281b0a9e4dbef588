"""Writes the tables of the documents from results/; started by `benchmarks/figures`."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catalog
import request_profile
from kinds import HOT_GET, KINDS, MIX
from session import DOWNLOAD, EXERCISE, LARGE, REGISTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PAGES = [
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "architecture.md",
    ROOT / "docs" / "operations.md",
    ROOT / "docs" / "performance.md",
]

NONE = ""
"""The cell of what was not measured."""
CONNECTIONS = 64

_BLOCK = re.compile(
    r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL
)

SURVIVES = {
    catalog.OURS: "power loss",
    catalog.GO_DURABLE: "power loss",
    catalog.GO_MEMORY: "nothing",
}
"""What acknowledged writes survive."""
COMPARED = {
    catalog.NAIVE: "stock Klein, a thread per operation, a file per image",
    catalog.OURS_STOCK: "asciid's routes and store, under twisted.web",
    catalog.OURS: "asciid",
    catalog.OURS_WORKERS: "asciid with four workers, all on that core",
}
"""What docs/architecture.md calls the servers."""
LOADS = {
    (EXERCISE, 32): "images of 700 bytes in three chunks: register, upload, download",
    (EXERCISE, 64): "the same",
    (REGISTER, 64): "registrations",
    (DOWNLOAD, 64): "downloads of a small image",
}
"""What docs/operations.md calls the loads."""

Row = dict[str, Any]


def read(name: str) -> dict[str, Any]:
    """Return a file of results, which is empty if it was not made yet."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def medians(results: dict[str, Any]) -> dict[tuple[str, str, int], Row]:
    """Return the medians by server, workload and connections."""
    return {
        (row["server"], row["workload"], row["connections"]): row
        for row in results["medians"]
    }


def cell(row: Row | None, name: str, unit: float = 1, digits: int = 0) -> str:
    """Return a figure in a unit, as the cell of a table."""
    if row is None or name not in row:
        return NONE
    return f"{row[name] / unit:,.{digits}f}"


def hundreds(row: Row) -> str:
    """Return requests a second as they are worth stating."""
    return f"{round(row['requests_per_second'], -2):,.0f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def machine() -> Iterator[str]:
    """Yield what was measured, and where."""
    results = read("full")
    described = results["machine"]
    interpreter = described.get("interpreter", {}).get("path", "Python")
    peers = described.get("peers", {})
    text = (
        f"{described['cpu']} with {described['cpus']} processors, "
        f"Linux {described['kernel']}, {described['filesystem']}; "
        f"{interpreter} {described['python']}"
        f"{''.join(f', {name} {version}' for name, version in peers.items())}; "
        f"asciid {described['commit']}; medians of {results['rounds']} rounds, "
        f"{results['seconds_per_load']} s a load."
    )
    yield from textwrap.wrap(text, 88)


def exercise() -> Iterator[str]:
    """Yield asciid beside the servers in Go."""
    rows = medians(read("full"))
    ours = rows[catalog.OURS, EXERCISE, CONNECTIONS]
    lines = []
    for key, survives in SURVIVES.items():
        row = rows.get((key, EXERCISE, CONNECTIONS))
        quotients = [NONE, NONE]
        if row and row is not ours:
            quotients = [
                f"{ours[name] / row[name]:.2f}"
                for name in ("cpu_us_per_request", "requests_per_second")
            ]
        lines.append(
            [
                catalog.TITLES[key],
                cell(row, "cpu_us_per_request"),
                quotients[0],
                hundreds(row) if row else NONE,
                quotients[1],
                cell(row, "disk_bytes_per_image", 1000, 1),
                survives,
            ]
        )
    heads = (
        *("", "µs CPU per request", "asciid / this", "requests per second"),
        *("asciid / this", "KB written to disk per image", "a 201 survives"),
    )
    return table(heads, lines)


def downloads() -> Iterator[str]:
    """Yield asciid beside nginx."""
    rows = medians(read("full"))
    lines = []
    for key in (catalog.OURS, catalog.NGINX, catalog.GO_DURABLE, catalog.GO_MEMORY):
        small = rows.get((key, DOWNLOAD, CONNECTIONS))
        large = rows.get((key, LARGE, 1))
        lines.append(
            [
                catalog.TITLES[key],
                cell(small, "cpu_us_per_request", digits=1),
                hundreds(small) if small else NONE,
                cell(large, "cpu_us_per_request", 1000),
                cell(large, "bytes_per_second", 2**20),
            ]
        )
    heads = (
        *("", "700 bytes: µs CPU", "requests per second"),
        *("60 MiB: ms CPU", "MiB per second"),
    )
    return table(heads, lines)


def memory() -> Iterator[str]:
    """Yield the memory of asciid and its peers."""
    rows = {row["server"]: row for row in read("full").get("memory", ())}
    keys = [catalog.OURS, catalog.OURS_WORKERS, catalog.GO_DURABLE, catalog.NGINX]
    names = ("idle_rss_bytes", "idle_pss_bytes", "loaded_pss_bytes")
    lines = [
        [catalog.TITLES[key], *(cell(rows.get(key), name, 1e6) for name in names)]
        for key in keys
    ]
    heads = ("MB, all processes", "RSS idle", "PSS idle", "PSS after load")
    return table(heads, lines)


def targets() -> Iterator[str]:
    """Yield each target with whether it is reached."""
    lines = [
        ["yes" if target["passed"] else "no", target["text"]]
        for target in read("full")["targets"]
    ]
    return table(("reached", "target"), lines)


def instructions() -> Iterator[str]:
    """Yield the instructions of each kind of request, before and now."""
    counted = read("instructions")
    columns = [
        dict(zip(("now", "before"), trees.values(), strict=False))
        for trees in (counted.get("daemon", {}), counted.get("in process", {}))
    ]
    lines = [
        [
            kind,
            *(
                cell(column.get(when), kind, 1000, 1)
                for column in columns
                for when in ("before", "now")
            ),
        ]
        for kind in (MIX, *KINDS)
    ]
    heads = (
        *("thousands", "daemon, before", "daemon, now"),
        *("in process, before", "in process, now"),
    )
    return table(heads, lines)


def profiles() -> Iterator[str]:
    """Yield Python calls and bytecodes of each kind of request, before and now."""
    before, now = (_kinds(f"profile-{when}") for when in ("before", "after"))
    lines = [
        [
            kind,
            *(
                cell(profile.get(kind), name)
                for name in ("python_calls", "bytecodes")
                for profile in (before, now)
            ),
        ]
        for kind in (MIX, *KINDS)
    ]
    heads = (
        *("", "Python calls, before", "Python calls, now"),
        *("bytecodes, before", "bytecodes, now"),
    )
    return table(heads, lines)


def libraries() -> Iterator[str]:
    """Yield the instructions of the exercise and of a hot GET by library."""
    return _parts("instructions", lambda profile: profile["libraries"], 500)


def packages() -> Iterator[str]:
    """Yield the bytecodes of the exercise and of a hot GET by package."""
    return _parts("bytecodes", request_profile.packages, 5)


def _kinds(name: str) -> dict[str, Row]:
    kinds: dict[str, Row] = read(name).get("kinds", {})
    return kinds


def _parts(
    what: str, part: Callable[[Row], dict[str, float]], least: float
) -> Iterator[str]:
    """Yield what has at least `least` in any of four columns."""
    columns = [
        part(kinds[kind]) if kind in kinds else None
        for kind in (MIX, HOT_GET)
        for kinds in (_kinds("profile-before"), _kinds("profile-after"))
    ]
    largest = {
        name: max(column.get(name, 0) for column in columns if column)
        for column in columns
        if column
        for name in column
    }
    names = [name for name, value in largest.items() if value >= least]
    lines = [
        [
            name,
            *(
                NONE if each is None else f"{each.get(name, 0):,.0f}"
                for each in columns
            ),
        ]
        for name in sorted(names, key=lambda name: -largest[name])
    ]
    heads = [f"{kind}, {when}" for kind in (MIX, HOT_GET) for when in ("before", "now")]
    return table((what, *heads), lines)


def comparison() -> Iterator[str]:
    """Yield asciid beside simpler servers in Python."""
    rows = medians(read("full"))
    lines = []
    for key, title in COMPARED.items():
        row = rows[key, EXERCISE, CONNECTIONS]
        cpu = cell(row, "cpu_us_per_request")
        disk = cell(row, "disk_bytes_per_image", 1000, 1)
        lines.append([title, hundreds(row), cpu, disk])
    heads = (
        *("server", "requests per second", "µs CPU per request"),
        "KB written to disk per image",
    )
    return table(heads, lines)


def sizing() -> Iterator[str]:
    """Yield what one process can do."""
    rows = medians(read("full"))
    lines = []
    for (workload, connections), title in LOADS.items():
        row = rows[catalog.OURS, workload, connections]
        cpu = f"{cell(row, 'cpu_us_per_request')} µs"
        waits = (f"{cell(row, name, 1000, 1)} ms" for name in ("p50_us", "p99_us"))
        lines.append([title, str(connections), hundreds(row), cpu, *waits])
    heads = (
        *("load", "connections", "requests a second", "CPU a request"),
        *("median", "99th percentile"),
    )
    return table(heads, lines)


def art() -> Iterator[str]:
    """Yield what it takes to parse and to show a screen of art."""
    lines = [
        [name, cell(way, "ms", digits=1), cell(way, "bytes")]
        for name, way in read("art").get("ways", {}).items()
    ]
    return table(("", "ms", "bytes"), lines)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    each.__name__: each
    for each in (
        *(machine, exercise, downloads, memory, targets),
        *(instructions, profiles, libraries, packages),
        *(comparison, sizing, art),
    )
}
"""By the name in the mark before a table."""


def updated(page: str) -> str:
    """
    Return a page with its tables made anew.

    Errors: `KeyError` for a mark that names no table.
    """
    return _BLOCK.sub(_made_anew, page)


def _made_anew(block: re.Match[str]) -> str:
    begin, name, end = block.groups()
    return "\n".join([begin.rstrip(), *TABLES[name](), end])


def main() -> None:
    """Update all pages, and name those that have changed."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        new = updated(page)
        if new != page:
            path.write_text(new, encoding="utf-8")
            print(f"updated: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
