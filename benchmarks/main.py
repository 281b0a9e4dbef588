"""
Measures asciid and other servers; started by `benchmarks/run`.

README.md, beside this file, defines every figure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import catalog
import peers
import procfs
import report
import session
from apart import measure_apart
from machine import describe_machine
from plot import draw
from process import BenchmarkError, choose_cores

import script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"

# More than any server here gets through: a load that runs out of images ends
# early, and one that finds none fails.
IMAGES_PER_SECOND = 12_000
REGISTRATIONS_PER_SECOND = 60_000


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, or `words`."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="4, or 1 if quick")
    parser.add_argument("--seconds", type=float, help="of each load: 1.3, quick 0.5")
    parser.add_argument(
        "--servers",
        help=f"only these, separated by commas: {', '.join(catalog.TITLES)}",
    )
    parser.add_argument(
        "--storage",
        type=Path,
        default=ROOT,
        help="a directory on the disk to measure; this checkout's by default",
    )
    parser.add_argument(
        "--output", type=Path, help="file name for results, without its suffix"
    )
    parser.add_argument("--generator", type=Path, required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 4)
    arguments.seconds = arguments.seconds or (0.5 if arguments.quick else 1.3)
    name = "quick" if arguments.quick else "full"
    arguments.output = arguments.output or RESULTS / name
    arguments.servers = (
        arguments.servers.split(",") if arguments.servers else list(catalog.TITLES)
    )
    unknown = set(arguments.servers) - set(catalog.TITLES)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    return arguments


@contextmanager
def scratch_directory(beside: Path) -> Iterator[Path]:
    """Make a directory that is removed at the end, also after an error."""
    path = Path(tempfile.mkdtemp(prefix=".bench-", dir=beside))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def skip_missing(arguments: argparse.Namespace) -> list[str]:
    """Leave out the servers for which something is not installed; return why."""
    skipped = []
    for server in catalog.SERVERS:
        package = server.missing() if server.key in arguments.servers else None
        if package:
            arguments.servers.remove(server.key)
            skipped.append(f"{server.title}: {package} is not installed")
            print(f"skipped: {skipped[-1]}", file=sys.stderr)
    if {catalog.GO_DURABLE, catalog.GO_MEMORY} & set(arguments.servers):
        peers.build_go()
    return skipped


def write_scripts(scratch: Path, seconds: float) -> session.Scripts:
    """Prepare all requests."""
    loads = len(session.CONNECTIONS) + 1
    needed = (loads * seconds) + session.WARM_UP + session.TRACED
    exercise = script.exercise(int(needed * IMAGES_PER_SECOND))
    register = script.registrations(int(seconds * REGISTRATIONS_PER_SECOND))
    return session.Scripts(
        exercise=script.write(scratch / "exercise", exercise),
        register=script.write(scratch / "register", register),
        download=script.write(scratch / "download", script.download()),
        empty=script.write(scratch / "empty", script.registrations(1)),
    )


def measure_all(arguments: argparse.Namespace, plan: session.Plan) -> session.Findings:
    """Measure every server in every round, each round in the other direction."""
    jobs = [(session.measure_files, catalog.FILES)]
    jobs += [(session.measure_service, server) for server in catalog.SERVICES]
    jobs.append((measure_apart, catalog.APART))
    jobs += [(session.measure_empty, server) for server in catalog.EMPTY]
    jobs = [job for job in jobs if job[1].key in arguments.servers]
    found = session.Findings([], [], [])
    for number in range(arguments.rounds):
        for measure, server in jobs if number % 2 == 0 else reversed(jobs):
            _progress(f"round {number + 1} of {arguments.rounds}: {server.title}")
            for kept, new in zip(found, measure(plan, server), strict=True):
                kept.extend({"round": number, **entry} for entry in new)
    _progress("")
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and write the results."""
    arguments = parse_arguments()
    # The way out leads through every `finally`, which ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    skipped = skip_missing(arguments)
    with scratch_directory(arguments.storage) as scratch:
        disk = procfs.Disk(scratch)
        machine = {**describe_machine(disk), "peers": peers.describe_peers()}
        cores = choose_cores()
        os.sched_setaffinity(0, {cores.load})
        _progress("preparing requests")
        plan = session.Plan(
            generator=arguments.generator,
            cores=cores,
            scratch=scratch,
            scripts=write_scripts(scratch, arguments.seconds),
            disk=disk,
            seconds=arguments.seconds,
        )
        found = measure_all(arguments, plan)
    results = report.summarise(found, machine, arguments.rounds, arguments.seconds)
    results["skipped"] = skipped
    print(report.table(results))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    report.write_json(results, arguments.output.with_suffix(".json"))
    arguments.output.with_suffix(".svg").write_text(draw(results), encoding="utf-8")
    print(f"\nwritten: {arguments.output}.json, {arguments.output}.svg")


if __name__ == "__main__":
    try:
        main()
    except (BenchmarkError, LookupError) as error:
        print(f"\nbenchmark failed: {error}", file=sys.stderr)
        sys.exit(1)
