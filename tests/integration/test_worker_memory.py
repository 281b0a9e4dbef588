"""Images that were removed while a worker could not be notified."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests._other_process import OtherProcess
from tests.engines._damage import flip
from tests.integration._case import Art
from tests.integration._daemon import Daemon, environment

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 90
"""Seconds after which something that does not happen has failed the test."""

_CONNECTIONS = 12
"""So many lead to both workers, all but surely."""

_TOKEN = "secret"


class StoppedWorkerTests(SynchronousTestCase):
    """One of two workers is stopped; requests received meanwhile are answered later."""

    def setUp(self) -> None:
        """Start a daemon."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        (self.directory / "tokens").write_text(f"{_TOKEN}\n")
        options = ("--workers=2", "--write-token-file=tokens")
        self.daemon = Daemon(self.directory, options)
        self.addCleanup(self.daemon.kill)
        self.daemon.start()

    def request(self, method: str, path: str, body: bytes | None = None) -> int:
        """Send a request on a connection of its own; return the status."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.daemon.port, timeout=_PATIENCE
        )
        headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": "text/plain"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until `condition` holds."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f"{what}:\n{self.daemon.log}")
            time.sleep(0.02)

    def store(self, size: int) -> Art:
        """Upload an image."""
        art = Art.random(size)
        status = self.request("PUT", f"/image/{art.spec.sha256}", art.text.encode())
        self.assertEqual(status, 201)
        return art

    def connect(self, art: Art) -> list[socket.socket]:
        """Return connections, on each of which the image was just read."""
        connections = []
        for _ in range(_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", self.daemon.port))
            connection.settimeout(_PATIENCE)
            self.addCleanup(connection.close)
            connections.append(connection)
            for _ in range(2):
                self.send(connection, art)
                self.assertEqual(self.status(connection, art), 200)
        return connections

    def send(self, connection: socket.socket, art: Art) -> None:
        """Request an image."""
        connection.sendall(
            f"GET /image/{art.spec.sha256} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        )

    def status(self, connection: socket.socket, art: Art) -> int:
        """Read one answer; check that it is the image if it is 200."""
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
        if response.status == http.client.OK:
            self.assertEqual(body, art.text.encode())
        return response.status

    def stop_worker(self) -> None:
        """Stop a worker, and check that no other gets new connections."""
        stopped, _ = self.daemon.children("worker")
        self.stopped = OtherProcess(stopped)
        self.addCleanup(self.stopped.close)
        self.stopped.send(signal.SIGSTOP)
        self.addCleanup(self.go_on)

    def go_on(self) -> None:
        """Have the worker go on."""
        self.stopped.send(signal.SIGCONT)

    def ask_running(self, method: str, path: str) -> int:
        """Send a request to the worker that runs; return the status."""
        for _ in range(_CONNECTIONS):
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.daemon.port, timeout=1
            )
            headers = {"Authorization": f"Bearer {_TOKEN}"}
            connection.request(method, path, headers=headers)
            try:
                response = connection.getresponse()
            except TimeoutError:  # it leads to the other
                continue
            finally:
                connection.close()
            return response.status
        message = "all connections lead to one worker"
        raise AssertionError(message)

    def kill_writer(self) -> None:
        """Kill the process that writes, and wait for the next one."""
        (before,) = self.daemon.children("writer")
        os.kill(before, signal.SIGKILL)
        self.wait_until(
            lambda: self.daemon.children("writer") not in ([], [before]),
            "no other process writes",
        )

    def assert_absent(self, connections: list[socket.socket], art: Art) -> None:
        """Request an image on all connections, then continue the worker."""
        for connection in connections:
            self.send(connection, art)
        self.go_on()
        statuses = [self.status(connection, art) for connection in connections]
        self.assertEqual(set(statuses), {404}, statuses)

    def test_deleted(self) -> None:
        """It serves no image deleted meanwhile, even if the writer was killed."""
        art = self.store(700)
        connections = self.connect(art)
        self.stop_worker()
        self.kill_writer()
        status = self.ask_running("DELETE", f"/image/{art.spec.sha256}")
        self.assertIn(status, {204, 404})  # it may have been carried out twice
        self.assert_absent(connections, art)

    def test_quarantined(self) -> None:
        """Nor a quarantined image."""
        art = self.store(700)
        connections = self.connect(art)
        self.stop_worker()
        self.kill_writer()
        flip(self.directory / "asciid-storage", art.text.encode()[:250])
        self.assertEqual(self.command("verify"), 1)
        self.assert_absent(connections, art)

    def test_compacted(self) -> None:
        """Nor does it read a file that another has taken the place of."""
        art, other = self.store(200_000), self.store(200_000)
        connections = self.connect(art)
        self.stop_worker()
        self.kill_writer()
        self.assertEqual(self.command("compact"), 0)
        status = self.ask_running("DELETE", f"/image/{art.spec.sha256}")
        self.assertIn(status, {204, 404})
        self.assertEqual(self.ask_running("GET", f"/image/{other.spec.sha256}"), 200)
        self.assert_absent(connections, art)
        for connection in connections:
            self.send(connection, other)
            self.assertEqual(self.status(connection, other), 200)
        new = self.store(700)
        self.daemon.stop()
        self.daemon.start()
        for each in (other, new):
            self.assertEqual(self.request("GET", f"/image/{each.spec.sha256}"), 200)

    def command(self, name: str) -> int:
        """Run a command on the storage; return its exit code."""
        return subprocess.run(
            [
                *(sys.executable, "-m", "asciid"),
                name,
            ],
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.DEVNULL,
            timeout=60,
            check=False,
        ).returncode
