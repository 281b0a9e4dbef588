"""Standard streams that are closed or full."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from functools import cache
from hashlib import sha256
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests._other_process import OtherProcess
from tests.integration._daemon import ANY_PORT, Daemon, environment, twistd

BIN = Path(sys.executable).parent
CAT = b"/\\_/\\\n"
SHA256 = sha256(CAT).hexdigest()
MISSING = "0" * 64


@frozen
class End:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


class StreamTestCase(SynchronousTestCase):
    """Runs commands in a shell."""

    def setUp(self) -> None:
        """Make a directory with an image in it."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        (self.directory / "cat.txt").write_bytes(CAT)

    def sh(self, command: str, **environ: str) -> End:
        """Run a command of a shell, and check that it prints no traceback."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.directory,
            env=environment(PATH=f"{BIN}:{os.environ['PATH']}", **environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for text in (done.stdout, done.stderr):
            for word in ("Traceback", "Exception ignored", "Unhandled"):
                self.assertNotIn(word, text, command)
        return End(done.returncode, done.stdout, done.stderr)


@cache
def shared_daemon() -> Daemon:
    """Return a daemon that deletes, which all tests of commands share."""
    directory = Path("streams").resolve()
    directory.mkdir()
    (directory / "tokens").write_text("secret\n")
    daemon = Daemon(directory, ["--write-token-file=tokens"])
    atexit.register(daemon.kill)
    return daemon.start()


class CommandTests(StreamTestCase):
    """The commands, with a daemon; a test that needs the image puts it there."""

    def setUp(self) -> None:
        """Start the daemon, unless another test has."""
        super().setUp()
        self.daemon = shared_daemon()

    def asciid(self, command: str) -> End:
        """Run a command that speaks to the daemon."""
        environ = {"ASCIID_SERVER": self.daemon.url, "ASCIID_TOKEN": "secret"}
        return self.sh(f"asciid {command}", **environ)

    def test_what_is_done_is_done(self) -> None:
        """
        A command with an effect succeeds even if it cannot report it.

        Its output is on standard error, if there is one.
        """
        for command, redirection, shown in (
            ("put cat.txt", ">&-", SHA256[:12]),
            ("put --json cat.txt", ">/dev/full", SHA256),
            (f"get -o copy.txt {SHA256}", ">&-", "copy.txt"),
            (f"get -o copy.txt {SHA256}", "<&- >&- 2>&-", ""),
            (f"rm {SHA256}", "2>&-", ""),
        ):
            end = self.asciid(f"{command} {redirection}")
            self.assertEqual(end.code, 0, (command, redirection, end))
            self.assertIn(shown, end.stderr)
        self.assertEqual((self.directory / "copy.txt").read_bytes(), CAT)

    def test_what_is_asked_for(self) -> None:
        """A command whose output is its result fails without it."""
        self.asciid("put cat.txt")
        for command, redirection, code in (
            (f"cat {SHA256}", ">&-", 1),
            (f"get -o - {SHA256}", ">&-", 1),
            (f"status {SHA256}", ">&-", 1),
            (f"status {SHA256}", "2>&-", 0),
            (f"cat {SHA256}", "2>/dev/full", 0),
            (f"status {MISSING}", ">&- 2>&-", 3),
            ("status cat", "2>/dev/full", 2),
            ("put - ", "<&-", 2),
            ("put /dev/stdin", "<&-", 2),
        ):
            end = self.asciid(f"{command} {redirection}")
            self.assertEqual(end.code, code, (command, redirection, end))
            if code == 1:
                self.assertEqual(end.stderr.count("\n"), 1, end)

    def test_simulate(self) -> None:
        """A simulation reports by its exit code; its log may be lost, not its JSON."""
        port = self.daemon.port
        command = f"simulate --files 2 --host 127.0.0.1 --port {port}"
        for redirection in (">&- 2>&-", ">/dev/full"):
            end = self.asciid(f"{command} {redirection}")
            self.assertEqual(end.code, 0, (redirection, end))
        message = "asciid: cannot write the log: No space left on device\n"
        self.assertEqual(end.stderr, message)
        end = self.asciid(f"{command} --json --log-level error >&-")
        self.assertEqual(end.code, 1, end)


class StorageCommandTests(StreamTestCase):
    """The commands for operators."""

    def test_commands(self) -> None:
        """Their effects happen; their required output must be written."""
        daemon = Daemon(self.directory)
        self.addCleanup(daemon.kill)
        daemon.start().stop()
        for command, redirection, code in (
            ("verify", ">&-", 0),
            ("compact", "2>&-", 0),
            ("backup copy", ">/dev/full", 0),
            ("verify --storage none", "2>&-", 1),
            ("config", ">&-", 1),
            ("config --check", ">&- 2>&-", 0),
            ("completion bash", ">/dev/full", 1),
        ):
            end = self.sh(f"asciid {command} {redirection}")
            self.assertEqual(end.code, code, (command, redirection, end))


class HealthCheckTests(StreamTestCase):
    """The health check, whose exit code is its result."""

    def test_exit_code(self) -> None:
        """It is the same whether or not the answer can be printed."""
        daemon = Daemon(self.directory)
        self.addCleanup(daemon.kill)
        daemon.start()
        check = f"{sys.executable} -P -m asciid.health"
        for redirection in (">&-", "<&- >&- 2>&-", ">/dev/full", "| true"):
            for code, url in (
                (0, daemon.url),
                (1, f"{daemon.url}/image/{MISSING}"),
                (1, "http://127.0.0.1:1"),
                (2, "https://127.0.0.1"),
            ):
                end = self.sh(f"{check} {url} {redirection}")
                self.assertEqual(end.code, code, (redirection, end))


class DaemonTests(StreamTestCase):
    """The daemon itself."""

    def test_serves(self) -> None:
        """It serves with all of them closed, and none of its files has their number."""
        command = " ".join(twistd("--nodaemon", "--pidfile=", "asciid"))
        for number, (redirection, options) in enumerate(
            (
                ("<&- >&- 2>&-", ""),
                (">&- 2>&-", "--workers 2"),
            )
        ):
            storage = f"--storage storage-{number} --port unix:socket"
            daemon = subprocess.Popen(
                ["bash", "-c", f"exec {command} {storage} {options} {redirection}"],
                cwd=self.directory,
                env=environment(),
            )
            self.addCleanup(daemon.wait)
            self.addCleanup(daemon.kill)
            deadline = time.monotonic() + 30
            # Its whole path may be too long for a socket.
            curl = "curl -s --unix-socket socket http://x/readyz"
            while '"ready":true' not in self.sh(curl).stdout:
                self.assertIsNone(daemon.poll(), redirection)
                self.assertLess(time.monotonic(), deadline, redirection)
                time.sleep(0.05)
            for descriptor in range(3):
                opened = Path(f"/proc/{daemon.pid}/fd/{descriptor}").readlink()
                self.assertFalse(opened.is_relative_to(self.directory), opened)
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(30), -signal.SIGTERM, redirection)

    def test_background(self) -> None:
        """It serves in the background, too, where twistd reopens them."""
        command = " ".join(twistd("--pidfile=pid", "--logfile=log", "asciid"))
        end = self.sh(f"{command} --port unix:socket <&- >&- 2>&-")
        self.assertEqual(end.code, 0, end)
        pid = int((self.directory / "pid").read_text())
        daemon = OtherProcess(pid)
        self.addCleanup(daemon.close)
        self.addCleanup(daemon.send, signal.SIGKILL)
        deadline = time.monotonic() + 30
        curl = "curl -s --unix-socket socket http://x/livez"
        while "live" not in self.sh(curl).stdout:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_help(self) -> None:
        """Help and version are results: without output they fail."""
        command = " ".join(twistd("asciid"))
        for option, redirection, code in (
            ("--help", ">/dev/full", 1),
            ("--version", ">&-", 1),
            ("--version", "2>&-", 0),
        ):
            end = self.sh(f"{command} {option} {redirection}")
            self.assertEqual(end.code, code, (option, redirection, end))

    def test_refused_start(self) -> None:
        """A start that fails is exit code 1, with as much as can be printed."""
        (self.directory / "file").touch()
        command = " ".join(twistd("--nodaemon", "--pidfile=", "asciid"))
        for option, redirection in (
            ("--storage file", ">/dev/full 2>/dev/full"),
            ("--port none", ">&- 2>&-"),
            ("--workers 2 --storage file", "2>/dev/full"),
        ):
            end = self.sh(f"{command} {option} {redirection}", ASCIID_PORT=ANY_PORT)
            self.assertEqual(end.code, 1, (option, redirection, end))
        background = " ".join(twistd("--pidfile=pid", "--logfile=log", "asciid"))
        end = self.sh(f"{background} --storage file >&- 2>&-", ASCIID_PORT=ANY_PORT)
        self.assertEqual(end.code, 1)
        self.assertNotIn("Traceback", (self.directory / "log").read_text())
