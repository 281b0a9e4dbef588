"""Tests of ``asciid simulate`` as a load tool, against servers in memory."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from unittest.mock import patch

from attrs import frozen
from treq.testing import RequestTraversalAgent
from twisted.trial.unittest import SynchronousTestCase

from asciid.cli import main
from asciid.cli._dependencies import Dependencies
from tests.client.fakes import FakeReactor, StuckAgent, TickingReactor
from tests.client.servers import Server

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@frozen
class _Outcome:
    code: object
    out: str
    err: str

    @property
    def operations(self) -> dict[str, dict[str, float]]:
        """The rows of the table as JSON, by the names of the operations."""
        rows = json.loads(self.out)["operations"]
        return {row.pop("operation"): row for row in rows}


def _plain(text: str) -> str:
    """Return `text` without control sequences (ECMA-48, CSI)."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class LoadTestCase(SynchronousTestCase):
    """Runs simulations."""

    def simulate(
        self,
        server: Server,
        *args: str,
        dependencies: Dependencies | None = None,
        out: type[io.StringIO] = io.StringIO,
    ) -> _Outcome:
        """Run a simulation against `server`, or in `dependencies`."""
        memory = RequestTraversalAgent(server.app.resource())
        stdout, stderr = out(), io.StringIO()
        self.patch(sys, "stdout", stdout)
        self.patch(sys, "stderr", stderr)
        if dependencies is None:
            dependencies = Dependencies(TickingReactor(memory), memory)
        with self.assertRaises(SystemExit) as end:
            main.main(["simulate", "-seed=1", *args], dependencies)
        return _Outcome(end.exception.code, stdout.getvalue(), stderr.getvalue())


class FaultsTests(LoadTestCase):
    """Simulations on a bad network."""

    def test_success(self) -> None:
        """Chunks are cut off and repeated by the seed; each is stored once."""
        outcomes = []
        for _ in range(2):
            server = Server()
            outcome = self.simulate(
                server, "-files=6", "-chunksize=50", "--faults", "--json"
            )
            self.assertEqual(outcome.code, 0, outcome.err)
            self.assertIn("SUCCESS!", outcome.err)
            counts = {name: row["ok"] for name, row in outcome.operations.items()}
            outcomes.append((counts, server.order))
        self.assertEqual(*outcomes)
        counts, order = outcomes[0]
        self.assertGreater(counts["chunk cut off"], 0)
        self.assertGreater(counts["chunk repetition"], 0)
        self.assertEqual(
            len(order), counts["chunk upload"] + counts["chunk repetition"]
        )

    def test_accepted_twice(self) -> None:
        """A server that accepts a chunk again is found."""
        server = Server()
        server.repetition = 201
        outcome = self.simulate(server, "-files=6", "-chunksize=50", "--faults")
        self.assertEqual(outcome.code, 1)
        self.assertIn("the same chunk was accepted twice", outcome.out)

    def test_never_accepted(self) -> None:
        """A server that refuses a repeated chunk every time is found."""
        server = Server()
        server.chunk_status = 409
        outcome = self.simulate(
            server, "-files=20", "-chunksize=4096", "--faults", "--log-level=error"
        )
        self.assertEqual(outcome.code, 1)
        self.assertIn("chunk upload: the chunk was refused every time", outcome.out)

    def test_plain(self) -> None:
        """Without faults a chunk that is refused is an error, whatever refuses it."""
        server = Server()
        server.chunk_status = 409
        outcome = self.simulate(server, "-files=1")
        self.assertEqual(outcome.code, 1)
        self.assertIn("chunk upload: expected status 201, got 409", outcome.out)


