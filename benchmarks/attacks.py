"""
Measures a polite client's latencies during attacks; started by `benchmarks/attacks`.

README.md, beside this file, defines every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import attackers
import procfs
from catalog import Server, twistd
from endurance import MEBIBYTE, Memory, Patience, judge, merge, table
from machine import describe_machine
from process import BenchmarkError, Cores, Running, choose_cores, started

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
RESULTS = HERE / "results"

ROUNDS = 2
"""How often the polite client is alone and attacked, in turn."""
AT_WORK = 15.0
"""Seconds after which attackers count as at work, whatever they have reached."""
SAMPLING = 0.1
"""Seconds between two readings of the memory."""
WARM_UP = 1.0
CACHE = 32 * MEBIBYTE
"""Bytes of images that the daemon keeps in memory, all workers together."""
MAX_BODIES, MAX_QUEUE = 256 * MEBIBYTE, 64 * MEBIBYTE
"""The defaults of these settings."""
NETWORK = "2001:db8:0:1::"
"""A /64 with the addresses of the attackers."""
POLITE_V6 = "2001:db8:0:2::1"
"""An address in another /64."""


class Attack(NamedTuple):
    """An attack on a daemon of its own."""

    key: str
    title: str
    work: str
    """The method of `attackers.Attack`."""
    connections: int
    options: tuple[str, ...] = ()
    """Of the daemon."""
    images: tuple[int, ...] = ()
    """Sizes of images that must be there."""
    workers: int = 1
    judges_memory: bool = False
    """Whether memory must be back a minute later."""
    addresses: int = 0
    """Of the attackers, in one IPv6 network; 0 is 127.0.0.1 alone."""


def attacks(options: argparse.Namespace) -> list[Attack]:
    """Return all attacks."""
    coded, large = (attackers.CODED,), (attackers.LARGE,)
    held = options.connections
    return [
        Attack("bodies", "bodies that hardly go on", "bodies", options.bodies),
        Attack(
            "connections",
            "connections up to the bound",
            "connections",
            held + held // 10,
            options=(f"--max-connections={held}",),
        ),
        Attack("codings", "HEAD and 304 with gzip", "codings", 32, images=coded),
        Attack("ranges", "16 tiny ranges of 60 MB", "ranges", 32, images=large),
        Attack("range-field", "Range of 4 kB", "range_field", 32, images=coded),
        Attack("digest-field", "Content-Digest of 7 kB", "digest_field", 32),
        Attack("metrics", "/metrics", "metrics", 16),
        Attack(
            "pending",
            "registrations from one /64",
            "pending",
            32,
            options=("--max-uploads=5000", "--max-client-uploads=500"),
            addresses=32,
        ),
        Attack("stalls", "PUTs that stall", "stalls", options.puts, judges_memory=True),
        Attack(
            "stalls-workers",
            "the same, 4 workers",
            "stalls",
            options.puts,
            workers=4,
            judges_memory=True,
        ),
        Attack("images", "images of 60 kB", "images", 64, judges_memory=True),
        Attack(
            "images-workers",
            "the same, 4 workers",
            "images",
            64,
            workers=4,
            judges_memory=True,
        ),
    ]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/attacks",
        description="Measure a polite client's latencies during attacks.",
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="of each attack; default: 60"
    )
    parser.add_argument(
        "--after",
        type=float,
        default=60,
        help="seconds after which memory must be back; default: 60",
    )
    parser.add_argument(
        "--bodies", type=int, default=61, help="connections of that attack"
    )
    parser.add_argument(
        "--connections",
        type=int,
        default=2_000,
        help="--max-connections in that attack, which opens a tenth more",
    )
    parser.add_argument("--puts", type=int, default=1_000, help="PUTs that stall")
    parser.add_argument("--attacks", help="only these, separated by commas")
    parser.add_argument(
        "--storage", type=Path, help="directory to work in; the system's for such"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "attacks.json")
    # In a network of its own.
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.chosen = attacks(options)
    if options.attacks:
        requested = options.attacks.split(",")
        known = {attack.key: attack for attack in options.chosen}
        unknown = set(requested) - set(known)
        if unknown:
            parser.error(
                f"no such attack: {', '.join(sorted(unknown))} "
                f"(there are: {', '.join(known)})"
            )
        options.chosen = [known[key] for key in requested]
    return options


def server_of(attack: Attack) -> Server:
    """Return the daemon that is attacked."""

    def command(port: int, storage: Path) -> list[str | Path]:
        options = list(attack.options)
        if attack.addresses:
            options.append(rf"--port=tcp:{port}:interface=\:\:")
        if attack.workers > 1:
            options.append(f"--workers={attack.workers}")
        return [*twistd(port, storage), *options]

    return Server(attack.key, attack.title, command)


def upload(port: int, size: int) -> None:
    """
    Store an image that the attackers will request.

    Errors: `BenchmarkError`.
    """
    body = attackers.art(size)
    path = f"/image/{attackers.digest_of(size)}"
    _send(port, "PUT", path, body, "text/plain; charset=utf-8")


def register(port: int) -> None:
    """
    Begin the upload that the attackers will send chunks of.

    Errors: `BenchmarkError`.
    """
    size = attackers.LARGEST_CHUNK
    members = {"sha256": attackers.UPLOAD, "size": 2 * size, "chunk_size": size}
    body = json.dumps(members).encode("ascii")
    _send(port, "POST", "/image", body, "application/json")


def _send(port: int, method: str, path: str, body: bytes, media_type: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {"Content-Type": media_type})
    answer = connection.getresponse()
    if answer.status != 201:
        message = f"{method} {path}: {answer.status} {answer.read()[:200]!r}"
        raise BenchmarkError(message)
    connection.close()


class Target(NamedTuple):
    """Where clients connect from and to."""

    host: str
    port: int
    polite: str
    attackers: tuple[str, ...]


def target_of(attack: Attack, port: int) -> Target:
    """Return where the clients of an attack are."""
    if attack.addresses:
        sources = (f"{NETWORK}{at + 1:x}" for at in range(attack.addresses))
        return Target("::1", port, POLITE_V6, tuple(sources))
    return Target("127.0.0.1", port, "127.0.0.2", ("127.0.0.1",))


def be_polite(target: Target, seconds: float) -> Patience:
    """
    Run the polite client.

    Errors: `BenchmarkError` if it failed.
    """
    command = [sys.executable, HERE / "polite.py", target.host, str(target.port)]
    done = subprocess.run(
        [*command, target.polite, str(seconds)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(done.stderr)
    return Patience(**json.loads(done.stdout))


@contextmanager
def attacked(attack: Attack, target: Target) -> Iterator[dict[str, int]]:
    """Attack within the context; yields the attackers' counts, complete at its end."""
    answers: dict[str, int] = {}
    process = subprocess.Popen(
        [
            *(sys.executable, HERE / "attackers.py", attack.work),
            *(target.host, str(target.port), str(attack.connections)),
            ",".join(target.attackers),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is not None:
            select.select([process.stdout], [], [], AT_WORK)
        yield answers
        output, _ = process.communicate("", timeout=60)
        answers.update(json.loads(output.splitlines()[-1]))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


class Sampler:
    """Samples the memory of a family of processes until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.peak = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SAMPLING):
            self.peak = max(self.peak, procfs.anonymous(self._pid))


def _cpu_of(daemon: Running) -> float:
    """Return the CPU time of the daemon, the clients and this process, in seconds."""
    used = sum(procfs.cpu_seconds(daemon.pid).values())
    for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(whose)
        used += usage.ru_utime + usage.ru_stime
    return used


def _busy(cores: Cores) -> list[float]:
    busy = procfs.busy_seconds()
    return [busy[core] for core in cores]


def measure_one(
    attack: Attack, options: argparse.Namespace, daemon: Running, cores: Cores
) -> dict[str, Any]:
    """Attack a daemon that has just started."""
    target = target_of(attack, daemon.port)
    register(daemon.port)
    for size in attack.images:
        upload(daemon.port, size)
    be_polite(target, WARM_UP)
    idle = procfs.anonymous(daemon.pid)
    alone, under_attack = [], []
    answers: dict[str, int] = {}
    began, used, busy = time.monotonic(), _cpu_of(daemon), sum(_busy(cores))
    with Sampler(daemon.pid) as sampler:
        for _ in range(ROUNDS):
            alone.append(be_polite(target, options.seconds / ROUNDS / 2))
            with attacked(attack, target) as answered:
                under_attack.append(be_polite(target, options.seconds / ROUNDS))
            for status, number in answered.items():
                answers[status] = answers.get(status, 0) + number
    others = sum(_busy(cores)) - busy - (_cpu_of(daemon) - used)
    others_share = max(0.0, others) / (time.monotonic() - began) / len(cores)
    after = None
    if attack.judges_memory:
        time.sleep(options.after)
        after = procfs.anonymous(daemon.pid)
    memory = Memory(
        idle=idle,
        peak=sampler.peak,
        after=after,
        cache=CACHE,
        queues=MAX_BODIES + MAX_QUEUE,
    )
    verdict = judge(merge(alone), merge(under_attack), memory)
    return {
        "attack": attack.key,
        "title": attack.title,
        "attackers": answers,
        "others_cpu_share": others_share,
        **verdict,
    }


def measure_inside(attack: Attack, options: argparse.Namespace) -> dict[str, Any]:
    """
    Measure an attack in a network of its own, which has IPv6 networks.

    Errors: `BenchmarkError` that names the missing requirement.
    """
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        message = f"{attack.title}: needs {' and '.join(missing)}"
        raise BenchmarkError(message)
    target = target_of(attack, 0)
    commands = ["ip link set lo up"]
    commands += [
        f"ip address add {address}/128 dev lo"
        for address in (target.polite, *target.attackers)
    ]
    prepare = " && ".join([*commands, 'exec "$@"'])
    with tempfile.NamedTemporaryFile(suffix=".json") as output:
        arguments = [
            *("--inside", "--attacks", attack.key, "--output", output.name),
            *("--seconds", str(options.seconds)),
        ]
        if options.storage:
            arguments += ["--storage", str(options.storage)]
        done = subprocess.run(
            [
                *("unshare", "--net", "sh", "-c", prepare, "sh"),
                *(sys.executable, HERE / "attacks.py", *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        try:
            results = json.loads(Path(output.name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise BenchmarkError(done.stdout) from error
    (result,) = results["attacks"]
    return dict(result)


def measure(
    attack: Attack, options: argparse.Namespace, scratch: Path, cores: Cores
) -> dict[str, Any]:
    """Start a daemon and attack it."""
    if attack.addresses and not options.inside:
        return measure_inside(attack, options)
    storage = scratch / attack.key
    storage.mkdir()
    try:
        with started(server_of(attack), storage, cores) as daemon:
            return measure_one(attack, options, daemon, cores)
    finally:
        shutil.rmtree(storage)


def main() -> bool:
    """Measure, print a table, write the results; return whether all attacks passed."""
    options = parse_arguments()
    # The way out leads through every `finally`, which ends the daemons.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results: list[dict[str, Any]] = []
    # Before this process keeps to one of them.
    cores = choose_cores()
    with tempfile.TemporaryDirectory(
        prefix="asciid-attacks-", dir=options.storage
    ) as name:
        scratch = Path(name)
        machine = describe_machine(procfs.Disk(scratch))
        os.sched_setaffinity(0, set(cores))
        for attack in options.chosen:
            print(f"attack: {attack.title}", file=sys.stderr, flush=True)
            results.append(measure(attack, options, scratch, cores))
            os.sched_setaffinity(0, set(cores))
    print("\n".join(table(results)))
    written = {"machine": machine, "seconds": options.seconds, "attacks": results}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return all(result["passed"] for result in results)


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else 1)
    except (BenchmarkError, LookupError) as error:
        sys.exit(f"benchmarks/attacks: {error}")
