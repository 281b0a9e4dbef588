"""Starts and ends the processes that a benchmark consists of."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from catalog import Server

ACCEPT_TIME = 0.05
START_TIMEOUT = 20.0
STOP_TIMEOUT = 20.0


class BenchmarkError(Exception):
    """A measurement could not be made, or a server answered wrongly."""


class Cores(NamedTuple):
    """The processor that the server has to itself, and that of all else."""

    server: int
    load: int


def choose_cores() -> Cores:
    """Return two processors that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        message = "two processors are needed: one for the server, one for the load"
        raise BenchmarkError(message)
    # Neighbours are often two halves of one core.
    return Cores(server=usable[-1], load=usable[0])


class Running(NamedTuple):
    """A server that listens."""

    pid: int
    port: int


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_serving(
    process: subprocess.Popen[bytes], port: int, timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(timeout)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                # A socket may listen before anybody serves it.
                probe.sendall(b"GET / HTTP/1.1\r\nHost: benchmark\r\n\r\n")
                if probe.recv(1):
                    return
        time.sleep(0.02)
    message = "it does not serve"
    raise BenchmarkError(message)


@contextmanager
def running(server: Server, storage: Path, cores: Cores) -> Iterator[Running]:
    """Start `server` as `started` does, on a new storage that is then removed."""
    storage.mkdir(parents=True)
    try:
        with started(server, storage, cores) as process:
            yield process
    finally:
        shutil.rmtree(storage)


@contextmanager
def started(
    server: Server, storage: Path, cores: Cores, timeout: float = START_TIMEOUT
) -> Iterator[Running]:
    """
    Start `server` on its own core, and end it at the end.

    Its output is kept in memory, so that it does not count as written to
    the disk, and is part of the error if it fails.  `timeout` is in
    seconds, until it serves.
    """
    port = _free_port()
    output = os.memfd_create("output")
    os.sched_setaffinity(0, {cores.server})  # inherited
    try:
        process = subprocess.Popen(
            server.command(port, storage),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=storage.parent,
        )
    finally:
        os.sched_setaffinity(0, {cores.load})
    try:
        _wait_until_serving(process, port, timeout)
        yield Running(process.pid, port)
    except (BenchmarkError, FileNotFoundError) as error:
        printed = os.pread(output, 100_000, 0).decode(errors="replace")[-2000:]
        message = f"{server.key}: {error}\n{printed}"
        raise BenchmarkError(message) from error
    finally:
        _end(process)
        os.close(output)


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Load:
    """A load generator that has connected and waits for its start."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            _, error = self._process.communicate()
            raise BenchmarkError(error.strip())
        return line

    def wait_until_connected(self) -> None:
        """Return when the connections are open, and the server has had time."""
        self._line()
        time.sleep(ACCEPT_TIME)

    def run(self) -> dict[str, Any]:
        """
        Replay the script and return the generator's measurement.

        Errors: `BenchmarkError`, an unexpected answer included.
        """
        if self._process.stdin:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        measured: dict[str, Any] = json.loads(self._line())
        return measured


@contextmanager
def connected(program: Path, script: Path, *arguments: object) -> Iterator[Load]:
    """Open the connections of a load, and close them at the end."""
    command = [program, script, *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        load = Load(process)
        load.wait_until_connected()
        yield load
        process.communicate()
    finally:
        if process.poll() is None:
            _end(process)


@contextmanager
def counted_calls(pid: int, scratch: Path) -> Iterator[dict[str, int]]:
    """
    Count the system calls of all threads of a server, by name.

    The counts are there at the end.  Errors: `BenchmarkError` where processes
    cannot be traced.
    """
    calls: dict[str, int] = {}
    summary = scratch / "strace"
    attach = [part for member in procfs.family(pid) for part in ("-p", str(member))]
    command = ["strace", "-c", "-f", "-U", "calls,name", "-o", summary, *attach]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        line = tracer.stderr.readline() if tracer.stderr else b""
        if b"attached" not in line:
            message = f"strace: {line.decode(errors='replace').strip()}"
            raise BenchmarkError(message)
        yield calls
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=STOP_TIMEOUT)
    finally:
        if tracer.poll() is None:
            _end(tracer)
    found = re.findall(r"^\s*(\d+) (\w+)\s*$", summary.read_text(), re.MULTILINE)
    calls.update({name: int(count) for count, name in found if name != "total"})
    summary.unlink()
