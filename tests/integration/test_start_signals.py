"""Signals that arrive while a daemon starts."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import ANY_PORT, LISTENS, ROOT, environment, twistd

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE = 90
"""Timeout in seconds."""

_PLUGIN = "/twisted/plugins/asciid_plugin.py"

_TRACE = """
import signal, sys
def trace(frame, event, _):
    if event == "call" and frame.f_code.co_name == "<module>":
        if frame.f_code.co_filename.endswith({after!r}):
            global armed
            armed = True
        elif armed and frame.f_code.co_filename.endswith({at!r}):
            sys.setprofile(None)
            signal.raise_signal({number})
armed = False
sys.setprofile(trace)
"""
"""A sitecustomize that sends a signal when a module is imported after another."""


class StartSignalTests(SynchronousTestCase):
    """Each sends a signal at a given moment of the start, by an import."""

    def begin(
        self,
        what: Sequence[str],
        number: int,
        after: str = _PLUGIN,
        at: str = "asciid/tap.py",
    ) -> subprocess.Popen[bytes]:
        """Start a daemon that gets a signal when it imports `at` after `after`."""
        directory = Path(self.mktemp()).resolve()
        site = directory / "site"
        site.mkdir(parents=True)
        code = _TRACE.format(after=after, at=at, number=int(number))
        (site / "sitecustomize.py").write_text(code)
        environ = environment(ASCIID_PORT=ANY_PORT)
        environ["PYTHONPATH"] = f"{site}:{environ['PYTHONPATH']}"
        self.log = directory / "log"
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                # A shell has the commands in its background ignore SIGINT.
                [
                    "env",
                    "--default-signal=INT",
                    *twistd("--nodaemon", "--pidfile=", *what),
                ],
                cwd=directory,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assert_serves(self, process: subprocess.Popen[bytes]) -> None:
        """Check that it serves, and stops in order."""
        deadline = time.monotonic() + _PATIENCE
        while LISTENS.search(self.log.read_text()) is None:
            self.assertIsNone(process.poll(), self.log.read_text())
            self.assertLess(time.monotonic(), deadline, self.log.read_text())
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(_PATIENCE), -signal.SIGTERM)
        self.assertIn("Server Shut Down", self.log.read_text())

    def test_survived(self) -> None:
        """SIGHUP and SIGUSR1 during the imports do not end the daemon."""
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.assert_serves(self.begin(["asciid"], number))

    def test_tac(self) -> None:
        """Nor do they end one that is started from asciid.tac."""
        tac = ["--python", str(ROOT / "asciid.tac")]
        process = self.begin(tac, signal.SIGHUP, "asciid.tac", "asciid/tap.py")
        self.assert_serves(process)

    def test_interrupt(self) -> None:
        """SIGINT and SIGTERM end it with their exit status, without a traceback."""
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.begin(["asciid"], number)
            self.assertEqual(process.wait(_PATIENCE), -number)
            self.assertEqual(self.log.read_text(), "")

    def test_workers(self) -> None:
        """A signal to the process group does not end workers that start."""
        process = self.begin(
            ["asciid", "--workers=2"],
            signal.SIGHUP,
            "asciid/workers/__main__.py",
            "asciid/config/settings.py",
        )
        self.assert_serves(process)
        self.assertNotIn(" exited: ", self.log.read_text())
