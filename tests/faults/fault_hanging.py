"""Several processes on one port, of which one hangs, or only seems to."""

from __future__ import annotations

import os
import signal
import time

from asciid.workers._watchdog import HEARTBEAT_INTERVAL, HEARTBEAT_TIMEOUT
from tests.faults._case import FaultTestCase
from tests.faults._client import Connection
from tests.faults._load import Load, Upload
from tests.faults._needs import need_tracing
from tests.faults._strace import Injection

_PATIENCE = HEARTBEAT_TIMEOUT + 4 * HEARTBEAT_INTERVAL
"""Seconds within which a process that hangs must have been replaced."""


class HangingTests(FaultTestCase):
    """A daemon with three workers."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        self.running = self.daemon("--workers", "3")
        self.before = self.processes()

    def processes(self) -> set[int]:
        """Return the process ids of the workers and of the one that writes."""
        roles = ("worker", "writer")
        return {pid for role in roles for pid in self.running.children(role)}

    def test_hang(self) -> None:
        """One of each kind hangs: both are replaced, and the reason is logged."""
        hung = {self.running.children(role)[0] for role in ("worker", "writer")}
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        # The log is written a moment later.
        while len(self.processes() - hung) < len(self.before) or self.running.log.count(
            "no heartbeat for"
        ) < len(hung):
            self.assertLess(time.monotonic(), began + _PATIENCE, self.running.log)
            time.sleep(0.1)
        self.report(f"replaced {time.monotonic() - began:.0f} s after they had hung")
        self.assertEqual(self.running.log.count("no heartbeat for"), len(hung))
        with Load(self.running.port) as load:
            self.assertTrue(load.progresses(100))
        self.assert_kept(self.running, load.record)
        self.assertEqual((load.cut, load.half), (0, 0))
        self.running.stop()

    def test_stopped_parent(self) -> None:
        """A parent that was stopped itself does not take its children for hung."""
        os.kill(self.running.pid, signal.SIGSTOP)
        with Load(self.running.port) as load:
            self.assertTrue(load.progresses(100))
        time.sleep(_PATIENCE)
        os.kill(self.running.pid, signal.SIGCONT)
        time.sleep(3 * HEARTBEAT_INTERVAL)
        self.assert_kept(self.running, load.record)
        self.assertEqual((load.cut, load.half), (0, 0))
        self.assertEqual(self.processes(), self.before)
        self.running.stop()

    def test_slow_disk(self) -> None:
        """A process that waits for a disk that hangs for longer is left alone."""
        need_tracing()
        (writer,) = self.running.children("writer")
        upload = Upload.sized(200, whole=True)
        slow = Injection(
            writer,
            "fdatasync",
            f"delay_enter={round(_PATIENCE * 1e6)}:when=1",
            self.data_file,
            self.directory / "trace",
        )
        with slow, Connection(self.running.port, 2 * _PATIENCE) as client:
            began = time.monotonic()
            answer = client.request("PUT", upload.target, upload.content)
            self.assertGreater(time.monotonic() - began, _PATIENCE)
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.processes(), self.before)
        self.running.stop()
