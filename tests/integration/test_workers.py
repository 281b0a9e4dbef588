"""Several workers, which serve a client as one process does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.threads import deferToThread

from tests import test_protocol
from tests._commands import CommandTestCase
from tests.integration import test_simulate, test_tls
from tests.integration._case import Art, DaemonTestCase
from tests.integration._daemon import environment
from tests.integration._load import Load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration._daemon import Daemon

_COUNT = 3
WORKERS = f"--workers={_COUNT}"
CONNECTIONS = 16
"""So many that each of three workers has some, but for one time in 200."""

_PATIENCE = 90
"""Timeout in seconds."""


class SimulateTests(test_simulate.SimulateTests):
    """The simulator finds nothing wrong with several workers, either."""

    def start_daemon(self, *options: str) -> Daemon:
        """Start one with workers."""
        return super().start_daemon("--workers=2", *options)


class ProtocolTests(test_protocol.ProtocolTests):
    """What docs/protocol.md shows is what several workers answer."""

    def start_daemon(self, *options: str) -> Daemon:
        """Start one with workers."""
        return super().start_daemon("--workers=2", *options)


class TLSTests(test_tls.TLSTests):
    """Several workers with TLS."""

    # On a busy machine a restart takes longer than connections are kept by default.
    options = ("--workers=2", "--drain-timeout=60")
    reloaded = "rolling restart complete"


class ConnectionsTests(CommandTestCase):
    """Many connections, to all of the workers."""

    def begin(self, *options: str) -> None:
        """Start a daemon, and connect."""
        self.daemon = self.start_daemon(WORKERS, *options)
        self.connections = [self.connect(self.daemon.port) for _ in range(CONNECTIONS)]

    def connect(self, port: int) -> HTTPConnection:
        """Return a connection, which will be kept."""
        connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def request(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        token: str = "",
    ) -> tuple[int, bytes]:
        """Send a request; return the status and the body of the answer."""
        headers = {"Content-Type": "text/plain"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()

    def put(self, connection: HTTPConnection, token: str = "") -> str:
        """Upload an image; return its path."""
        art = Art.random()
        path = f"/image/{art.spec.sha256}"
        status, _ = self.request(connection, "PUT", path, art.text.encode(), token)
        self.assertEqual(status, 201)
        return path

    def samples(self, connection: HTTPConnection) -> dict[str, float]:
        """Return all metrics; those with labels by name, labels and values."""
        status, text = self.request(connection, "GET", "/metrics")
        self.assertEqual(status, 200)
        return {
            " ".join([sample.name, *sorted(sample.labels.values())]): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }

    def counters(self) -> dict[str, float]:
        """Return what only grows, and the start, once all processes are there."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            samples = self.samples(self.connect(self.daemon.port))
            if samples.get("asciid_workers") == 2:
                break
            self.assertLess(time.monotonic(), deadline, samples)
            time.sleep(0.02)
        counter = re.compile(r"\S+_(total|count|bucket|sum)\b|process_start_\w+").match
        return {name: value for name, value in samples.items() if counter(name)}

    def test_counters(self) -> None:
        """Counters only grow, whichever processes are replaced or die."""
        self.begin("--workers=2")
        for connection in self.connections[:4]:
            self.put(connection)
        before = self.counters()
        # These were not scraped before the processes end.
        for connection in self.connections[4:8]:
            self.put(connection)
        os.kill(self.daemon.pid, signal.SIGHUP)
        deadline = time.monotonic() + _PATIENCE
        while "rolling restart complete" not in self.daemon.log:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.02)
        after = self.counters()
        (put,) = (name for name in after if is_put(name))
        self.assertEqual(after[put], 8)
        self.assertEqual(after["asciid_images_completed_total"], 8)
        (writer,) = self.daemon.children("writer")
        os.kill(writer, signal.SIGKILL)
        deadline = time.monotonic() + _PATIENCE
        while self.daemon.children("writer") in ([writer], []):
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.02)
        last = self.counters()
        start = "process_start_time_seconds"
        self.assertEqual((before[start], after[start]), (last[start],) * 2)
        for one, next_one in ((before, after), (after, last)):
            fallen = {
                name: (value, next_one.get(name))
                for name, value in one.items()
                if next_one.get(name, -1.0) < value
            }
            self.assertEqual(fallen, {})
        self.daemon.stop()

    def test_metrics(self) -> None:
        """
        Any worker returns the counts of all, and shared values once; one
        that was killed is left out.
        """
        self.begin("--max-uploads=77", "--max-connections=1000")
        for connection in self.connections:
            self.put(connection)
        for connection in self.connections[:3]:
            samples = self.samples(connection)
            self.assertEqual(
                [value for name, value in samples.items() if is_put(name)],
                [CONNECTIONS],
            )
            self.assertEqual(samples["asciid_images"], CONNECTIONS)
            self.assertEqual(samples["asciid_uploads_pending"], 0)
            self.assertEqual(samples["asciid_connections"], CONNECTIONS)
            self.assertEqual(samples["asciid_uploads_pending_limit"], 77)
            # Each worker has its part, rounded up.
        limit = _COUNT * -(-1000 // _COUNT)
        self.assertEqual(samples["asciid_connections_limit"], limit)
        before = set(self.daemon.children("worker"))
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        samples = self.samples(self.connect(self.daemon.port))
        self.assertEqual(samples["asciid_images"], CONNECTIONS)
        deadline = time.monotonic() + _PATIENCE
        while len(set(self.daemon.children("worker")) - before) < 1:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.02)
        while samples["asciid_workers"] < _COUNT or victim in self.daemon.children(
            "worker"
        ):
            self.assertLess(time.monotonic(), deadline, samples)
            samples = self.samples(self.connect(self.daemon.port))
        self.assertEqual(samples["asciid_workers_configured"], _COUNT)
        self.assertEqual(samples["asciid_process_deaths_total"], 1)
        self.daemon.stop()

    def test_metrics_port(self) -> None:
        """
        The metrics are on a port of their own, if configured, and only there; the
        health check of a container stays where the images are.
        """
        self.begin("--workers=2", "--metrics-port=tcp:0:interface=127.0.0.1")
        url = f"{self.daemon.url}/readyz"
        printed = self.run_command(sys.executable, "-P", "-m", "asciid.health", url)
        self.assertTrue(printed.startswith("200 "), printed)
        for connection in self.connections:
            self.put(connection)
        self.assertEqual(self.request(self.connections[0], "GET", "/metrics")[0], 404)
        logged = re.search(r"metrics listening on 127\.0\.0\.1:(\d+)", self.daemon.log)
        assert logged is not None
        samples = self.samples(self.connect(int(logged[1])))
        self.assertEqual(samples["asciid_images"], CONNECTIONS)
        self.daemon.stop()

    def test_delete(self) -> None:
        """An image deleted through one is deleted for all, from their caches, too."""
        tokens = self.write_tokens()
        self.begin(f"--write-token-file={tokens}")
        path = self.put(self.connections[0], "s3cret")
        statuses = {self.request(one, "GET", path)[0] for one in self.connections}
        self.assertEqual(statuses, {200})
        status, _ = self.request(self.connections[1], "DELETE", path, token="s3cret")
        self.assertEqual(status, 204)
        statuses = {self.request(one, "GET", path)[0] for one in self.connections}
        self.assertEqual(statuses, {404})
        self.daemon.stop()

    def write_tokens(self) -> Path:
        """Write a token to a file; return its name."""
        tokens = Path(self.mktemp()).resolve()
        tokens.touch(0o600)
        tokens.write_text("s3cret\n")
        return tokens

    def test_parent_killed(self) -> None:
        """No process outlives the parent, however that ends."""
        self.begin()
        roles = ("worker", "writer")
        others = [pid for role in roles for pid in self.daemon.children(role)]
        self.assertEqual(len(others), _COUNT + 1)
        self.daemon.kill()
        deadline = time.monotonic() + _PATIENCE
        while any(Path(f"/proc/{pid}/fd/0").exists() for pid in others):
            self.assertLess(time.monotonic(), deadline, "a process outlives the parent")
            time.sleep(0.02)


