"""
Counts the instructions that a request takes; started by `benchmarks/instructions`.

README.md, beside this file, defines every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import callgrind
import kinds
import request_profile
from catalog import BIN, Server, unbounded
from kinds import KINDS, MIX, Load, Sizes
from machine import describe_interpreter, describe_packages
from process import BenchmarkError, Cores, choose_cores, connected, started
from verdict import check_limits, compare, dearer, per_request, table

import script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from request_profile import Profile

HERE = Path(__file__).parent
ROOT = HERE.parent

IN_PROCESS, DAEMON = "in process", "daemon"
CALLS = "calls.json"
"""What `in_process.py` writes in the directory where it is started."""
IN_PROCESS_SIZES = Sizes(warm_up=32, smaller=64, larger=192)
DAEMON_SIZES = Sizes(warm_up=64, smaller=64, larger=576)
CONNECTIONS = 32
START_TIMEOUT = 300.0
"""Seconds; valgrind makes the daemon some fifty times slower."""
NO_END = 1e6
"""Seconds that a load may take: it ends with its last image."""

Costs = dict[str, float]
"""Instructions of a request, by kind."""


class Tree(NamedTuple):
    """A version of asciid to measure."""

    name: str
    path: Path
    """The directory that has the package in it."""
    scratch: Path
    """A directory for the measurement."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/instructions",
        description="Count the instructions that a request takes.",
    )
    parser.add_argument(
        "--against",
        metavar="REV",
        help="measure this commit as well, and fail if the exercise is now more than "
        "3 %% dearer",
    )
    parser.add_argument(
        "--in-process",
        dest="modes",
        action="append_const",
        const=IN_PROCESS,
        help="only what repeats to the digit",
    )
    parser.add_argument(
        "--daemon",
        dest="modes",
        action="append_const",
        const=DAEMON,
        help="only the daemon on a disk",
    )
    parser.add_argument(
        "--storage", type=Path, help="directory to work in; this checkout's by default"
    )
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="only write where the instructions of each kind go, in process",
    )
    parser.add_argument(
        "--of", metavar="REV", help="profile this commit in place of the checkout"
    )
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def git(*arguments: str) -> str:
    """
    Return what git prints.

    Errors: `BenchmarkError`.
    """
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(done.stderr.strip() or f"git {arguments[0]} failed")
    return done.stdout.strip()


def resolve(revision: str) -> str:
    """
    Return the hash of a commit.

    Errors: `BenchmarkError` where this clone does not have it.
    """
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except BenchmarkError as error:
        message = f"this clone has no commit {revision}"
        if git("rev-parse", "--is-shallow-repository") == "true":
            message += ", as it is shallow: git fetch --unshallow brings the rest"
        raise BenchmarkError(message) from error


def extract(commit: str, work: Path) -> Path:
    """Return a directory with the files of a commit."""
    tree = work / "trees" / commit
    if not tree.exists():
        tree.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tree.parent) as name:
            archive = Path(name) / "archive.tar"
            git("archive", f"--output={archive}", commit)
            files = Path(name) / "files"
            files.mkdir()
            subprocess.run(["tar", "-xf", archive, "-C", files], check=True)
            files.rename(tree)
    return tree


def environment(tree: Tree) -> dict[str, str]:
    """Return all variables of a measured process."""
    return {
        "LANG": "C.UTF-8",
        "PATH": os.environ["PATH"],
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(tree.path),
        # Bytecode compiled elsewhere is loaded differently.
        "PYTHONPYCACHEPREFIX": str(tree.scratch / "compiled"),
    }


def costs_of(output: Path, loads: list[Load]) -> Costs:
    """Read the dumps: one before each load's first part, and one after each part."""
    found = callgrind.totals(output, 4 * len(loads))
    return {
        load.kind: per_request(found[4 * at + 1 : 4 * at + 4], load.requests)
        for at, load in enumerate(loads)
    }


