"""Measures how fast ``asciid put`` uploads small files, and what that costs."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import procfs
from catalog import BIN, OURS, SERVICES
from process import BenchmarkError, Cores, choose_cores, running

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW, MANY = 1_000, 5_000
TARGET = 1_500
"""Images a second."""
_WIDTH = 64  # columns of a picture


class Cost(NamedTuple):
    """Durations of one run, in seconds."""

    elapsed: float
    client: float
    """CPU time of the client, Python's start included."""
    daemon: float
    """CPU time of the daemon between the start and the end of the client."""
    others: float
    """CPU time of anybody else, on the two processors together."""

    def less(self, other: Cost) -> Cost:
        """Return what this took more than `other`."""
        return Cost(*(mine - its for mine, its in zip(self, other, strict=True)))


def draw(directory: Path, count: int) -> list[str]:
    """Write `count` different pictures of 200 to 1,200 bytes; return their names."""
    rng = random.Random(7)
    names = []
    for number in range(count):
        pixels = "".join(rng.choices(r" ./\_|-()o", k=rng.randint(200, 1_150)))
        rows = [pixels[at : at + _WIDTH] for at in range(0, len(pixels), _WIDTH)]
        names.append(f"{number}.txt")
        (directory / names[-1]).write_text("\n".join(rows), encoding="ascii")
    return names


def put(directory: Path, names: Sequence[str], cores: Cores) -> Cost:
    """
    Upload files to a new daemon by one process.

    It saves the edit keys in `directory`.

    Errors: `BenchmarkError` where it does not print a link for each.
    """
    (server,) = (each for each in SERVICES if each.key == OURS)
    with running(server, directory / "storage", cores) as daemon:
        where = f"http://127.0.0.1:{daemon.port}"
        command = [BIN / "asciid", "put", "--server", where, *names]
        output = directory / "printed"
        environ = {**os.environ, "XDG_STATE_HOME": str(directory / "state")}
        daemon_before = sum(procfs.cpu_seconds(daemon.pid).values())
        busy_before = procfs.busy_seconds()
        began = time.monotonic()
        with output.open("wb") as out:
            client = subprocess.Popen(command, cwd=directory, env=environ, stdout=out)
            _, status, used = os.wait4(client.pid, 0)
        elapsed = time.monotonic() - began
        client.returncode = os.waitstatus_to_exitcode(status)
        busy = procfs.busy_seconds()
        daemon_used = sum(procfs.cpu_seconds(daemon.pid).values()) - daemon_before
    printed = len(set(output.read_text(encoding="ascii").splitlines()))
    if client.returncode != 0 or printed != len(names):
        message = f"asciid put ended with {client.returncode} and {printed} links"
        raise BenchmarkError(message)
    client_used = used.ru_utime + used.ru_stime
    worked = sum(busy[core] - busy_before[core] for core in cores)
    return Cost(elapsed, client_used, daemon_used, worked - client_used - daemon_used)


def report(title: str, count: int, costs: Sequence[Cost]) -> None:
    """Print medians over the runs, each of which uploaded `count` images."""
    rates = sorted(count / cost.elapsed for cost in costs)
    micro = 1e6 / count
    client = median(cost.client for cost in costs) * micro
    daemon = median(cost.daemon for cost in costs) * micro
    others = median(cost.others / cost.elapsed for cost in costs) / len(Cores._fields)
    print(
        f"{title:<28}{median(rates):>8,.0f}{rates[0]:>8,.0f}{rates[-1]:>8,.0f}"
        f"{client:>13,.0f}{daemon:>13,.0f}{others:>9.0%}"
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="benchmarks/put")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each size")
    parser.add_argument(
        "--storage", type=Path, help="directory to work in; the system's for such"
    )
    options = parser.parse_args()
    cores = choose_cores()
    few: list[Cost] = []
    many: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="asciid-put-", dir=options.storage) as name:
        directory = Path(name)
        names = draw(directory, MANY)
        put(directory, names[:100], cores)  # compiles the modules
        for _ in range(options.rounds):
            few.append(put(directory, names[:FEW], cores))
            many.append(put(directory, names, cores))
    print(
        f"{'':<28}{'img/s':>8}{'least':>8}{'most':>8}"
        f"{'µs client':>13}{'µs daemon':>13}{'others':>9}"
    )
    report(f"{FEW:,} files", FEW, few)
    report(f"{MANY:,} files", MANY, many)
    rest = [large.less(small) for large, small in zip(many, few, strict=True)]
    report("without Python's start", MANY - FEW, rest)
    rate = (MANY - FEW) / median(cost.elapsed for cost in rest)
    print(f"{TARGET:,} img/s without the start: {'' if rate >= TARGET else 'not '}met")


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"benchmarks/put: {error}")
