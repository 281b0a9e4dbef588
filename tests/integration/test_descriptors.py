"""A daemon with fewer file descriptors than there are clients."""

from __future__ import annotations

import re
import shlex
import socket
import time
from contextlib import closing
from pathlib import Path

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import Daemon

LIMIT = 300
CLIENTS = 400
REQUEST = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@define
class LimitedDaemon(Daemon):
    """A daemon whose descriptors are limited, softly to fewer."""

    def command(self, *arguments: str) -> list[str]:
        """Return the command, behind the limits."""
        command = shlex.join(super().command(*arguments))
        limits = f"ulimit -n {LIMIT} && ulimit -Sn {LIMIT // 2}"
        return ["sh", "-c", f"{limits} && exec {command}"]


class DescriptorTests(SynchronousTestCase):
    """More connections than descriptors."""

    def check(self, *options: str) -> None:
        """Connect many clients; each gets an answer, and none is merely closed."""
        daemon = LimitedDaemon(Path(self.mktemp()).resolve(), options)
        self.addCleanup(daemon.kill)
        daemon.start()
        limits = Path(f"/proc/{daemon.pid}/limits").read_text()
        self.assertRegex(limits, rf"(?m)^Max open files +{LIMIT} +{LIMIT} ")
        self.assertRegex(
            daemon.log,
            rf"{LIMIT} file descriptors allow \d+ connections, fewer than "
            r"--max-connections 20000",
        )
        clients = []
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", daemon.port), 60)
            self.addCleanup(client.close)
            client.sendall(REQUEST)
            clients.append(client)
        statuses = {200: 0, 503: 0}
        for client in clients:
            match = re.match(rb"HTTP/1\.1 (\d+) ", client.recv(4096))
            assert match is not None, statuses
            status = int(match[1])
            statuses[status] += 1
            if status == 503:
                client.close()
        self.assertGreater(statuses[200], 50)
        self.assertGreater(statuses[503], 50)
        self.assertNotIn("EMFILE", daemon.log)
        for client in clients:
            client.close()
        deadline = time.monotonic() + 30
        while not self.is_served(daemon):
            # It may not have seen the end of the others yet.
            self.assertLess(time.monotonic(), deadline)
        daemon.stop()

    def is_served(self, daemon: Daemon) -> bool:
        """Return whether a new client is served."""
        with closing(socket.create_connection(("127.0.0.1", daemon.port), 60)) as last:
            last.sendall(REQUEST)
            return last.recv(4096).startswith(b"HTTP/1.1 200 ")

    def test_one_process(self) -> None:
        """One process answers each of them."""
        self.check("--log-level=debug")

    def test_workers(self) -> None:
        """So do several, which have the same limit each."""
        self.check("--log-level=debug", "--workers=2")
