"""A daemon under a service manager and its journal, both played by the test."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import ANY_PORT, environment, twistd

_PATIENCE = 60
"""Timeout in seconds."""


class ServiceManagerTests(SynchronousTestCase):
    """``Type=notify`` with a watchdog, standard output to the journal."""

    def setUp(self) -> None:
        """Bind the socket, and make what stands for the journal."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.journal = self.directory / "journal"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(_PATIENCE)
        self.name = f"asciid-{os.getpid()}-{id(self)}"
        self.socket.bind(f"\0{self.name}")

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a daemon."""
        with self.journal.open("wb") as journal:
            status = os.fstat(journal.fileno())
            process = subprocess.Popen(
                twistd("--nodaemon", "--pidfile=", "asciid", *options),
                cwd=self.directory,
                env=environment(
                    ASCIID_PORT=ANY_PORT,
                    NOTIFY_SOCKET=f"@{self.name}",
                    WATCHDOG_USEC="1000000",
                    JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}",
                ),
                stdout=journal,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def receive(self, state: str) -> str:
        """Wait for the message that begins with `state`; return its status."""
        while True:
            message = self.socket.recv(4096).decode()
            if message.startswith(state):
                return message.partition("STATUS=")[2]
            # Only watchdog notifications are received in between.
            self.assertEqual(message, "WATCHDOG=1")

    def run_through(self, *options: str) -> str:
        """Start a daemon, reload it, stop it; return its last status."""
        process = self.start(*options)
        status = self.receive("READY=1")
        self.receive("WATCHDOG=1")
        self.check_environment(process.pid)
        os.kill(process.pid, signal.SIGHUP)
        self.receive("RELOADING=1\nMONOTONIC_USEC=")
        self.assertEqual(self.receive("READY=1"), status)
        self.receive("WATCHDOG=1")
        process.terminate()
        self.receive("STOPPING=1")
        self.assertEqual(process.wait(_PATIENCE), -signal.SIGTERM)
        return status

    def check_environment(self, pid: int) -> None:
        """No process that it has started inherits the socket or the watchdog."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            variables = Path(f"/proc/{child}/environ").read_bytes()
            self.assertNotRegex(variables, rb"NOTIFY_SOCKET|WATCHDOG")

    def test_one_process(self) -> None:
        """
        It reports start, reload, stop and life; journal lines have a priority, and no
        time of their own.
        """
        status = self.run_through("--no-sync")
        self.assertRegex(status, r"\AServing on 127\.0\.0\.1:\d+\Z")
        lines = self.journal.read_text().splitlines()
        for line in lines:
            self.assertRegex(line, r"\A<\d>\[[\w.]+\] ")
        self.assertTrue(
            any(line.startswith("<6>[asciid.daemon.announcement]") for line in lines)
        )
        (warning,) = (line for line in lines if "sync is off" in line)
        self.assertTrue(warning.startswith("<4>"), warning)

    def test_cannot_start(self) -> None:
        """Why it cannot start is in the journal once, as an error."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            for option, words in (
                (f"--port=tcp:{number}:interface=127.0.0.1", "cannot listen on"),
                ("--max-chunk-size=none", "is not a number of bytes"),
            ):
                process = self.start(option)
                self.assertEqual(process.wait(_PATIENCE), 1)
                lines = self.journal.read_text().splitlines()
                (line,) = (line for line in lines if words in line)
                self.assertRegex(line, r"\A<[23]>", lines)

    def test_workers(self) -> None:
        """With workers it serves once all do, and again once all are replaced."""
        status = self.run_through("--workers=2", "--log-format=json")
        self.assertRegex(status, r"\AServing on 127\.0\.0\.1:\d+, 2 workers\Z")
        text = self.journal.read_text()
        self.assertIn("rolling restart complete", text)
        for line in text.splitlines():
            self.assertIsNotNone(re.match(r'<6>\{"time": ', line), line)