class LimitsTests(LoadTestCase):
    """The amount of load."""

    def test_downloads(self) -> None:
        """Each image is downloaded `downloads` times, and compared each time."""
        outcome = self.simulate(
            Server(), "-files=3", "-downloads=20", "--json", "--log-level=error"
        )
        self.assertEqual((outcome.code, outcome.err), (0, ""))
        self.assertEqual(outcome.operations["image download"]["ok"], 60)
        server = Server()
        server.tail = "!"
        outcome = self.simulate(server, "-files=3", "-downloads=20", "--json")
        self.assertEqual(outcome.code, 1)
        self.assertEqual(json.loads(outcome.out)["images_ok"], 0)

    def test_duration(self) -> None:
        """Images begin until the time is over, at the rate; all are finished."""
        server = Server()
        outcome = self.simulate(server, "--duration=2s", "--rate=10", "--parallel=2")
        self.assertEqual(outcome.code, 0, outcome.out)
        self.assertEqual(len(server.images), 20)
        self.assertIn("SUCCESS!", outcome.out)
        self.assertNotIn(" files=", outcome.out.splitlines()[0])

    def test_whichever_first(self) -> None:
        """With a number of images as well, the first limit ends the run."""
        for files, expected in ((5, 5), (300, 20)):
            server = Server()
            outcome = self.simulate(
                server, "--duration=2", "--rate=10", f"--files={files}"
            )
            self.assertEqual(outcome.code, 0, outcome.out)
            self.assertEqual(len(server.images), expected)

    def test_wrong(self) -> None:
        """Wrong limits are one line and exit code 2."""
        for arg in ("--duration=soon", "--rate=-1", "--downloads=0", "-parallel=0"):
            outcome = self.simulate(Server(), arg)
            self.assertEqual(outcome.code, 2)
            self.assertEqual(outcome.err.count("\n"), 1)
            self.assertIn(arg.partition("=")[0], outcome.err)


class ReportTests(LoadTestCase):
    """Where the log and the table go."""

    HEADING = r"operation +ok +errors +per s +p50 ms +p99 ms +max ms"

    def test_pipe(self) -> None:
        """In a pipe there is the log, and no table."""
        outcome = self.simulate(Server(), "-files=2")
        self.assertTrue(outcome.out.endswith('msg="SUCCESS!"\n'))
        self.assertEqual(outcome.err, "")

    def test_table(self) -> None:
        """--table puts the table on standard error, errors included."""
        server = Server()
        server.tail = "!"
        outcome = self.simulate(server, "-files=2", "--table")
        self.assertRegex(outcome.err, f"^{self.HEADING}")
        self.assertRegex(outcome.err, r"\nimage registration +2 +0 +[0-9.,]+ ")
        self.assertRegex(outcome.err, r"\nimage download +0 +2 +0 *\n")
        self.assertIn("0 of 2 images and ", outcome.err)
        self.assertTrue(outcome.out.splitlines()[-1].endswith("files_not_ok=2"))

    def test_terminal(self) -> None:
        """On a terminal the table stands below the log, live and at the end."""
        self.patch(os, "environ", {**os.environ, "TERM": "xterm", "COLUMNS": "100"})
        outcome = self.simulate(Server(), "-files=9", "--rate=9", out=_Terminal)
        self.assertEqual((outcome.code, outcome.err), (0, ""))
        log, _, table = _plain(outcome.out).partition("SUCCESS!")
        self.assertRegex(table, self.HEADING)
        self.assertIn("9 of 9 images and ", table)
        states = [log.count(f"{number} of {number} images") for number in range(9)]
        self.assertGreater(sum(map(bool, states)), 2, states)
        self.assertEqual(log.count("image download: OK"), 9)

    def test_json_on_terminal(self) -> None:
        """With --json nothing but JSON is on standard output."""
        outcome = self.simulate(Server(), "-files=2", "--json", out=_Terminal)
        document = json.loads(outcome.out)
        self.assertEqual((document["success"], document["seed"]), (True, 1))
        self.assertEqual((document["images"], document["images_ok"]), (2, 2))
        self.assertEqual(
            document["requests"], sum(row["ok"] for row in document["operations"])
        )

    def test_interrupt(self) -> None:
        """An interrupt restores the cursor, and prints the results so far."""
        self.patch(os, "environ", {**os.environ, "TERM": "xterm", "COLUMNS": "100"})
        outcome = self.simulate(
            Server(),
            dependencies=Dependencies(FakeReactor(), StuckAgent()),
            out=_Terminal,
        )
        self.assertEqual(outcome.code, 130)
        log, _, table = outcome.out.partition("level=warning msg=interrupted")
        self.assertGreater(log.rindex(_SHOW_CURSOR), log.rindex(_HIDE_CURSOR))
        self.assertIn("0 of 8 images and 8 requests", table)

    def test_no_rich(self) -> None:
        """Without rich a terminal has the log, and --table says what to install."""
        with patch.dict(sys.modules, {"asciid.simulate._screen": None}):
            log = self.simulate(Server(), "-files=1", out=_Terminal).out
            outcome = self.simulate(Server(), "-files=1", "--table")
        self.assertTrue(log.endswith('msg="SUCCESS!"\n'))
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertEqual(
            outcome.err,
            "asciid: --table requires rich: pip install 'asciid[simulate]'\n",
        )
