"""Memory under many images and many slow readers."""

from __future__ import annotations

import os
import resource
import socket
import time
from typing import TYPE_CHECKING

from tests.faults._case import FaultTestCase
from tests.faults._client import Connection
from tests.faults._load import Upload
from tests.faults._memory import Memory, upload_many

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

IMAGES = int(os.environ.get("ASCIID_IMAGES", "60000"))
"""How many small images are uploaded: more than the cache of 32 MiB holds."""

STEPS = 10

READERS = int(os.environ.get("ASCIID_SLOW_READERS", "1000"))

LARGE = 16 * 1024 * 1024

# What docs/reliability.md states.
MIB_FOR_IMAGES = 48
MIB_FOR_FILE = 16
KIB_PER_READER = 256


class MemoryTests(FaultTestCase):
    """The bounds that docs/reliability.md states."""

    def test_images(self) -> None:
        """However many small images are uploaded, memory stays within its bound."""
        daemon = self.daemon()
        idle = Memory.of(daemon.pid)
        curve = [idle]
        began = time.monotonic()
        step = IMAGES // STEPS
        for number in range(STEPS):
            upload_many(daemon.port, range(number * step, (number + 1) * step))
            curve.append(Memory.of(daemon.pid))
        elapsed = time.monotonic() - began
        self.report(
            f"{STEPS * step} images in {elapsed:.0f} s, MiB anonymous+file: "
            + " ".join(map(str, curve))
        )
        anonymous = max(memory.anonymous for memory in curve) - idle.anonymous
        self.assertLess(anonymous, MIB_FOR_IMAGES)
        file = max(memory.file for memory in curve) - idle.file
        self.assertLess(file, MIB_FOR_FILE)
        self.assertEqual(self.metrics(daemon)["asciid_images", ""], STEPS * step)
        self.assert_calm(daemon)

    def test_slow_readers(self) -> None:
        """
        Clients that do not read their responses cost a bounded number of bytes,
        and others are served.
        """
        self.allow_descriptors(READERS + 200)
        daemon = self.daemon()
        image = Upload.sized(LARGE, 1024 * 1024)
        small = Upload.sized(500)
        self.upload(daemon, [image, small])
        idle = most = Memory.of(daemon.pid)
        began = time.monotonic()
        readers = [self.reader(daemon, image) for _ in range(READERS)]
        for reader in readers:
            self.assertTrue(reader.recv(15).startswith(b"HTTP/1.1 200 "))
        answered = time.monotonic() - began
        with Connection(daemon.port) as polite:
            for _ in range(10):
                for reader in readers:
                    self.assertNotEqual(reader.recv(4096), b"")
                most = max(most, Memory.of(daemon.pid), key=lambda m: m.anonymous)
                self.assertEqual(polite.request("GET", small.target).status, 200)
                new = Upload.sized(300)
                answer = polite.request("PUT", new.target, new.content)
                self.assertEqual(answer.status, 201)
            self.assertEqual(polite.request("GET", image.target).body, image.content)
        connections = self.metrics(daemon)["asciid_connections", ""]
        self.assertGreater(connections, READERS)
        grown = (most.anonymous - idle.anonymous) * 1024 / READERS
        self.report(
            f"{READERS} readers, all answered after {answered:.1f} s: {idle} MiB "
            f"before, {most} MiB at the most, {grown:.0f} KiB for each"
        )
        self.assertLess(grown, KIB_PER_READER)
        self.assertLess(most.file - idle.file, MIB_FOR_FILE)
        self.assert_calm(daemon)

    def allow_descriptors(self, needed: int) -> None:
        """Let this process, and the daemons that it starts, have so many."""
        limits = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < needed:
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
            more = (needed, max(hard, needed))
            resource.setrlimit(resource.RLIMIT_NOFILE, more)

    def reader(self, daemon: Daemon, image: Upload) -> socket.socket:
        """Request an image, with a small receive buffer."""
        reader = socket.socket()
        self.addCleanup(reader.close)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(30)
        reader.connect(("127.0.0.1", daemon.port))
        request = f"GET {image.target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        reader.sendall(request.encode())
        return reader
