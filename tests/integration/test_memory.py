"""How much memory a real daemon takes for large images."""

from __future__ import annotations

import contextlib
import re
import socket
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration._case import Art, DaemonTestCase

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

MIB = 1024 * 1024
SIZE = 40
"""MiB of an image."""
BOUND = 16
"""MiB by which the daemon may grow, however large an image is."""


def peak(daemon: Daemon) -> float:
    """Return the most memory the daemon has ever had, in MiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(status)
    return int(found[1]) / 1024


CLIENTS = 400
"""Clients that send at once."""
SENT = 256 * 1024
"""Bytes that each of them sends."""
BODIES = 32
QUEUE = 8
"""MiB of the limits."""
SLACK = 48
"""MiB that the daemon may take besides."""
KEPT = 20
"""MiB that it may keep afterwards."""
PATIENCE = 60
"""Seconds until it must have returned the rest."""


def used_memory(daemon: Daemon) -> float:
    """Return the memory that is the daemon's alone now, in MiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(status)
    return int(found[1]) / 1024


class MemoryTests(DaemonTestCase):
    """Images many times larger than the daemon's allowed growth."""

    async def test_large_images(self) -> None:
        """Uploads in chunks and in one go, and downloads, take a few MiB."""
        daemon = self.daemon()
        idle = peak(daemon)
        pieces = Art("#" * (SIZE * MIB), MIB)
        await self.upload_all(daemon, pieces)
        await self.assert_downloads(daemon, pieces)
        data = b"+" * (SIZE * MIB)
        url = f"{daemon.url}/image/{sha256(data).hexdigest()}"
        for method, body, status in (("PUT", data, 201), ("GET", None, 200)):
            answer = await self.request(method, url, body, content_type=None)
            self.assertEqual(answer.status, status, answer.body[:1000])
        self.assertLess(peak(daemon) - idle, BOUND)
        daemon.stop()

    async def send_all(self, waiting: list[tuple[socket.socket, memoryview]]) -> int:
        """Send on all connections at the same time; return the number of 201s."""
        connections = [connection for connection, _ in waiting]
        for connection in connections:
            connection.settimeout(0)
            self.addCleanup(connection.close)
        while waiting:
            blocked = []
            for connection, rest in waiting:
                try:
                    sent = connection.send(rest[:65536])
                except BlockingIOError:
                    sent = 0
                except (BrokenPipeError, ConnectionResetError):
                    continue  # refused, and read no further
                if sent < len(rest):
                    blocked.append((connection, rest[sent:]))
            waiting = blocked
            await self.sleep(0.001)
        answered = 0
        for connection in connections:
            connection.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                answered += connection.recv(100).startswith(b"HTTP/1.1 201")
            connection.close()
        return answered

    async def test_many_uploads(self) -> None:
        """Uploads at once take no more than the limits, and it is returned."""
        daemon = self.daemon(f"--max-bodies={BODIES}M", f"--max-queue={QUEUE}M")
        idle_peak, idle = peak(daemon), used_memory(daemon)
        connections = [
            socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(CLIENTS)
        ]
        requests = []
        for number in range(CLIENTS):
            image = b"%07d\n" % number * (SENT // 8)
            name = sha256(image).hexdigest()
            head = f"PUT /image/{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {SENT}"
            requests.append(memoryview(f"{head}\r\n\r\n".encode() + image))
        answered = await self.send_all(list(zip(connections, requests, strict=True)))
        self.assertGreater(answered, 0)
        self.assertLess(peak(daemon) - idle_peak, SLACK + BODIES + QUEUE)
        for _ in range(PATIENCE * 2):
            if used_memory(daemon) - idle < KEPT:
                break
            await self.sleep(0.5)
        self.assertLess(used_memory(daemon) - idle, KEPT)
        daemon.stop()
