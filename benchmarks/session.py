"""Measures one server, from its start to its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import procfs
from process import Cores, Load, Running, counted_calls, running

if TYPE_CHECKING:
    from pathlib import Path

    from catalog import Server

EXERCISE = "exercise"
REGISTER = "register"
DOWNLOAD = "download"
EMPTY = "empty"

CONNECTIONS = (32, 64)
TRACED_CONNECTIONS = 32
WARM_UP = 0.3
TRACED = 0.7
"""Seconds; a traced server is several times slower."""

Measurement = dict[str, Any]


class Scripts(NamedTuple):
    """What the load generator replays."""

    exercise: Path
    register: Path
    download: Path
    empty: Path


class Plan(NamedTuple):
    """What does not change from one server to the next."""

    load: Load
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

    def load(self, workload: str, connections: int, seconds: float) -> Measurement:
        """Put load on the server; the exercise goes on where it ended before."""
        exercise = workload == EXERCISE
        measured = self.plan.load.run(
            getattr(self.plan.scripts, workload),
            self.port,
            connections=connections,
            seconds=seconds,
            first=self.position if exercise else 0,
            loop=workload in (DOWNLOAD, EMPTY),
        )
        if exercise:
            self.position = measured.pop("next")
        return measured

    def measure(self, workload: str, connections: int) -> Measurement:
        """Put load on the server and tell what it cost."""
        pid, disk = self.pid, self.plan.disk
        exercise = workload == EXERCISE
        on_disk = disk.written() if exercise else 0
        by_process = procfs.written_by(pid)
        busy = procfs.busy_seconds(self.plan.cores.server)
        begun = time.monotonic()
        cpu = procfs.cpu_seconds(pid)
        measured = self.load(workload, connections, self.plan.seconds)
        cpu = procfs.cpu_seconds(pid) - cpu
        busy = procfs.busy_seconds(self.plan.cores.server) - busy
        taken = time.monotonic() - begun
        by_process = procfs.written_by(pid) - by_process
        result = {
            "server": self.key,
            "workload": workload,
            "connections": connections,
            "requests": measured["requests"],
            "seconds": measured["seconds"],
            "requests_per_second": measured["requests"] / measured["seconds"],
            "cpu_us_per_request": cpu / measured["requests"] * 1e6,
            "server_cpu_share": cpu / measured["seconds"],
            "load_cpu_share": measured["load_cpu"],
            "others_cpu_share": max(0.0, busy - cpu) / taken,
            "p50_us": measured["p50_us"],
            "p99_us": measured["p99_us"],
        }
        if exercise:
            images = measured["images"]
            result["images"] = images
            result["disk_bytes_per_image"] = (disk.written() - on_disk) / images
            result["process_bytes_per_image"] = by_process / images
        return result

    def trace(self, workload: str) -> Measurement:
        """Count system calls under a short load."""
        with counted_calls(self.pid, self.plan.scratch) as calls:
            measured = self.load(workload, TRACED_CONNECTIONS, TRACED)
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
    """What a session found out."""

    loads: list[Measurement]
    traces: list[Measurement]
    memory: list[Measurement]


def measure_service(plan: Plan, server: Server, *, trace: bool) -> Findings:
    """Measure a server that keeps images, on an empty directory."""
    with running(server, plan.scratch / server.key, plan.cores) as process:
        session = _Session(plan, server, process)
        session.load(EXERCISE, max(CONNECTIONS), WARM_UP)
        loads = [session.measure(EXERCISE, count) for count in CONNECTIONS]
        memory = _memory(session)
        loads.append(session.measure(REGISTER, max(CONNECTIONS)))
        loads.append(session.measure(DOWNLOAD, max(CONNECTIONS)))
        traces = [session.trace(EXERCISE)] if trace else []
    return Findings(loads, traces, memory)


def measure_empty(plan: Plan, server: Server, *, trace: bool) -> Findings:
    """Measure a server that keeps nothing."""
    with running(server, plan.scratch / server.key, plan.cores) as process:
        session = _Session(plan, server, process)
        session.load(EMPTY, max(CONNECTIONS), WARM_UP)
        loads = [session.measure(EMPTY, max(CONNECTIONS))]
        memory = _memory(session)
        traces = [session.trace(EMPTY)] if trace else []
    return Findings(loads, traces, memory)


def _memory(session: _Session) -> list[Measurement]:
    return [{"server": session.key, "peak_rss_bytes": procfs.peak_rss(session.pid)}]