class CompactTests(DaemonTestCase):
    """``asciid compact`` beside several workers."""

    async def test_under_load(self) -> None:
        """The storage is compacted while all of them serve, and nothing is lost."""
        daemon = self.daemon("--workers=2")
        pieces = Art.random(80_000, 8_000)
        await self.upload_all(daemon, pieces)
        for _ in range(2):
            # Bytes with another hash leave room that nothing uses.
            answer = await self.request(
                "PUT", f"{daemon.url}/image/{'0' * 64}", b"#" * 8_000_000, "text/plain"
            )
            self.assertEqual(answer.problem["type"], "/problems/hash-mismatch")
        load = Load(self, daemon)
        ended = load.start()
        report = json.loads(
            await deferToThread(run_asciid, daemon, ["compact", "--json"])
        )
        self.assertLess(report["bytes_after"], report["bytes_before"] - 4_000_000)
        await self.assert_downloads(daemon, pieces)
        acknowledged = load.acknowledged
        while load.acknowledged < acknowledged + 50:
            await self.sleep(0.02)
        await deferToThread(daemon.stop)
        await ended
        daemon.start()
        await load.check(daemon)
        await self.assert_downloads(daemon, pieces)
        await deferToThread(daemon.stop)


def is_put(name: str) -> bool:
    """Return whether a sample counts the successful PUTs."""
    return name.startswith("asciid_requests_total ") and "PUT" in name and "201" in name


def run_asciid(daemon: Daemon, arguments: Sequence[str]) -> str:
    """Run a command in the daemon's directory, and return its output."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "asciid"),
            *arguments,
        ],
        cwd=daemon.directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout
