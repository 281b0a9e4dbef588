"""Tests of what ``benchmarks/instructions`` makes of its figures."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests._benchmarks import BENCHMARKS, load
from tests._programs import program
from tests.integration._daemon import environment

DUMP = """\
# callgrind format
version: 1
part: 2

positions: line
events: Ir
summary: 363144

fn=(626) Py_BytesMain
calls=0 0
0 363144

totals: 363144
"""


class CallgrindTests(SynchronousTestCase):
    """What callgrind has counted."""

    def setUp(self) -> None:
        """Import."""
        self.callgrind = load("callgrind")
        self.error = load("process").BenchmarkError

    def write_dumps(self, count: int) -> Path:
        """Write dumps with 1, 2 … instructions, and return the name before the dot."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for number in range(1, count + 1):
            text = DUMP.replace("363144", str(number))
            (directory / f"out.{number}").write_text(text, encoding="ascii")
        return directory / "out"

    def test_total(self) -> None:
        """The total of a dump is that of all its functions."""
        self.assertEqual(self.callgrind.total_of(DUMP), 363144)

    def test_total_at_the_end_alone(self) -> None:
        """Of a dump without a summary the line with the totals is read."""
        dump = DUMP.replace("summary: 363144\n", "")
        self.assertEqual(self.callgrind.total_of(dump), 363144)

    def test_no_total(self) -> None:
        """A dump that is cut short is an error, not 0."""
        with self.assertRaises(self.error):
            self.callgrind.total_of(DUMP[:40])

    def test_order(self) -> None:
        """Dumps are read in the order in which they were written."""
        output = self.write_dumps(11)
        self.assertEqual(self.callgrind.totals(output, 11), list(range(1, 12)))

    def test_missing(self) -> None:
        """Fewer dumps than were asked for are an error that names the missing one."""
        output = self.write_dumps(2)
        with self.assertRaises(self.error) as caught:
            self.callgrind.totals(output, 3)
        self.assertIn("no dump 3", str(caught.exception))


class VerdictTests(SynchronousTestCase):
    """Whether the exercise is too dear."""

    def setUp(self) -> None:
        """Import."""
        self.verdict = load("verdict")

    def test_per_request(self) -> None:
        """A request takes what the larger load takes more, divided by its requests."""
        self.assertEqual(self.verdict.per_request([999, 1_000, 3_000], 100), 20)

    def test_the_same(self) -> None:
        """The same figures pass."""
        verdict = self.verdict.compare(200_000, 200_000)
        self.assertTrue(verdict.passed)
        self.assertIn("+0.00%", str(verdict))

    def test_cheaper(self) -> None:
        """Fewer instructions pass, however few."""
        self.assertTrue(self.verdict.compare(100_000, 200_000).passed)

    def test_within(self) -> None:
        """Nearly 3 % more passes."""
        self.assertTrue(self.verdict.compare(205_990, 200_000).passed)

    def test_too_dear(self) -> None:
        """A little over 3 % more fails, and the line says so."""
        verdict = self.verdict.compare(206_010, 200_000)
        self.assertFalse(verdict.passed)
        self.assertIn("FAILED", str(verdict))

    def test_limits(self) -> None:
        """The exercise and a hot GET have limits in the daemon."""
        costs = {"exercise": 128_000.0, "hot GET": 48_001.0, "404": 1e6}
        self.assertEqual(
            list(self.verdict.check_limits(costs)),
            [
                (True, "exercise: 128,000 instructions (at most 128,000): passed"),
                (False, "hot GET: 48,001 instructions (at most 48,000): FAILED"),
            ],
        )

    def test_kinds_that_are_dearer(self) -> None:
        """Kinds of requests that take more are named, if that has a meaning."""
        before = {"exercise": 1_000.0, "404": 1_000.0, "PUT": 1_000.0}
        now = {"exercise": 900.0, "404": 1_002.0, "PUT": 1_004.0}
        self.assertEqual(self.verdict.dearer(now, before), ["PUT"])

    def test_table(self) -> None:
        """A table has a row a kind, and the change where two commits are compared."""
        columns = {"now": {"404": 1030.0}, "then": {"404": 1000.0}}
        lines = list(self.verdict.table("instructions", columns, ["404"]))
        self.assertEqual(lines[1].split(), ["404", "1,030", "1,000", "+3.00%"])


