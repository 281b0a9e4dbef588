"""What the tests of documents share: finding commands and running them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration._daemon import ROOT, Daemon, environment

__all__ = ["CommandTestCase", "code_blocks"]

_DOCUMENTED_URL = "http://localhost:4444"


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Return language and content of each fenced block of a Markdown text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class CommandTestCase(SynchronousTestCase):
    """Runs commands."""

    def run_command(self, *command: str, cwd: Path = ROOT) -> str:
        """Run a command in the checkout, or in `cwd`, and return what it printed."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def run_session(self, session: str, daemon: Daemon) -> str:
        """Run commands with curl as if they were typed, against `daemon`."""
        if shutil.which("curl") is None:
            message = "curl is not installed"
            raise SkipTest(message)
        self.assertIn(_DOCUMENTED_URL, session)
        session = session.replace(_DOCUMENTED_URL, daemon.url)
        quiet = 'curl() { command curl -sS "$@"; }\n'
        return self.run_command("sh", "-euc", quiet + session, cwd=daemon.directory)

    def start_daemon(self, *options: str) -> Daemon:
        """Start a daemon that does not outlive the test."""
        daemon = Daemon(Path(self.mktemp()).resolve(), options)
        self.addCleanup(daemon.kill)
        return daemon.start()
