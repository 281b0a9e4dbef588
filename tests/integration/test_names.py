"""Names that are not UTF-8, and times of 0."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import Daemon, environment

BIN = Path(sys.executable).parent
CAT = b"/\\_/\\\n"
PATH = f"/image/{sha256(CAT).hexdigest()}"


class DaemonCase(SynchronousTestCase):
    """Starts a daemon."""

    def setUp(self) -> None:
        """Make a directory."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()

    def start(self, *options: str) -> Daemon:
        """Start one that does not outlive the test."""
        daemon = Daemon(self.directory, options)
        self.addCleanup(daemon.kill)
        return daemon.start()

    def begin_upload(self, daemon: Daemon) -> socket.socket:
        """Send an upload but for its last byte, and return the connection."""
        connection = socket.create_connection(("127.0.0.1", daemon.port), 30)
        self.addCleanup(connection.close)
        head = (
            f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(CAT)}\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        # It has been received, whatever it answers.
        self.assertIn(b" 100 ", connection.recv(1000))
        connection.sendall(CAT[:-1])
        return connection


class BytesTests(DaemonCase):
    """A storage whose name is not UTF-8."""

    def asciid(self, *arguments: str, **environ: str) -> tuple[int, bytes, str]:
        """Run a command in the strictest locale."""
        done = subprocess.run(
            [BIN / "asciid", *arguments],
            cwd=self.directory,
            env=environment(PYTHONIOENCODING="utf-8:strict", **environ),
            capture_output=True,
            timeout=60,
            check=False,
        )
        stderr = done.stderr.decode()
        self.assertNotIn("Traceback", stderr, arguments)
        return done.returncode, done.stdout, stderr

    def test_storage(self) -> None:
        """Daemons, with workers too, and commands use it like any other."""
        name = os.fsdecode(b"storage-\xff")
        for options in ((), ("--workers=2", "--log-format=text")):
            daemon = self.start(f"--storage={name}", *options)
            connection = self.begin_upload(daemon)
            connection.sendall(CAT[-1:])
            self.assertIn(b"HTTP/1.1 20", connection.recv(1000))
            connection.close()
            self.assertIn("storage-\\udcff, images", daemon.log)
            daemon.stop()
        copy = os.fsdecode(b"copy-\xff")
        code, printed, _ = self.asciid("backup", "--storage", name, copy)
        self.assertEqual((code, printed[:8]), (0, b"copy-\xff: "))
        code, printed, _ = self.asciid("verify", ASCIID_STORAGE=copy)
        self.assertEqual((code, printed[:8]), (0, b"1 images"))
        self.assertEqual(self.asciid("compact", ASCIID_STORAGE=copy)[0], 0)
        code, printed, _ = self.asciid("config", "--json", "--storage", name)
        self.assertEqual((code, b"storage-\\udcff" in printed), (0, True))
        code, printed, error = self.asciid("config", "--storage", name)
        self.assertEqual((code, printed), (1, b""))
        self.assertIn(
            "--storage: 'storage-?' is not UTF-8", error.replace("\\udcff", "?")
        )


class DrainTests(DaemonCase):
    """A time to drain of 0 has no end."""

    def test_waits(self) -> None:
        """A request under way is finished, however long it takes; then all ends."""
        for options in ((), ("--workers=2",)):
            daemon = self.start("--drain-timeout=0", *options)
            connection = self.begin_upload(daemon)
            os.kill(daemon.pid, signal.SIGTERM)
            # With a limit of 0 seconds it would be over by then.
            time.sleep(1)
            connection.sendall(CAT[-1:])
            self.assertIn(b"HTTP/1.1 20", connection.recv(1000), daemon.log)
            daemon.stop()
            self.assertNotIn("cut off", daemon.log)

    def test_second_signal(self) -> None:
        """A second signal ends it."""
        daemon = self.start("--drain-timeout=0")
        connection = self.begin_upload(daemon)
        os.kill(daemon.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while self.accepts(daemon):
            self.assertLess(time.monotonic(), deadline, "it does not begin to stop")
            time.sleep(0.05)
        connection.setblocking(False)  # noqa: FBT003 - as the method is
        self.assertRaises(BlockingIOError, connection.recv, 1000)
        daemon.stop()

    def accepts(self, daemon: Daemon) -> bool:
        """Return whether a daemon accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", daemon.port)) == 0
