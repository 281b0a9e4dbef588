"""Several workers, and an operator's signals to them."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._case import Art
from tests.integration._daemon import Daemon

_PATIENCE = 90
"""Timeout in seconds."""


class WorkerSignalTests(SynchronousTestCase):
    """A daemon with two workers, which needs tokens."""

    def setUp(self) -> None:
        """Start it."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.tokens = self.directory / "tokens"
        self.write("old")
        self.daemon = Daemon(
            self.directory,
            ["--workers", "2", "--write-token-file", str(self.tokens)],
        )
        self.addCleanup(self.daemon.kill)
        self.daemon.start()

    def write(self, token: str) -> None:
        """Have `token` be the only one."""
        self.tokens.touch(0o600)
        self.tokens.write_text(token)

    def connect(self) -> HTTPConnection:
        """Connect."""
        connection = HTTPConnection("127.0.0.1", self.daemon.port, timeout=_PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def register(self, connection: HTTPConnection, token: str) -> int:
        """Register an image; return the status."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        connection.request(
            "POST", "/image", json.dumps(Art.random().registration), headers
        )
        with closing(connection.getresponse()) as response:
            response.read()
            return response.status

    def wait_for(self, words: str) -> None:
        """Wait until the log has `words`."""
        deadline = time.monotonic() + _PATIENCE
        while words not in self.daemon.log:
            if time.monotonic() > deadline:
                self.fail(f"the log has no {words!r}:\n{self.daemon.log}")
            time.sleep(0.02)

    def test_hang_up(self) -> None:
        """
        On SIGHUP a token that was removed is refused by all, then all are replaced.

        Their last log lines and metrics are kept.  No request is refused because of
        it, and expected exits are not logged as warnings.
        """
        connections = [self.connect() for _ in range(6)]
        for connection in connections:
            self.assertEqual(self.register(connection, "old"), 201)
        before = self.processes()
        self.write("new")
        os.kill(self.daemon.pid, signal.SIGHUP)
        self.wait_for("loaded 1 write tokens")
        for connection in connections:
            # It leads to a process of before, and to no other.
            connection.auto_open = 0
            while (status := self.register(connection, "old")) == 201:
                pass  # the signal is on its way
            self.assertEqual(status, 401)
            connection.close()
        self.wait_for("rolling restart complete")
        self.assertEqual(self.register(self.connect(), "new"), 201)
        # Those of before may still be about to end.
        self.assertEqual(len(self.processes() - before), 3)
        self.daemon.stop()
        refused = self.daemon.log.count("refused within a minute: token-invalid")
        self.assertGreater(refused, 0, self.daemon.log)
        self.assertNotIn(" exited: ", self.daemon.log)
        # Twisted's messages on its own connections and ports are not logged.
        self.assertNotRegex(self.daemon.log, "Scheduling retry|starting on|Closed")

    def processes(self) -> set[int]:
        """Return the process ids of the workers and of the one that writes."""
        roles = ("worker", "writer")
        return {pid for role in roles for pid in self.daemon.children(role)}
