"""
Measures asciid on PostgreSQL beside the embedded engine; see README.md.

It starts a server of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import procfs
from catalog import Server as Service
from catalog import unbounded
from client_cost import Cost, Uploads, read, upload
from machine import describe_machine
from main import ROOT, scratch_directory
from process import BenchmarkError, Cores, choose_cores, connected, running

import script
from asciid.engines._stamps import Stamps
from asciid.engines.lmdb._answers import Answers
from asciid.engines.lmdb._environment import Environment
from asciid.engines.postgresql._committer import Committer
from asciid.engines.postgresql._connecting import Connector, Database
from asciid.engines.postgresql._sql_answers import answer
from asciid.engines.postgresql._sql_schema import TABLES, migrate
from asciid.store.pending import NO_LIMITS, PendingUploads
from asciid.store.stats import DatabaseStats
from tests.cluster._server import OWNER, Server, new_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS = Path(__file__).parent / "results"
EMBEDDED, ONE, TWO = "embedded", "one daemon", "two daemons"
DAEMONS = {EMBEDDED: 1, ONE: 1, TWO: 2}
BATCHES = (1, 8, 32, 128)
READS = (1, 32)
CONNECTIONS = 64
WARM_UP = 0.5
IMAGES_PER_SECOND = 6_000
"""More than any of them gets through."""

MAX_CPU = 40.0
"""Target: microseconds of client CPU of an operation ..."""
MAX_WAL = 3_000.0
"""... and bytes of WAL of an image of 700 bytes, ..."""
TARGET_BATCH = 32
"""... at batches of so many operations."""

SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}


class DatabaseEngine:
    """The threads of `PostgreSQLEngine`, as one."""

    def __init__(self, conninfo: str) -> None:
        connector = Connector(Database(conninfo))
        self._committer = Committer(
            connector.connect,
            PendingUploads(NO_LIMITS),
            DatabaseStats(),
            lambda seconds: seconds,
            lambda _: False,
        )
        self._committer.open()
        self.execute = self._committer.execute
        self._connection = connector.connect()

    def answer(self, query: Any) -> Any:  # noqa: ANN401 - the query's
        """Answer a query."""
        return answer(self._connection, query, lambda seconds: seconds)

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
        self._committer.close()


class FileEngine:
    """The threads of `LMDBEngine`, as one."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        stamps = Stamps(time.time, time.monotonic)
        # More than is stored.
        size = 2**30
        self._environment = Environment(path, True, time.time, stamps.now, size)  # noqa: FBT003 - sync
        self._environment.open()
        self._answers = Answers(path, stamps)
        self.execute = self._environment.execute

    def answer(self, query: Any) -> Any:  # noqa: ANN401 - the query's
        """Answer a query."""
        return self._environment.read(partial(self._answers.answer, query=query))

    def close(self) -> None:
        """Close the file."""
        self._environment.close()


class Plan(NamedTuple):
    """Settings common to all measurements."""

    generator: Path
    scratch: Path
    cores: Cores
    server: Server
    rounds: int
    seconds: float
    images: int
    """How many are uploaded for the cost of each size of batches."""

    @property
    def conninfo(self) -> str:
        """The URI of the database, for daemons."""
        return self.server.conninfo()


class Reading(NamedTuple):
    """Counters, all of which only grow; times in seconds."""

    daemons: float
    """CPU time."""
    database: float
    """CPU time of the server's processes."""
    wal: int
    """Bytes."""


@contextmanager
def started_server(scratch: Path, *, standby: bool) -> Iterator[Server]:
    """Start a server with asciid's tables on the disk of `scratch`."""
    # Where the server makes its directories.
    tempfile.tempdir = str(scratch)
    scratch.chmod(0o755)
    server = new_server(**SETTINGS)
    other = None
    try:
        with closing(Connector(Database(server.conninfo())).connect()) as connection:
            migrate(connection)
        if standby:
            other = server.standby()
            server.synchronize()
        yield server
    finally:
        if other is not None:
            other.end()
        server.end()
        tempfile.tempdir = None


def empty(server: Server) -> None:
    """Delete all images."""
    tables = ", ".join(f"asciid.{table}" for table in TABLES)
    server.execute(f"TRUNCATE {tables}", database=OWNER)


def wal_bytes(server: Server) -> int:
    """Return the bytes of WAL that were written since the server was made."""
    ((written,),) = server.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    return int(written)


