"""One client that takes all it can get, beside another that uploads."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from hashlib import sha256
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import Daemon

ATTACKER, POLITE = "127.0.0.1", "127.0.0.2"
HELD = 300_000
"""Bytes of a body that are sent of it; the last one never is."""
PATIENCE = 90
"""Seconds until something that does not happen has failed the test."""


class SharingTests(SynchronousTestCase):
    """A real daemon, and clients at two addresses."""

    def serve(self, *options: str) -> Daemon:
        """Start a daemon."""
        daemon = Daemon(Path(self.mktemp()).resolve(), ["--no-sync", *options])
        self.addCleanup(daemon.kill)
        return daemon.start()

    def connect(self, daemon: Daemon) -> socket.socket:
        """Connect as the attacker."""
        connection = socket.create_connection(
            ("127.0.0.1", daemon.port), PATIENCE, source_address=(ATTACKER, 0)
        )
        self.addCleanup(connection.close)
        return connection

    def request(
        self, daemon: Daemon, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Send a request as the polite client."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", daemon.port, timeout=PATIENCE, source_address=(POLITE, 0)
        )
        try:
            kind = "application/json" if method == "POST" else "text/plain"
            connection.request(method, path, body, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def hold(self, daemon: Daemon) -> socket.socket:
        """Send all but the last byte of a chunk."""
        connection = self.connect(daemon)
        head = (
            f"POST /image/{64 * '0'}/chunks HTTP/1.1\r\nHost: a\r\n"
            f"Content-Type: application/json\r\nContent-Length: {HELD + 1}\r\n\r\n"
        )
        connection.sendall(head.encode() + b" " * HELD)
        return connection

    def wait_until_held(self, daemon: Daemon, size: int) -> None:
        """Wait until bodies hold so many bytes."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            _, page = self.request(daemon, "GET", "/metrics")
            found = re.search(rb'body_bytes(?:"\})? ([0-9.e+]+)\n', page)
            if found is not None and float(found[1]) >= size:
                return
        self.fail("the bodies did not arrive")

    def upload(self, daemon: Daemon, number: int) -> list[int]:
        """Upload an image by PUT, and another in a chunk; return the statuses."""
        image = b"%09d\n" % number * 20_000
        name = sha256(image).hexdigest()
        statuses = [self.request(daemon, "PUT", f"/image/{name}", image)[0]]
        image = image[:65_530]
        name = sha256(image).hexdigest()
        size = len(image)
        registration = {"sha256": name, "size": size, "chunk_size": size}
        chunk = {"id": 0, "size": size, "data": image.decode()}
        for path, document in (
            ("/image", registration),
            (f"/image/{name}/chunks", chunk),
        ):
            body = json.dumps(document).encode()
            statuses.append(self.request(daemon, "POST", path, body)[0])
        return statuses

    def test_bodies(self) -> None:
        """Attackers that fill the limit on bodies do not keep others from uploading."""
        daemon = self.serve("--max-bodies=1M", "--max-chunk-size=64K")
        attackers = [self.hold(daemon) for _ in range(3)]
        for number in range(5):
            self.wait_until_held(daemon, 3 * HELD)
            self.assertEqual(self.upload(daemon, number), [201] * 3)
            self.assertEqual(self.request(daemon, "GET", "/readyz")[0], 200)
            for index, attacker in enumerate(attackers):
                attacker.settimeout(0)
                try:
                    answer = attacker.recv(65536)
                except BlockingIOError:
                    continue
                self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
                self.assertIn(b"\r\nRetry-After: 1\r\n", answer)
                self.assertIn(b'"/problems/too-many-bodies"', answer)
                attackers[index] = self.hold(daemon)
        _, page = self.request(daemon, "GET", "/metrics")
        line = rb'asciid_evictions_total\{reason="share",what="bodies"\} (\d+)'
        found = re.search(line, page)
        self.assertGreaterEqual(int(found[1]) if found else 0, 1)
        daemon.stop()

    def test_connections(self) -> None:
        """Nor do those that open as many connections as are allowed."""
        daemon = self.serve("--max-connections=20")
        idle = [self.connect(daemon) for _ in range(20)]
        for connection in idle:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b" 200 OK\r\n", connection.recv(65536))
        for number in range(5):
            self.assertEqual(self.upload(daemon, number), [201] * 3)
            idle.append(self.connect(daemon))
        daemon.stop()
