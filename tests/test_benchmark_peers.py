"""Tests of the servers that ``benchmarks/run`` measures beside asciid."""

from __future__ import annotations

import http.client
import json
import os
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests._benchmarks import load
from tests._programs import program

if TYPE_CHECKING:
    from collections.abc import Iterator

ART = b"abcdefg"
HASH = sha256(ART).hexdigest()


@cache
def build_directory() -> TemporaryDirectory[str]:
    """Return a directory that lasts as long as the tests."""
    return TemporaryDirectory()


class PeerTestCase(SynchronousTestCase):
    """Starts servers as the benchmark does."""

    def setUp(self) -> None:
        """Import, and have the processors of this process restored."""
        self.peers, self.process = load("peers"), load("process")
        usable = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, usable)
        self.cores = self.process.Cores(max(usable), min(usable))
        self.storage = Path(self.mktemp()).resolve()

    @contextmanager
    def started(self, command: Any) -> Iterator[int]:  # noqa: ANN401 - of the benchmark
        """Start a server on the storage, and yield its port."""
        server = load("catalog").Server("peer", "a peer", command)
        with self.process.started(server, self.storage, self.cores) as running:
            yield running.port


def send(
    port: int, method: str, path: str, members: dict[str, object] | None = None
) -> tuple[int, bytes]:
    """Return status and body of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = None if members is None else json.dumps(members)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def register(port: int, digest: str) -> int:
    """Register an image of 7 bytes in chunks of 3; return the status."""
    members: dict[str, object] = {"sha256": digest, "size": 7, "chunk_size": 3}
    return send(port, "POST", "/image", members)[0]


def add(port: int, digest: str, number: int, data: bytes) -> int:
    """Send a chunk; return the status."""
    members = {"id": number, "size": len(data), "data": data.decode("ascii")}
    return send(port, "POST", f"/image/{digest}/chunks", members)[0]


class GoTests(PeerTestCase):
    """The servers in Go."""

    def setUp(self) -> None:
        """Compile."""
        super().setUp()
        program("go")
        if self.peers.missing_for_go():
            message = f"{self.peers.missing_for_go()} is not installed"
            raise SkipTest(message)
        built = self.peers.build_go(Path(build_directory().name) / "go_images")
        self.patch(self.peers, "GO_PROGRAM", built)
        self.storage.mkdir()

    def check_calls(self, port: int) -> None:
        """Make the three calls, and such as are refused."""
        path = f"/image/{HASH}"
        self.assertEqual(send(port, "GET", path), (404, b""))
        self.assertEqual(add(port, HASH, 0, b"abc"), 404)
        self.assertEqual(register(port, HASH), 201)
        self.assertEqual(register(port, HASH), 409)
        self.assertEqual(add(port, HASH, 2, b"g"), 201)
        self.assertEqual(add(port, HASH, 2, b"g"), 409)
        self.assertEqual(add(port, HASH, 1, b"de"), 400)
        self.assertEqual(add(port, HASH, 3, b"h"), 400)
        self.assertEqual(add(port, HASH, 0, b"abc"), 201)
        self.assertEqual(send(port, "GET", path), (404, b""))
        self.assertEqual(add(port, HASH, 1, b"def"), 201)
        self.assertEqual(send(port, "GET", path), (200, ART))

    def check_wrong_hash(self, port: int) -> None:
        """Upload an image whose bytes are not those of its hash."""
        wrong = "0" * 64
        self.assertEqual(register(port, wrong), 201)
        self.assertEqual(add(port, wrong, 0, b"abc"), 201)
        self.assertEqual(add(port, wrong, 1, b"def"), 201)
        self.assertEqual(add(port, wrong, 2, b"g"), 422)
        self.assertEqual(send(port, "GET", f"/image/{wrong}"), (404, b""))
        self.assertEqual(register(port, wrong), 201)

    def test_durable(self) -> None:
        """With bbolt images and uploads are kept when the process ends."""
        upload = "1" * 64
        with self.started(self.peers.go_durable) as port:
            self.check_calls(port)
            self.check_wrong_hash(port)
            self.assertEqual(register(port, upload), 201)
        with self.started(self.peers.go_durable) as port:
            self.assertEqual(send(port, "GET", f"/image/{HASH}"), (200, ART))
            self.assertEqual(register(port, upload), 409)

    def test_memory(self) -> None:
        """In memory they are forgotten."""
        with self.started(self.peers.go_memory) as port:
            self.check_calls(port)
            self.check_wrong_hash(port)
        with self.started(self.peers.go_memory) as port:
            self.assertEqual(send(port, "GET", f"/image/{HASH}"), (404, b""))


class NginxTests(PeerTestCase):
    """The server of files, and all that is measured of it."""

    def test_measured(self) -> None:
        """It answers with the images that asciid has, and each has a figure."""
        for name in ("nginx", "cc"):
            program(name)
        session, script, catalog = load("session"), load("script"), load("catalog")
        self.storage.mkdir()
        generator = self.storage / "load"
        load("instructions").compile_load(generator)
        download = script.write(self.storage / "download", script.download())
        scripts = session.Scripts(download, download, download, download)
        plan = session.Plan(generator, self.cores, self.storage, scripts, None, 0.05)
        found = session.measure_files(plan, catalog.FILES)
        small, large = found.loads
        self.assertEqual((small["workload"], small["connections"]), ("download", 64))
        self.assertGreater(small["requests"], 0)
        self.assertEqual((large["workload"], large["connections"]), ("large", 1))
        self.assertGreater(large["bytes_per_second"], 0)
        (memory,) = found.memory
        self.assertGreater(memory["idle_rss_bytes"], 0)
        self.assertGreater(memory["loaded_pss_bytes"], 0)


class MissingTests(SynchronousTestCase):
    """Servers for which something is not installed."""

    def test_skipped(self) -> None:
        """They are left out, by name, with what has to be installed."""
        main, peers, catalog = load("main"), load("peers"), load("catalog")
        self.patch(peers, "_find", lambda _: None)
        arguments = main.parse_arguments(["--generator", "load"])
        skipped = main.skip_missing(arguments)
        self.assertEqual(
            skipped,
            [
                "nginx, one worker: nginx is not installed",
                "Go: net/http, bbolt: golang-go is not installed",
                "Go: net/http, in memory: golang-go is not installed",
            ],
        )
        for key in (catalog.NGINX, catalog.GO_DURABLE, catalog.GO_MEMORY):
            self.assertNotIn(key, arguments.servers)
        self.assertIn(catalog.OURS, arguments.servers)

    def test_package(self) -> None:
        """Go without its package for bbolt is not enough."""
        peers = load("peers")
        self.patch(peers, "_find", lambda name: name)
        self.patch(peers, "GO_PATH", Path(self.mktemp()))
        self.assertEqual(peers.missing_for_go(), "golang-github-coreos-bbolt-dev")
