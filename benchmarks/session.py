"""Measures one server, from its start to its end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import procfs
from process import Cores, Load, Running, connected, counted_calls, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from catalog import Server

EXERCISE = "exercise"
REGISTER = "register"
DOWNLOAD = "download"
EMPTY = "empty"

CONNECTIONS = (32, 64)
MANY = 256
"""Connections of which each of several workers has as many as one process else."""
TRACED_CONNECTIONS = 32
WARM_UP = 0.3
TRACED = 0.5
"""Seconds; a traced server is several times slower."""

Measurement = dict[str, Any]


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
            busy = procfs.busy_seconds()
            before = procfs.cpu_seconds(pid)
            measured = self.run(workload, load)
            used = _differences(before, procfs.cpu_seconds(pid))
            cpu = sum(used.values())
            busy_after = procfs.busy_seconds()
            by_process = procfs.written_by(pid) - by_process
        seconds = measured["seconds"]
        others = max(
            busy_after[cores.server] - busy[cores.server] - cpu,
            busy_after[cores.load] - busy[cores.load] - measured["load_cpu"] * seconds,
        )
        result = {
            "server": self.key,
            "workload": workload,
            "connections": connections,
            "requests": measured["requests"],
            "seconds": seconds,
            "requests_per_second": measured["requests"] / seconds,
            "cpu_us_per_request": cpu / measured["requests"] * 1e6,
            "server_cpu_share": cpu / seconds,
            "load_cpu_share": measured["load_cpu"],
            "others_cpu_share": max(0.0, others) / seconds,
            "p50_us": measured["p50_us"],
            "p99_us": measured["p99_us"],
        }
        writers = [member for member in used if "writer" in procfs.command(member)]
        if writers:
            writing = sum(used[member] for member in writers)
            result["writer_us_per_request"] = writing / measured["requests"] * 1e6
        if workload == EXERCISE:
            images = measured["images"]
            on_disk = self.plan.disk.written() - on_disk
            result["images"] = images
            result["disk_bytes_per_image"] = on_disk / images
            result["process_bytes_per_image"] = by_process / images
        return result

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
    with running(server, plan.scratch / server.key, plan.cores) as process:
        session = _Session(plan, server, process)
        session.warm_up(EXERCISE)
        loads = [session.measure(EXERCISE, count) for count in (*CONNECTIONS, MANY)]
        memory = _memory(session)
        loads.append(session.measure(REGISTER, max(CONNECTIONS)))
        loads.append(session.measure(DOWNLOAD, max(CONNECTIONS)))
        traces = [session.trace(EXERCISE)]
    return Findings(loads, traces, memory)


def measure_empty(plan: Plan, server: Server) -> Findings:
    """Measure a server that keeps nothing."""
    with running(server, plan.scratch / server.key, plan.cores) as process:
        session = _Session(plan, server, process)
        session.warm_up(EMPTY)
        loads = [session.measure(EMPTY, count) for count in CONNECTIONS]
        memory = _memory(session)
        traces = [session.trace(EMPTY)]
    return Findings(loads, traces, memory)


def _differences(before: dict[int, float], after: dict[int, float]) -> dict[int, float]:
    return {member: time - before.get(member, 0) for member, time in after.items()}


def _memory(session: _Session) -> list[Measurement]:
    return [{"server": session.key, "peak_rss_bytes": procfs.peak_rss(session.pid)}]