def measure_costs(plan: Plan) -> dict[str, Any]:
    """Measure what operations and reads take, and the WAL of an image."""
    empty(plan.server)
    found: dict[str, Any] = {"operations": [], "reads": []}
    with ExitStack() as stack:
        on_database = DatabaseEngine(plan.conninfo)
        stack.callback(on_database.close)
        on_file = FileEngine(plan.scratch / "file")
        stack.callback(on_file.close)
        images = (1 + plan.rounds * len(BATCHES)) * plan.images
        stored_images, file_images = Uploads(images), Uploads(images)
        # The first change of a page after a checkpoint writes the whole page.
        upload(on_database, stored_images, plan.images, max(BATCHES))
        upload(on_file, file_images, plan.images, max(BATCHES))
        for size in BATCHES:
            # One operation takes a sync each.
            count = plan.images if size > 1 else plan.images // 10
            stored, file, wal = list[Cost](), list[Cost](), list[float]()
            for _ in range(plan.rounds):
                before, done = wal_bytes(plan.server), len(stored_images.hashes)
                stored.append(upload(on_database, stored_images, count, size))
                done = len(stored_images.hashes) - done
                wal.append((wal_bytes(plan.server) - before) / done)
                file.append(upload(on_file, file_images, count, size))
            found["operations"].append(
                {
                    "batch": size,
                    **_costs("", stored),
                    **_costs("embedded_", file),
                    "wal_bytes_per_image": median(wal),
                }
            )
        hashes = stored_images.hashes[:1_000]
        for size in READS:
            stored, file = list[Cost](), list[Cost]()
            for _ in range(plan.rounds):
                stored.append(read(on_database, hashes, size))
                file.append(read(on_file, hashes, size))
            found["reads"].append(
                {
                    "together": size,
                    **_costs("", stored),
                    **_costs("embedded_", file),
                }
            )
    return found


def _costs(prefix: str, costs: Sequence[Cost]) -> dict[str, float]:
    return {
        f"{prefix}cpu_us": median(cost.cpu for cost in costs),
        f"{prefix}elapsed_us": median(cost.elapsed for cost in costs),
    }


def measure_daemons(plan: Plan) -> list[dict[str, Any]]:
    """Measure requests a second, each kind in turn; return medians."""
    needed = int((WARM_UP + plan.seconds) * IMAGES_PER_SECOND)
    scripts = [
        script.write(plan.scratch / f"exercise-{seed}", script.exercise(needed, seed))
        for seed in range(1, 1 + max(DAEMONS.values()))
    ]
    found: list[dict[str, Any]] = []
    for number in range(plan.rounds):
        kinds = list(DAEMONS)
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            found += [_measure_kind(plan, kind, scripts)]
    return [
        {
            name: value
            if name == "kind"
            else median(one[name] for one in found if one["kind"] == kind)
            for name, value in next(one for one in found if one["kind"] == kind).items()
        }
        for kind in DAEMONS
    ]


