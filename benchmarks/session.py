"""Measures one server, from its start to its end."""

from __future__ import annotations

from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import large
import procfs
from process import Cores, Load, Running, connected, counted_calls, running

import script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from catalog import Server

EXERCISE = "exercise"
REGISTER = "register"
DOWNLOAD = "download"
LARGE = "large"
EMPTY = "empty"

CONNECTIONS = (32, 64)
MANY = 256
"""Connections of which each of several workers has as many as one process else."""
TRACED_CONNECTIONS = 64
WARM_UP = 0.3
TRACED = 0.5
"""Seconds; a traced server is several times slower."""

Measurement = dict[str, Any]


class Usage:
    """What a family of processes, and all others, take of the processors."""

    def __init__(self, pid: int, cores: Cores) -> None:
        self._pid = pid
        self._cores = cores
        self._busy = procfs.busy_seconds()
        self._before = procfs.cpu_seconds(pid)
        self.used: dict[int, float] = {}
        """CPU time of each process, in seconds."""

    def stop(self) -> None:
        """End the measurement."""
        after = procfs.cpu_seconds(self._pid)
        self.used = {pid: after[pid] - self._before.get(pid, 0) for pid in after}
        busy, cores = procfs.busy_seconds(), self._cores
        self._server, self._load = (
            busy[core] - self._busy[core] for core in (cores.server, cores.load)
        )

    def cost(self, requests: int, seconds: float, load: float) -> Measurement:
        """Return figures of requests; `load` is the load's CPU time in seconds."""
        cpu = sum(self.used.values())
        others = max(self._server - cpu, self._load - load, 0.0)
        return {
            "requests": requests,
            "seconds": seconds,
            "requests_per_second": requests / seconds,
            "cpu_us_per_request": cpu / requests * 1e6,
            "server_cpu_share": cpu / seconds,
            "load_cpu_share": load / seconds,
            "others_cpu_share": others / seconds,
        }


class Scripts(NamedTuple):
    """Request scripts of the load generator."""

    exercise: Path
    register: Path
    download: Path
    empty: Path


class Plan(NamedTuple):
    """Settings common to all servers."""

    generator: Path
    """The load generator's program."""
    cores: Cores
    scratch: Path
    scripts: Scripts
    disk: procfs.Disk
    seconds: float
    """How long each load takes."""


class _Session:
    def __init__(self, plan: Plan, server: Server, running: Running) -> None:
        self.plan = plan
        self.key = server.key
        self.pid = running.pid
        self.port = running.port
        self.position = 0
        """The next image of the exercise's script that was not used yet."""

    @contextmanager
    def load(self, workload: str, connections: int, seconds: float) -> Iterator[Load]:
        """Connect to the server."""
        exercise = workload == EXERCISE
        first = self.position if exercise else 0
        loop = int(workload in (DOWNLOAD, EMPTY))
        script = getattr(self.plan.scripts, workload)
        with connected(
            self.plan.generator, script, self.port, connections, seconds, first, loop
        ) as load:
            yield load

    def run(self, workload: str, load: Load) -> Measurement:
        """Put load on the server; the exercise continues where it ended before."""
        measured = load.run()
        if workload == EXERCISE:
            self.position = measured["next"]
        return measured

    def warm_up(self, workload: str) -> None:
        """Fill the server's caches and pools."""
        with self.load(workload, max(CONNECTIONS), WARM_UP) as load:
            self.run(workload, load)

    def measure(self, workload: str, connections: int) -> Measurement:
        """Put load on the server and return its cost."""
        pid, cores = self.pid, self.plan.cores
        with self.load(workload, connections, self.plan.seconds) as load:
            on_disk = self.plan.disk.written() if workload == EXERCISE else 0
            by_process = procfs.written_by(pid)
            usage = Usage(pid, cores)
            measured = self.run(workload, load)
            usage.stop()
            by_process = procfs.written_by(pid) - by_process
        seconds = measured["seconds"]
        requests = measured["requests"]
        result = {
            "server": self.key,
            "workload": workload,
            "connections": connections,
            **usage.cost(requests, seconds, measured["load_cpu"] * seconds),
            "p50_us": measured["p50_us"],
            "p99_us": measured["p99_us"],
        }
        writers = [pid for pid in usage.used if "writer" in procfs.command(pid)]
        if writers:
            writing = sum(usage.used[pid] for pid in writers)
            result["writer_us_per_request"] = writing / requests * 1e6
        if workload == EXERCISE:
            images = measured["images"]
            on_disk = self.plan.disk.written() - on_disk
            result["images"] = images
            result["disk_bytes_per_image"] = on_disk / images
            result["process_bytes_per_image"] = by_process / images
        return result

    def measure_large(self) -> Measurement:
        """Download a large image over one connection, and return the cost."""
        with large.connected(self.port) as client:
            client.download(0)
            usage = Usage(self.pid, self.plan.cores)
            downloads = client.download(self.plan.seconds)
            usage.stop()
        taken = sorted(downloads.seconds)
        per_second = len(taken) / sum(taken)
        return {
            "server": self.key,
            "workload": LARGE,
            "connections": 1,
            **usage.cost(len(taken), downloads.elapsed, downloads.cpu),
            "requests_per_second": per_second,
            "bytes_per_second": per_second * script.LARGE_SIZE,
            "p50_us": median(taken) * 1e6,
            "p99_us": taken[-1] * 1e6,
        }

    def trace(self, workload: str) -> Measurement:
        """Count system calls under a short load."""
        with (
            self.load(workload, TRACED_CONNECTIONS, TRACED) as load,
            counted_calls(self.pid, self.plan.scratch) as calls,
        ):
            measured = self.run(workload, load)
        requests = measured["requests"]
        by_name = sorted(calls.items(), key=lambda item: -item[1])
        return {
            "server": self.key,
            "workload": workload,
            "connections": TRACED_CONNECTIONS,
            "requests": requests,
            "calls_per_request": sum(calls.values()) / requests,
            "by_name": {name: count / requests for name, count in by_name},
        }


class Findings(NamedTuple):
    """The results of a session."""

    loads: list[Measurement]
    traces: list[Measurement]
    memory: list[Measurement]


def measure_service(plan: Plan, server: Server) -> Findings:
    """Measure a server that keeps images, on an empty directory."""
    with _idle(plan, server) as (session, memory):
        session.warm_up(EXERCISE)
        loads = [session.measure(EXERCISE, count) for count in (*CONNECTIONS, MANY)]
        memory.update(_loaded(session))
        loads.append(session.measure(REGISTER, max(CONNECTIONS)))
        loads.append(session.measure(DOWNLOAD, max(CONNECTIONS)))
        traces = [session.trace(EXERCISE)]
        if server.large:
            with large.connected(session.port) as client:
                client.upload()
            loads.append(session.measure_large())
    return Findings(loads, traces, [memory])


def measure_files(plan: Plan, server: Server) -> Findings:
    """Measure a server that has the images from its start."""
    with _idle(plan, server) as (session, memory):
        session.warm_up(DOWNLOAD)
        loads = [session.measure(DOWNLOAD, max(CONNECTIONS)), session.measure_large()]
        memory.update(_loaded(session))
    return Findings(loads, [], [memory])


def measure_empty(plan: Plan, server: Server) -> Findings:
    """Measure a server that keeps nothing."""
    with _idle(plan, server) as (session, memory):
        session.warm_up(EMPTY)
        loads = [session.measure(EMPTY, count) for count in CONNECTIONS]
        memory.update(_loaded(session))
        traces = [session.trace(EMPTY)]
    return Findings(loads, traces, [memory])


@contextmanager
def _idle(plan: Plan, server: Server) -> Iterator[tuple[_Session, Measurement]]:
    """Start a server, and measure its memory before the first request."""
    with running(server, plan.scratch / server.key, plan.cores) as process:
        procfs.settle(process.pid)
        memory = {
            "server": server.key,
            "idle_rss_bytes": procfs.resident(process.pid),
            "idle_pss_bytes": procfs.proportional(process.pid),
        }
        yield _Session(plan, server, process), memory


def _loaded(session: _Session) -> Measurement:
    return {
        "loaded_pss_bytes": procfs.proportional(session.pid),
        "peak_rss_bytes": procfs.peak_rss(session.pid),
    }
