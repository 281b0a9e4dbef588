"""``asciid put`` killed in the middle of a large file, and started again."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from hashlib import sha256
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from tests._commands import CommandTestCase
from tests.integration._daemon import environment

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 40 * 1024 * 1024
CHUNK_SIZE = 256 * 1024
CHUNKS = SIZE // CHUNK_SIZE
_ASCIID = [sys.executable, "-c", "from asciid.__main__ import main; main()"]
_PATIENCE = 90  # seconds
_PAUSE = 0.01  # seconds; a chunk takes some of them
_STORED = "asciid_chunks_stored_total"
_KNOWN = 'asciid_refusals_total{reason="chunk-exists"}'
_LINE = re.compile(r"^(asciid_\S+) (\S+)$", re.MULTILINE)


class PutKilledTests(CommandTestCase):
    """40 MiB in chunks of 256 KiB."""

    def setUp(self) -> None:
        """Start a daemon, and make a file."""
        self.server = self.start_daemon()
        self.connection = HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        self.addCleanup(self.connection.close)
        line = bytes(random.choices(b"/\\_|-(). o", k=1_023)) + b"\n"
        art = b"".join(b"%09d" % n + line[9:] for n in range(SIZE // len(line)))
        (self.server.directory / "huge.txt").write_bytes(art)
        self.link = f"{self.server.url}/i/{sha256(art).hexdigest()[:12]}"
        size = f"--chunk-size={CHUNK_SIZE}"
        self.command = [*_ASCIID, "put", "--server", self.server.url, size, "huge.txt"]

    def metrics(self) -> dict[str, float]:
        """Return the daemon's counts."""
        self.connection.request("GET", "/metrics")
        text = self.connection.getresponse().read().decode()
        return {name: float(value) for name, value in _LINE.findall(text)}

    def wait_for(self, condition: Callable[[dict[str, float]], bool]) -> float:
        """Wait until it is true of the metrics; return the number of chunks stored."""
        deadline = time.monotonic() + _PATIENCE
        while not condition(metrics := self.metrics()):
            self.assertLess(time.monotonic(), deadline, "condition not reached")
            time.sleep(_PAUSE)
        return metrics[_STORED]

    def chunk_requests(self) -> float:
        """Return how many requests with a chunk were answered, in any way."""
        return sum(
            count
            for name, count in self.metrics().items()
            if name.startswith("asciid_requests_total") and 'route="add_chunk"' in name
        )

    def test_killed_at_half(self) -> None:
        """Started again after SIGKILL, it sends the chunks that are missing, once."""
        first = subprocess.Popen(
            self.command, cwd=self.server.directory, env=environment()
        )
        try:
            self.wait_for(lambda metrics: metrics[_STORED] >= CHUNKS // 2)
        finally:
            first.kill()
            first.wait(_PATIENCE)
        # What had arrived is still stored: until this is the only connection, and
        # nothing waits to be written.
        stored = self.wait_for(
            lambda metrics: (
                metrics["asciid_connections"] == 1
                and metrics["asciid_queue_operations"] == 0
            )
        )
        self.assertTrue(CHUNKS // 2 <= stored < CHUNKS, stored)
        before = self.chunk_requests()
        output = self.run_command(*self.command, cwd=self.server.directory)
        self.assertEqual(output, f"{self.link}\n")
        self.assertEqual(self.chunk_requests() - before, CHUNKS - stored)
        metrics = self.metrics()
        self.assertEqual(metrics[_STORED], CHUNKS)
        self.assertEqual(metrics[_KNOWN], 0)
        self.assertEqual(metrics["asciid_images_completed_total"], 1)
        self.server.stop()