def _measure_kind(plan: Plan, kind: str, scripts: Sequence[Path]) -> dict[str, Any]:
    empty(plan.server)
    service = Service(
        kind,
        kind,
        lambda port, storage: unbounded(
            port, storage if kind == EMBEDDED else plan.conninfo
        ),
    )
    count = DAEMONS[kind]
    with ExitStack() as stack:
        daemons = [
            stack.enter_context(
                running(service, plan.scratch / f"storage-{number}", plan.cores)
            )
            for number in range(count)
        ]
        pids = [daemon.pid for daemon in daemons]
        _use_all_processors(pids)
        positions = [0] * count
        for seconds in (WARM_UP, plan.seconds):
            with ExitStack() as loads:
                generators = [
                    loads.enter_context(
                        connected(
                            *(plan.generator, path, daemon.port),
                            *(CONNECTIONS // count, seconds, position, 0),
                        )
                    )
                    for path, daemon, position in zip(
                        scripts, daemons, positions, strict=False
                    )
                ]
                pool = loads.enter_context(ThreadPoolExecutor(count))
                before = _read(plan, pids)
                measured = list(pool.map(lambda each: each.run(), generators))
                after = _read(plan, pids)
            positions = [one["next"] for one in measured]
    requests = sum(one["requests"] for one in measured)
    images = sum(one["images"] for one in measured)
    return {
        "kind": kind,
        "requests_per_second": sum(
            one["requests"] / one["seconds"] for one in measured
        ),
        "daemon_us": (after.daemons - before.daemons) / requests * 1e6,
        "database_us": (after.database - before.database) / requests * 1e6,
        "wal_bytes_per_image": (after.wal - before.wal) / images,
        "p50_us": max(one["p50_us"] for one in measured),
        "p99_us": max(one["p99_us"] for one in measured),
    }


def _read(plan: Plan, pids: Sequence[int]) -> Reading:
    return Reading(
        sum(sum(procfs.cpu_seconds(pid).values()) for pid in pids),
        sum(procfs.cpu_seconds(plan.server.program.pid).values()),
        wal_bytes(plan.server),
    )


def _use_all_processors(pids: Sequence[int]) -> None:
    """Undo what `running` does: daemons, database and loads share the processors."""
    every = range(os.cpu_count() or 1)
    for pid in (os.getpid(), *pids):
        for member in procfs.family(pid):
            for task in Path(f"/proc/{member}/task").iterdir():
                os.sched_setaffinity(int(task.name), every)


def check(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the targets, each with whether it is met."""
    (row,) = (one for one in results["operations"] if one["batch"] == TARGET_BATCH)
    cpu, wal = row["cpu_us"], row["wal_bytes_per_image"]
    cpu_text = f"{cpu:.1f} µs of client CPU an operation (at most {MAX_CPU:.0f})"
    wal_text = f"{wal / 1000:.2f} KB of WAL an image (at most {MAX_WAL / 1000:.0f})"
    return [
        {"text": f"batches of {TARGET_BATCH}: {text}", "passed": passed}
        for text, passed in ((cpu_text, cpu <= MAX_CPU), (wal_text, wal <= MAX_WAL))
    ]


OPERATION_COLUMNS = (
    ("operations in a batch", "batch", 1.0, 0),
    ("µs CPU", "cpu_us", 1.0, 1),
    ("µs", "elapsed_us", 1.0, 1),
    ("KB WAL/image", "wal_bytes_per_image", 1e3, 2),
    ("embedded: µs CPU", "embedded_cpu_us", 1.0, 1),
    ("µs", "embedded_elapsed_us", 1.0, 1),
)
READ_COLUMNS = (
    ("images in a read", "together", 1.0, 0),
    ("µs CPU", "cpu_us", 1.0, 1),
    ("µs", "elapsed_us", 1.0, 1),
    ("embedded: µs CPU", "embedded_cpu_us", 1.0, 1),
    ("µs", "embedded_elapsed_us", 1.0, 1),
)
DAEMON_COLUMNS = (
    (f"{CONNECTIONS} connections", "kind", 0.0, 0),
    ("req/s", "requests_per_second", 1.0, 0),
    ("µs CPU/req", "daemon_us", 1.0, 1),
    ("µs database/req", "database_us", 1.0, 1),
    ("KB WAL/image", "wal_bytes_per_image", 1e3, 2),
    ("p50 ms", "p50_us", 1e3, 2),
    ("p99 ms", "p99_us", 1e3, 2),
)


def _table(
    columns: Sequence[tuple[str, str, float, int]], rows: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """Yield the lines of a table; a column has title, name, unit and decimals."""
    cells = [[title for title, *_ in columns]]
    cells += [
        [
            f"{row[name] / unit:,.{digits}f}" if unit else row[name]
            for _, name, unit, digits in columns
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(
            cell.rjust(width) for cell, width in zip(line, widths, strict=True)
        )
    yield ""


def report(results: dict[str, Any]) -> str:
    """Return the results as text."""
    standby = "a synchronous standby" if results["standby"] else "no standby"
    server = f"PostgreSQL {results['postgresql']}, {standby}"
    lines = [f"{server}; medians of {results['rounds']} rounds", ""]
    lines += _table(OPERATION_COLUMNS, results["operations"])
    lines += _table(READ_COLUMNS, results["reads"])
    lines += _table(DAEMON_COLUMNS, results["daemons"])
    lines += [
        f"{'pass' if target['passed'] else 'FAIL'}  {target['text']}"
        for target in results["targets"]
    ]
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="benchmarks/postgresql")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument(
        "--images", type=int, default=2_000, help="for each size of batches"
    )
    parser.add_argument(
        "--standby", action="store_true", help="have commits wait for a standby"
    )
    parser.add_argument(
        "--storage", type=Path, default=ROOT, help="a directory on the disk to measure"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "postgresql.json")
    parser.add_argument("--generator", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure, print, and write the results; return the exit code."""
    options = parse_arguments()
    # The way out leads through every `finally`, which ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_directory(options.storage))
        machine = describe_machine(procfs.Disk(scratch))
        server = stack.enter_context(started_server(scratch, standby=options.standby))
        ((version,),) = server.execute("SHOW server_version")
        plan = Plan(
            options.generator,
            scratch,
            choose_cores(),
            server,
            options.rounds,
            options.seconds,
            options.images,
        )
        results: dict[str, Any] = {
            "machine": machine,
            "postgresql": version.split()[0],
            "standby": options.standby,
            "rounds": options.rounds,
            "seconds_per_load": options.seconds,
            **measure_costs(plan),
            "daemons": measure_daemons(plan),
        }
    results["targets"] = check(results)
    print(report(results))
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if all(target["passed"] for target in results["targets"]) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchmarkError, LookupError) as error:
        sys.exit(f"benchmarks/postgresql: {error}")
