"""The process has no file descriptors left."""

from __future__ import annotations

import os
import resource
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults._case import FaultTestCase
from tests.faults._client import Connection, GoneError
from tests.faults._load import Upload

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

_SPARE = 8
"""File descriptors that the daemon is left with."""

_CLIENTS = 40

_PATIENCE = 90


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class DescriptorTests(FaultTestCase):
    """More clients connect than there are file descriptors for."""

    def test_exhausted(self) -> None:
        """
        The daemon serves accepted connections, without spinning, and
        serves everybody again once clients have left.
        """
        daemon = self.daemon()
        image = Upload.sized(700)
        record = self.upload(daemon, [image])
        in_use = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
        with Connection(daemon.port) as early:
            self.assertEqual(early.request("GET", image.target).status, 200)
            limit = (in_use + _SPARE, in_use + _SPARE)
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limit)
            clients = [self._connect(daemon.port) for _ in range(_CLIENTS)]
            time.sleep(0.5)
            before, lines = _processor_seconds(daemon.pid), daemon.log.count("\n")
            time.sleep(1)
            spent = _processor_seconds(daemon.pid) - before
            logged = daemon.log.count("\n") - lines
            self.assertEqual(early.request("GET", image.target).body, image.content)
            new = Upload.sized(300)
            self.assertEqual(early.post("/image", new.art.registration).status, 201)
        self.assertLess(spent, 0.3)
        self.assertLess(logged, 50)
        for client in clients:
            client.close()
        began = time.monotonic()
        self._wait_until_served(daemon, image)
        recovery = time.monotonic() - began
        self.report(
            f"{spent:.2f} s of CPU and {logged} lines in 1 s, "
            f"serving new clients {recovery:.2f} s after others have left"
        )
        self.assert_kept(daemon, record)
        self.assert_calm(daemon)

    def _wait_until_served(self, daemon: Daemon, image: Upload) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.assertEqual(self.get(daemon, image).body, image.content)
            except GoneError:
                # Connections without a descriptor are closed.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _connect(self, port: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port), 30)
        self.addCleanup(client.close)
        return client