def drive(tree: Tree, what: str, *before: str) -> None:
    """
    Send the loads to the service in a process of its own; `before` is a tracer.

    Errors: `BenchmarkError`.
    """
    # A relative name, so that it is the same wherever this is.
    driver = [sys.executable, HERE / "in_process.py", "storage", what]
    done = subprocess.run(
        [*before, *driver, *map(str, IN_PROCESS_SIZES)],
        cwd=tree.scratch,
        env=environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"{tree.name}: {done.stdout[-4000:]}"
        raise BenchmarkError(message)


def count_in_process(tree: Tree) -> tuple[Path, list[Load]]:
    """Return what callgrind has written of fixed batches in one process."""
    output = tree.scratch / "callgrind"
    # Compiles the modules, too.
    drive(tree, "prepare")
    drive(tree, "measure", *callgrind.command(output, "--dump-before=getsid"))
    return output, list(kinds.loads(IN_PROCESS_SIZES))


def measure_in_process(tree: Tree) -> Costs:
    """Measure fixed batches in one process, which repeats to the digit."""
    return costs_of(*count_in_process(tree))


def profile(tree: Tree) -> dict[str, Profile]:
    """Return where the instructions go, by kind; this repeats to the digit, too."""
    output, loads = count_in_process(tree)
    costs = costs_of(output, loads)
    shutil.rmtree(tree.scratch / "storage")
    drive(tree, "prepare")
    drive(tree, "profile")
    calls = json.loads((tree.scratch / CALLS).read_text(encoding="utf-8"))
    found = {}
    for at, load in enumerate(loads):
        dumps = range(4 * at + 2, 4 * at + 5)
        objects = [callgrind.objects_of(callgrind.read(output, each)) for each in dumps]
        found[load.kind] = request_profile.make(
            costs[load.kind], objects, calls[at], load.requests
        )
    return found


def _server(tree: Tree, *before: str) -> Server:
    variables = [f"{name}={value}" for name, value in environment(tree).items()]

    def command(port: int, storage: Path) -> list[str | Path]:
        return [
            *("env", "-i"),
            *variables,
            *before,
            BIN / "python",
            *unbounded(port, storage),
        ]

    return Server("asciid", tree.name, command)


@cache
def _cores() -> Cores:
    # Once: a started server leaves this process only one of them.
    return choose_cores()


def compile_load(program: Path) -> None:
    """
    Compile the load generator.

    Errors: `BenchmarkError`.
    """
    command = ["cc", "-O2", "-Wall", "-o", program, HERE / "load.c"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        message = "cc is missing (on Debian: apt-get install gcc libc6-dev)"
        raise BenchmarkError(message) from error
    if done.returncode != 0:
        raise BenchmarkError(done.stderr)


def measure_daemon(tree: Tree) -> Costs:
    """Measure the daemon, on a disk, under the load generator."""
    sizes, cores = DAEMON_SIZES, _cores()
    generator = tree.scratch / "load"
    compile_load(generator)
    storage, output = tree.scratch / "storage", tree.scratch / "callgrind"
    path = tree.scratch / "script"

    def send(port: int, images: list[script.Image]) -> None:
        script.write(path, images)
        with connected(generator, path, port, CONNECTIONS, NO_END, 0, 0) as load:
            load.run()

    storage.mkdir()
    with started(_server(tree), storage, cores) as daemon:
        send(daemon.port, kinds.stored(sizes))
    planned = list(kinds.loads(sizes))
    counted = _server(tree, *callgrind.command(output))
    with started(counted, storage, cores, START_TIMEOUT) as daemon:
        for load in planned:
            callgrind.dump(daemon.pid)
            for part in load.parts:
                send(daemon.port, part)
                callgrind.dump(daemon.pid)
    return costs_of(output, planned)


MODES = {IN_PROCESS: measure_in_process, DAEMON: measure_daemon}


@contextmanager
def linked(name: str, source: Path, scratch: Path) -> Iterator[Tree]:
    """Make a tree at the same path each time, since names are hashed."""
    scratch.mkdir()
    try:
        path = scratch / "tree"
        path.symlink_to(source)
        yield Tree(name, path, scratch)
    finally:
        shutil.rmtree(scratch)


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, dict[str, Costs]]:
    """Return the costs by mode and by tree."""
    sources = {"this checkout": ROOT}
    if options.against:
        commit = resolve(options.against)
        sources[commit[:12]] = extract(commit, options.work)
    found: dict[str, dict[str, Costs]] = {}
    for mode in options.modes or MODES:
        found[mode] = {}
        for name, source in sources.items():
            with linked(name, source, scratch) as tree:
                found[mode][name] = MODES[mode](tree)
    return found


def write_profile(options: argparse.Namespace, scratch: Path) -> None:
    """Write where the instructions of the checkout or of a commit go."""
    commit = resolve(options.of or "HEAD")
    source = extract(commit, options.work) if options.of else ROOT
    with linked(commit[:12], source, scratch) as tree:
        found = profile(tree)
    results = {
        "commit": commit,
        "changed": not options.of and bool(git("status", "--porcelain", "asciid")),
        "interpreter": describe_interpreter(),
        "packages": describe_packages(),
        "kinds": {kind: found[kind] for kind in (MIX, *KINDS)},
    }
    options.profile.write_text(request_profile.text(results), encoding="utf-8")
    print("\n".join(request_profile.table(found, results["kinds"])))
    print(f"\nwritten: {options.profile}")


def main() -> bool:
    """Measure, print tables, return whether the exercise is cheap enough."""
    options = parse_arguments()
    directory = options.storage or options.work
    scratch = directory.resolve() / "asciid-instructions"
    if options.profile:
        write_profile(options, scratch)
        return True
    found = measure(options, scratch)
    passed = True
    for mode, columns in found.items():
        title = f"instructions, {mode}"
        print("\n".join(table(title, columns, [MIX, *KINDS])))
        now, *others = columns.values()
        if mode == DAEMON:
            for kept, line in check_limits(now):
                print(f"{mode}: {line}")
                passed = passed and kept
        for before in others:
            verdict = compare(now[MIX], before[MIX])
            print(f"{mode}: {verdict}")
            print(
                f"{mode}: dearer than before: {', '.join(dearer(now, before)) or '-'}"
            )
            passed = passed and verdict.passed
        print()
    if options.output:
        options.output.write_text(
            json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8"
        )
    return passed


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else 1)
    except BenchmarkError as error:
        sys.exit(f"benchmarks/instructions: {error}")
