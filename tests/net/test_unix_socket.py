"""Stale Unix sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from asciid.net import _unix_socket
from asciid.net.description import Description
from asciid.net.sockets import open_sockets
from tests.integration._daemon import environment, twistd

if TYPE_CHECKING:
    from asciid.net.sockets import ListeningSockets

PATIENCE = 60
"""Seconds after which a process has failed the test."""


class SocketTestCase(SynchronousTestCase):
    """Has a directory whose sockets have short names."""

    def setUp(self) -> None:
        """Make it the working directory."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        before = Path.cwd()
        os.chdir(self.directory)
        self.addCleanup(os.chdir, before)

    def leave_stale(self, name: str = "x.sock") -> None:
        """Leave a stale socket, with the lock file of process 1."""
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(name)
        Path(f"{name}.lock").symlink_to("1")

    def connects(self, name: str = "x.sock") -> bool:
        """Return whether anybody listens."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(name) == 0


class StaleTests(SocketTestCase):
    """Stale sockets and sockets in use."""

    def setUp(self) -> None:
        """Do not wait."""
        super().setUp()
        self.patch(_unix_socket, "RELEASE_TIMEOUT", 0)

    def listen(self, name: str = "x.sock") -> ListeningSockets:
        """Listen on a socket."""
        opened = open_sockets(Description.parse(f"unix:{name}:mode=600"))
        self.addCleanup(opened.close)
        return opened

    def test_new(self) -> None:
        """A socket is created with its mode, and removed at the end."""
        port = self.listen()
        self.assertTrue(self.connects())
        self.assertEqual(Path("x.sock").stat().st_mode & 0o777, 0o600)
        port.close()
        self.assertEqual(list(Path().iterdir()), [])

    def test_stale(self) -> None:
        """A stale socket is replaced, and Twisted's lock file removed."""
        self.leave_stale()
        self.listen()
        self.assertTrue(self.connects())
        self.assertEqual(list(Path().iterdir()), [Path("x.sock")])

    def test_served(self) -> None:
        """A listening socket is not replaced, even if it accepts nothing."""
        self.listen()
        with socket.socket(socket.AF_UNIX) as full:
            full.bind("full.sock")
            full.listen(0)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect("full.sock")
                for name in ("x.sock", "full.sock"):
                    error = self.assertRaises(CannotListenError, self.listen, name)
                    self.assertIn("Address already in use", str(error))
        self.assertTrue(self.connects())

    def test_not_a_socket(self) -> None:
        """A file that is no socket stays."""
        Path("x.sock").write_text("precious")
        self.assertRaises(CannotListenError, self.listen)
        self.assertEqual(Path("x.sock").read_text(), "precious")

    def test_no_directory(self) -> None:
        """A missing directory is reported."""
        error = self.assertRaises(CannotListenError, self.listen, "none/x.sock")
        self.assertIn("No such file or directory", str(error))

    def test_waits(self) -> None:
        """A start waits for a socket in use, whose owner may be exiting."""
        self.patch(_unix_socket, "RELEASE_TIMEOUT", PATIENCE)
        ending = socket.socket(socket.AF_UNIX)
        ending.bind("x.sock")
        ending.listen()
        probed: list[bool] = []
        served = _unix_socket._is_served

        def probe(name: str) -> bool:
            probed.append(served(name))
            ending.close()
            return probed[-1]

        self.patch(_unix_socket, "_is_served", probe)
        self.listen()
        self.assertEqual(probed, [True, False])

    def test_removed(self) -> None:
        """One that was removed meanwhile is no obstacle to the end."""
        port = self.listen()
        Path("x.sock").unlink()
        port.close()
        self.assertEqual(port.sockets[0].fileno(), -1)

    def test_taken_over(self) -> None:
        """One that another process has put in its place stays there."""
        port = self.listen()
        Path("x.sock").unlink()
        self.listen()
        port.close()
        self.assertTrue(self.connects())

    def test_locked(self) -> None:
        """Of many that start at the same time, one listens."""
        self.leave_stale()
        listening: list[ListeningSockets] = []

        def start() -> None:
            with contextlib.suppress(CannotListenError):
                listening.append(self.listen())

        self.patch(_unix_socket, "RELEASE_TIMEOUT", 0.1)
        threads = [Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(listening), 1)
        self.assertTrue(self.connects())


class DaemonTests(SocketTestCase):
    """Real daemons."""

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start one."""
        daemon = subprocess.Popen(
            twistd("--nodaemon", "--pidfile=", "asciid", *options),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(daemon.communicate)
        self.addCleanup(daemon.kill)
        return daemon

    def ask(self, name: str, path: str) -> bytes:
        """Return the answer to a request."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(name)
                client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                return client.recv(100)
            except OSError:
                return b""

    def await_answer(self, name: str, path: str = "/readyz") -> None:
        """Wait until there is one."""
        deadline = time.monotonic() + PATIENCE
        while b" 200 " not in self.ask(name, path):
            self.assertLess(time.monotonic(), deadline, "it does not serve")
            time.sleep(0.05)

    def await_silence(self, name: str) -> None:
        """Wait until nobody listens."""
        deadline = time.monotonic() + PATIENCE
        while self.connects(name):
            self.assertLess(time.monotonic(), deadline, "it still listens")
            time.sleep(0.05)

    def test_after_a_kill(self) -> None:
        """A stale socket is replaced, whatever process its lock file names."""
        for options in ((), ("--workers=2",)):
            for name in ("x.sock", "m.sock"):
                self.leave_stale(name)
            ports = ("--port=unix:x.sock", "--metrics-port=unix:m.sock:mode=600")
            daemon = self.start(*ports, *options)
            self.await_answer("x.sock")
            self.await_answer("m.sock", "/metrics")
            daemon.kill()
            daemon.wait(PATIENCE)
            # Its workers may live for a moment longer, and would answer.
            self.await_silence("x.sock")
            self.await_silence("m.sock")
            daemon = self.start(*ports, *options)
            self.await_answer("x.sock")
            self.await_answer("m.sock", "/metrics")
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(PATIENCE), -signal.SIGTERM)
            self.assertEqual(list(Path().glob("*.sock*")), [])

    def test_second_daemon(self) -> None:
        """A second daemon on a socket is refused, and the first one is unaffected."""
        self.start("--port=unix:x.sock", "--storage=:memory:")
        self.await_answer("x.sock")
        second = self.start("--port=unix:x.sock", "--storage=:memory:")
        _, printed = second.communicate(timeout=PATIENCE)
        self.assertEqual(second.returncode, 1)
        self.assertIn(b"Address already in use", printed)
        self.await_answer("x.sock")