class MainTests(SynchronousTestCase):
    """What the command says at the end."""

    def setUp(self) -> None:
        """Import."""
        self.instructions = load("instructions")

    def run_main(
        self, now: float, before: float, mode: str = "in process"
    ) -> tuple[bool, str]:
        """Return whether it passed, and what was printed of these figures."""
        kinds = load("kinds")
        columns = {
            "this checkout": dict.fromkeys([kinds.MIX, *kinds.KINDS], now),
            "before": dict.fromkeys([kinds.MIX, *kinds.KINDS], before),
        }
        arguments = ["instructions", "--against", "before", "--work", "work"]
        printed = io.StringIO()
        with (
            patch.object(sys, "argv", arguments),
            patch.object(self.instructions, "measure", lambda *_: {mode: columns}),
            contextlib.redirect_stdout(printed),
        ):
            return self.instructions.main(), printed.getvalue()

    def test_processors(self) -> None:
        """The processors are chosen once, as a server leaves this process only one."""
        chosen = iter([(1, 0)])
        self.patch(self.instructions, "choose_cores", lambda: next(chosen))
        self.addCleanup(self.instructions._cores.cache_clear)
        self.instructions._cores.cache_clear()
        self.assertEqual(self.instructions._cores(), (1, 0))
        self.assertEqual(self.instructions._cores(), (1, 0))

    def test_dearer(self) -> None:
        """It fails where the exercise takes more than 3 % more."""
        passed, printed = self.run_main(103_100, 100_000)
        self.assertFalse(passed)
        self.assertIn("in process: the exercise takes +3.10% instructions", printed)

    def test_daemon(self) -> None:
        """In the daemon it also fails where a limit is exceeded."""
        passed, printed = self.run_main(48_001, 50_000, "daemon")
        self.assertFalse(passed)
        self.assertIn("daemon: hot GET: 48,001 instructions", printed)
        self.assertIn("daemon: dearer than before: -\n", printed)
        passed, _ = self.run_main(48_000, 50_000, "daemon")
        self.assertTrue(passed)

    def test_not_dearer(self) -> None:
        """It passes where the exercise takes a little more."""
        passed, _ = self.run_main(102_900, 100_000)
        self.assertTrue(passed)


class DriverTests(SynchronousTestCase):
    """The service in the process that counts."""

    def drive(self, what: str, directory: Path) -> subprocess.CompletedProcess[str]:
        """Send a few requests of each kind."""
        driver = str(BENCHMARKS / "in_process.py")
        return subprocess.run(
            [sys.executable, driver, "storage", what, "1", "1", "2"],
            cwd=directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )

    def test_answers(self) -> None:
        """Each request of each kind is answered as it must be."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for what in ("prepare", "measure"):
            done = self.drive(what, directory)
            self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_profile(self) -> None:
        """The functions that each part of each load called are written."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for what in ("prepare", "profile"):
            done = self.drive(what, directory)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
        loads = json.loads((directory / "calls.json").read_text(encoding="utf-8"))
        self.assertEqual([len(parts) for parts in loads], [3] * 10)
        for _, smaller, larger in loads:
            name = "asciid/http/_channel.py Channel.dataReceived"
            self.assertEqual(larger[name][0], 2 * smaller[name][0])

    def test_wrong_answers(self) -> None:
        """An answer that is not the expected one ends it: the figure would be wrong."""
        directory = Path(self.mktemp())
        directory.mkdir()
        done = self.drive("measure", directory)  # nothing was stored before
        self.assertEqual(done.returncode, 1)
        self.assertIn("status 404", done.stdout)


class CommitTests(SynchronousTestCase):
    """The commit to compare with."""

    def setUp(self) -> None:
        """Import, and make a repository of two commits."""
        self.instructions = load("instructions")
        self.error = load("process").BenchmarkError
        self.repository = Path(self.mktemp()).resolve()
        self.git("init", "--quiet", self.repository)
        for message in ("first", "second"):
            (self.repository / "asciid").write_text(message, encoding="ascii")
            self.git("-C", self.repository, "add", "asciid")
            self.git("-C", self.repository, "commit", "--quiet", "-m", message)
        self.first = self.git("-C", self.repository, "rev-parse", "HEAD^")

    def git(self, *arguments: str | Path) -> str:
        """Run git, without the settings of the user, and return what it prints."""
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        command = [program("git"), *identity, *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.strip()

    def use(self, clone: Path) -> None:
        """Have commits of `clone` resolved."""
        self.patch(self.instructions, "ROOT", clone)

    def test_files(self) -> None:
        """The files of a commit are those it had, whatever is there now."""
        self.use(self.repository)
        work = Path(self.mktemp()).resolve()
        work.mkdir()
        tree = self.instructions.extract(self.instructions.resolve(self.first), work)
        self.assertEqual((tree / "asciid").read_text(encoding="ascii"), "first")

    def test_unknown(self) -> None:
        """A commit that does not exist is an error that names it."""
        self.use(self.repository)
        with self.assertRaises(self.error) as caught:
            self.instructions.resolve("0" * 40)
        self.assertEqual(str(caught.exception), f"this clone has no commit {'0' * 40}")

    def test_shallow(self) -> None:
        """In a shallow clone the error says how to fetch the commit."""
        clone = Path(self.mktemp()).resolve()
        self.git("clone", "--quiet", "--depth=1", f"file://{self.repository}", clone)
        self.use(clone)
        with self.assertRaises(self.error) as caught:
            self.instructions.resolve(self.first)
        self.assertIn("git fetch --unshallow", str(caught.exception))

    def test_baseline(self) -> None:
        """The baseline of CI is the full hash of a commit, and nothing else."""
        baseline = (BENCHMARKS / "baseline").read_text(encoding="ascii")
        self.assertTrue(re.fullmatch(r"[0-9a-f]{40}\n", baseline), baseline)
