"""HTTP cases on raw sockets, against a real process behind the server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import PIPE, Popen, run

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "tests" / "http" / "cases" / "run_cases.py"


class HTTPCasesTests(SynchronousTestCase):
    """Grammar, framing, smuggling, persistence, and clients that are slow."""

    def test_cases(self) -> None:
        """
        Every case passes, the slow ones too: they take as long as the longest of
        the server's own timeouts, and hardly any work.
        """
        command = [sys.executable, "-m", "tests.http.cases.server"]
        with Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True) as server:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            report = Path(self.mktemp())
            runner = [sys.executable, str(RUNNER), "127.0.0.1", port]
            outcome = run(
                [*runner, "--slow", "-q", "-j", "32", "--json", str(report)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert server.stdin is not None
            server.stdin.close()
        rows = json.loads(report.read_text())
        failed = [row for row in rows if not row["ok"]]
        self.assertEqual(failed, [], outcome.stdout)
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assertEqual(server.returncode, 0)
        self.assertGreater(len(rows), 90)
