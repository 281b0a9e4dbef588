"""Tests of what ``benchmarks/attacks`` makes of its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests._benchmarks import BENCHMARKS, load
from tests.integration._daemon import Daemon

MEBIBYTE = 1024 * 1024


class JudgeTests(SynchronousTestCase):
    """Whether an attack was withstood."""

    def setUp(self) -> None:
        """Import."""
        self.endurance = load("endurance")

    def judge(
        self,
        alone: int = 1_000,
        attacked: int = 1_000,
        wrong: int = 0,
        peak: int = 100,
        after: int | None = None,
    ) -> dict[str, Any]:
        """Judge 100 answers in µs each, and memory in MiB; 50 is idle."""
        patience = self.endurance.Patience
        memory = self.endurance.Memory(
            idle=50 * MEBIBYTE,
            peak=peak * MEBIBYTE,
            after=None if after is None else after * MEBIBYTE,
            cache=32 * MEBIBYTE,
            queues=320 * MEBIBYTE,
        )
        result: dict[str, Any] = self.endurance.judge(
            patience([alone] * 100, 0, []),
            patience([attacked] * 100, wrong, ["GET: 503"] * wrong),
            memory,
        )
        return result

    def test_passed(self) -> None:
        """Right answers that take as long as ever pass."""
        self.assertTrue(self.judge()["passed"])

    def test_wrong(self) -> None:
        """One wrong answer fails."""
        result = self.judge(wrong=1)
        self.assertFalse(result["passed"])
        self.assertEqual(result["failures"], ["wrong answers: 1"])

    def test_at_most_10_ms(self) -> None:
        """However short the time alone was, 10 ms pass, and more do not."""
        self.assertTrue(self.judge(alone=100, attacked=10_000)["passed"])
        self.assertFalse(self.judge(alone=100, attacked=10_001)["passed"])

    def test_at_most_5_times(self) -> None:
        """Where that is more than 10 ms, 5 times the time alone passes."""
        self.assertTrue(self.judge(alone=4_000, attacked=20_000)["passed"])
        self.assertFalse(self.judge(alone=4_000, attacked=20_001)["passed"])

    def test_p99(self) -> None:
        """What the slowest 1 % took does not count."""
        patience = self.endurance.Patience([1] * 990 + [99] * 10, 0, [])
        self.assertEqual(patience.percentile(0.5), 1)
        self.assertEqual(patience.percentile(0.99), 99)
        patience = self.endurance.Patience([1] * 991 + [99] * 9, 0, [])
        self.assertEqual(patience.percentile(0.99), 1)

    def test_peak(self) -> None:
        """The peak may be 48 MiB, bodies and writes above idle."""
        self.assertTrue(self.judge(peak=50 + 48 + 320)["passed"])
        self.assertFalse(self.judge(peak=50 + 48 + 321)["passed"])

    def test_after(self) -> None:
        """Afterwards 20 MiB may be left above idle and the cache."""
        self.assertTrue(self.judge(after=50 + 32 + 20)["passed"])
        self.assertFalse(self.judge(after=50 + 32 + 21)["passed"])

    def test_merge(self) -> None:
        """Several times with the polite client count together."""
        patience = self.endurance.Patience
        merged = self.endurance.merge([patience([1], 0, []), patience([3], 1, ["x"])])
        self.assertEqual(merged, ([1, 3], 1, ["x"]))

    def test_table(self) -> None:
        """The table says what failed and shows a wrong answer."""
        result = {"title": "an attack", "others_cpu_share": 0.1, **self.judge(wrong=2)}
        text = "\n".join(self.endurance.table([result]))
        self.assertIn("FAILED", text)
        self.assertIn("an attack: wrong answers: 2", text)
        self.assertEqual(text.count("such as GET: 503"), 1)


class ClientTests(SynchronousTestCase):
    """The clients, with a daemon."""

    def setUp(self) -> None:
        """Start a daemon."""
        self.daemon = Daemon(Path(self.mktemp()).resolve()).start()
        self.addCleanup(self.daemon.kill)

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command of a client."""
        return [sys.executable, str(BENCHMARKS / name), *arguments]

    def be_polite(self) -> dict[str, Any]:
        """Run the polite client for a moment."""
        port = str(self.daemon.port)
        command = self.command("polite.py", "127.0.0.1", port, "127.0.0.2", "0.3")
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def test_polite(self) -> None:
        """The polite client finds nothing wrong with a daemon."""
        seen = self.be_polite()
        self.assertEqual((seen["wrong"], seen["shown"]), (0, []))
        self.assertGreater(len(seen["took"]), 1)

    def test_polite_without_daemon(self) -> None:
        """The polite client finds all answers of a daemon that has ended missing."""
        self.daemon.kill()
        seen = self.be_polite()
        self.assertEqual(seen["wrong"], len(seen["took"]))
        self.assertIn("ConnectionRefusedError", seen["shown"][0])

    def attack(self, name: str) -> dict[str, int]:
        """Attack with two connections until both have been answered."""
        where = ("127.0.0.1", str(self.daemon.port), "2", "127.0.0.1")
        command = self.command("attackers.py", name, *where)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "at work\n")
            said, _ = process.communicate("", timeout=30)
        self.assertEqual(process.returncode, 0)
        answers: dict[str, int] = json.loads(said)
        return answers

    def test_attackers(self) -> None:
        """Attackers repeat a costly request, and count its answers."""
        answers = self.attack("metrics")
        self.assertGreaterEqual(answers.pop("200"), 2)
        self.assertEqual(answers, {})

    def test_slow_attackers(self) -> None:
        """Attackers that hold bodies leave them unfinished, so there is no response."""
        self.assertEqual(self.attack("stalls"), {})
