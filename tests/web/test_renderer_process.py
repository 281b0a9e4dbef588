"""The process that renders, as it is started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from coverage import Coverage
from twisted.trial.unittest import SynchronousTestCase

from asciid import __version__
from asciid.web.jobs import (
    PREFIX,
    Failed,
    Ready,
    Rendered,
    UploadJob,
    ViewerJob,
    decode_answer,
    framed,
)
from asciid.web.pages import PageImage, Site, UploadPage, ViewerPage
from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from asciid.web.jobs import AnyAnswer, AnyJob

UPLOAD = UploadJob(page=UploadPage(site=Site(url="https://art.example")))
IMAGE = PageImage(sha256="0" * 64, id="0" * 12, size=3, completed=0)


PATIENCE = 60  # seconds


def _measured() -> list[str]:
    """Return the words that have the process measured as this one is, if it is."""
    if Coverage.current() is None:
        return []
    settings = [f"--rcfile={ROOT / 'pyproject.toml'}", f"--data-file={ROOT}/.coverage"]
    return ["-m", "coverage", "run", *settings]


class ProcessTests(SynchronousTestCase):
    """The process that renders."""

    def setUp(self) -> None:
        """Start it, as its client does."""
        self.process = subprocess.Popen(
            [sys.executable, "-P", *_measured(), "-m", "asciid.web._renderer_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.addCleanup(self.end)
        self.assertEqual(self.receive(), Ready(version=__version__))

    def end(self) -> None:
        """Close its pipes, which ends it."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def receive(self) -> AnyAnswer:
        """Return the next answer."""
        pipe = self.process.stdout
        assert pipe is not None
        size = int.from_bytes(pipe.read(PREFIX), "big")
        return decode_answer(pipe.read(size))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        pipe = self.process.stdin
        assert pipe is not None
        pipe.write(data)
        pipe.flush()

    def do(self, job: AnyJob) -> AnyAnswer:
        """Have it do a job."""
        self.send(framed(job))
        return self.receive()

    def test_jobs(self) -> None:
        """It does jobs, of any size, and survives what is none."""
        answer = self.do(UPLOAD)
        assert isinstance(answer, Rendered)
        self.assertIn(b"<form", answer.body)
        page = ViewerPage(site=Site(url="https://art.example"), image=IMAGE)
        rows = ("\x1b[31m#\x1b[32m#" * 400 + "\n") * 60
        answer = self.do(ViewerJob(page=page, text=rows.encode()))
        assert isinstance(answer, Rendered)
        self.assertGreater(len(answer.body), 100_000)
        self.send(b"\0\0\0\4junk")
        failed = self.receive()
        assert isinstance(failed, Failed)
        self.assertIn("Error", failed.report)
        self.assertIsInstance(self.do(UPLOAD), Rendered)

    def test_signals(self) -> None:
        """It ignores the signals that are for the daemon, and ends with its input."""
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            self.process.send_signal(number)
        self.assertIsInstance(self.do(UPLOAD), Rendered)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.assertEqual(self.process.wait(), 0)
        assert self.process.stderr is not None
        self.assertEqual(self.process.stderr.read(), b"")

    def test_other_end_closed(self) -> None:
        """It exits quietly if nobody reads its answers."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.send(framed(UPLOAD))
        self.assertEqual(self.process.wait(), 0)
        assert self.process.stderr is not None
        self.assertEqual(self.process.stderr.read(), b"")

    def test_limits(self) -> None:
        """It is nice, may use bounded memory and time, and has no other descriptors."""
        proc = Path(f"/proc/{self.process.pid}")
        self.do(UPLOAD)
        limits = (proc / "limits").read_text()
        self.assertIn(f"{768 * 1024 * 1024}", limits.partition("Max address space")[2])
        time_limit = limits.partition("Max cpu time")[2].split()[0]
        self.assertLess(int(time_limit), 20)
        # The name of the process, in parentheses, may have spaces.
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        self.assertEqual(int(fields[16]), min(19, os.nice(0) + 10))
        self.assertEqual((proc / "oom_score_adj").read_text().strip(), "500")
