"""A daemon on a port number: IPv6 and IPv4."""

from __future__ import annotations

import re
from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.integration._case import Art
from tests.integration._daemon import Daemon

_LISTENS = re.compile(
    r"asciid \S+ listens on \[::\]:(\d+), .* images (\d+), pending uploads (\d+), "
)


@define
class DualStackDaemon(Daemon):
    """A daemon that listens on all addresses."""

    announced: ClassVar[re.Pattern[str]] = _LISTENS


class AddressTests(SynchronousTestCase):
    """Clients of either family."""

    def daemon(self, *options: str) -> Daemon:
        """Start a daemon that logs the addresses of clients."""
        daemon = DualStackDaemon(
            Path(self.mktemp()).resolve(), ["--port=0", "--access-log=-", *options]
        )
        self.addCleanup(daemon.kill)
        return daemon.start()

    def check(self, *options: str) -> None:
        """Upload over IPv6 and download over IPv4, and the other way around."""
        daemon = self.daemon(*options)
        self.assertEqual(daemon.log.count(str(daemon.port)), 1, daemon.log)
        hosts = ("127.0.0.1", "::1")
        for one, other in (hosts, hosts[::-1]):
            art = Art.random()
            path = f"/image/{art.spec.sha256}"
            for host, method, body, status in (
                (one, "PUT", art.text.encode(), 201),
                (other, "GET", None, 200),
            ):
                connection = HTTPConnection(host, daemon.port, timeout=30)
                self.addCleanup(connection.close)
                connection.request(method, path, body, {"Content-Type": "text/plain"})
                self.assertEqual(connection.getresponse().status, status)
        daemon.stop()
        for host in hosts:
            self.assertEqual(daemon.log.count(f"] {host} - - ["), 2, daemon.log)
        self.assertNotIn("::ffff:", daemon.log)

    def test_one_process(self) -> None:
        """One process serves both, and logs each client's own address."""
        self.check()

    def test_workers(self) -> None:
        """So do several."""
        self.check("--workers=2")
