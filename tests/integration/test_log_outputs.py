"""Logs that cannot be written, or that no process reads."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import (
    ANY_PORT,
    LISTENS,
    Daemon,
    environment,
    twistd,
)

_PATIENCE = 90
"""Timeout in seconds."""

_PAGE = 4096
"""Bytes that a pipe has at least."""


class LogOutputTests(SynchronousTestCase):
    """Whatever becomes of the logs, requests are answered and SIGTERM ends it."""

    def setUp(self) -> None:
        """Make an empty directory."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()

    def daemon(self, *options: str) -> Daemon:
        """Start a daemon that does not outlive the test."""
        daemon = Daemon(self.directory, ["--storage=images", *options])
        self.addCleanup(daemon.kill)
        return daemon.start()

    def request(self, port: int, path: str = "/livez", count: int = 1) -> str:
        """Send `count` requests; return the last body."""
        connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        try:
            for _ in range(count):
                connection.request("GET", path)
                body = connection.getresponse().read()
        finally:
            connection.close()
        return body.decode()

    def wait_for(self, daemon: Daemon, words: str) -> None:
        """Wait until the log has `words`."""
        deadline = time.monotonic() + _PATIENCE
        while words not in daemon.log:
            self.assertLess(time.monotonic(), deadline, daemon.log)
            time.sleep(0.02)

    def lost(self, port: int, kind: str) -> int:
        """Return the number of dropped lines."""
        name = f'asciid_log_lines_lost_total{{log="{kind}"}} '
        _, _, rest = self.request(port, "/metrics").partition(name)
        return int(float(rest.split("\n")[0]))

    def test_fifo(self) -> None:
        """A FIFO without a reader, or with a slow one, loses lines and nothing else."""
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        daemon = self.daemon(f"--access-log={fifo}")
        self.request(daemon.port, count=3)
        self.wait_for(daemon, "no process has the FIFO open for reading")
        self.assertGreater(self.lost(daemon.port, "access"), 0)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PAGE)
        deadline = time.monotonic() + _PATIENCE
        while "lines dropped" not in daemon.log:
            self.assertLess(time.monotonic(), deadline, daemon.log)
            self.request(daemon.port)
            time.sleep(0.1)
        # The reader reads nothing more, and the thread waits for it.
        self.request(daemon.port, count=200)
        self.request(daemon.port, "/readyz")
        daemon.stop()

    def test_standard_output(self) -> None:
        """Standard output that no process reads blocks no request."""
        process = subprocess.Popen(
            twistd("--nodaemon", "--pidfile=", "asciid", "--access-log=-"),
            cwd=self.directory,
            env=environment(ASCIID_PORT=ANY_PORT),
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        output: Any = process.stdout
        self.addCleanup(output.close)
        fcntl.fcntl(output.fileno(), fcntl.F_SETPIPE_SZ, _PAGE)
        log = ""
        while (listens := LISTENS.search(log)) is None:
            log += os.read(output.fileno(), _PAGE).decode()
        port = int(listens[1])
        self.request(port, f"/{'x' * 4000}", count=1_000)
        self.assertGreater(self.lost(port, "log"), 0)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(_PATIENCE), -signal.SIGTERM)

    def test_stopped_parent(self) -> None:
        """Workers go on while their parent, which writes their log, is stopped."""
        daemon = self.daemon("--access-log=-", "--workers=2")
        os.kill(daemon.pid, signal.SIGSTOP)
        # More than the pipes to the parent hold.
        self.request(daemon.port, f"/{'x' * 4000}", count=200)
        self.request(daemon.port, f"/{'x' * 4000}", count=200)
        os.kill(daemon.pid, signal.SIGCONT)
        self.request(daemon.port)
        self.wait_for(daemon, "GET /livez")
        daemon.stop()

    def test_rotation(self) -> None:
        """SIGUSR1 rotates the file of twistd --logfile."""
        process = subprocess.Popen(
            twistd("--nodaemon", "--pidfile=", "--logfile=log", "asciid"),
            cwd=self.directory,
            env=environment(ASCIID_PORT=ANY_PORT),
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        log, rotated = self.directory / "log", self.directory / "log.1"
        deadline = time.monotonic() + _PATIENCE
        while not (log.exists() and LISTENS.search(log.read_text())):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        process.send_signal(signal.SIGUSR1)
        while not (rotated.exists() and "rotating the log" in log.read_text()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.assertIsNotNone(LISTENS.search(rotated.read_text()))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(_PATIENCE), -signal.SIGTERM)
        self.assertIn("Server Shut Down.", log.read_text())
