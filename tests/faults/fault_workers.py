"""Several processes on one port, of which one ends."""

from __future__ import annotations

import os
import random
import signal
import time

from tests.faults._case import FaultTestCase
from tests.faults._load import Load
from tests.faults._sockets import connections_of

WORKERS = 4
CLIENTS = 16
ROUNDS = 10

_PATIENCE = 90
"""Seconds until a process that is not replaced has failed the test."""


class WorkerFaultTests(FaultTestCase):
    """Processes that end under load."""

    def setUp(self) -> None:
        """Start four workers."""
        super().setUp()
        self.running = self.daemon("--workers", str(WORKERS))

    def wait_for_others(self, role: str, than: set[int], number: int) -> None:
        """Wait until so many processes have been replaced by others."""
        deadline = time.monotonic() + _PATIENCE
        while len(set(self.running.children(role)) - than) < number:
            self.assertLess(time.monotonic(), deadline, f"no other {role}")
            time.sleep(0.02)

    def test_workers_killed(self) -> None:
        """
        One of four workers is killed, ten times: nothing acknowledged is lost, and
        no more connections are cut than it had.
        """
        daemon, held = self.running, 0
        with Load(daemon.port, CLIENTS, reconnects=True) as load:
            for _ in range(ROUNDS):
                self.assertTrue(load.progresses())
                workers = daemon.children("worker")
                victim = random.choice(workers)
                # It may take no more connections from now on.
                os.kill(victim, signal.SIGSTOP)
                held += connections_of(victim, daemon.port)
                os.kill(victim, signal.SIGKILL)
                self.wait_for_others("worker", set(workers), 1)
            self.assertTrue(load.progresses())
        self.assert_kept(daemon, load.record)
        self.assertLessEqual(load.cut + load.half, held)
        self.assertEqual(load.record.refused.total(), 0)
        self._report(f"{ROUNDS} workers killed", load)
        daemon.stop()

    def test_writers_killed(self) -> None:
        """
        The process that writes is killed, ten times: nothing acknowledged is lost,
        no connection is cut, and service resumes by itself.
        """
        daemon, slowest = self.running, 0.0
        with Load(daemon.port, CLIENTS) as load:
            for _ in range(ROUNDS):
                self.assertTrue(load.progresses())
                (writer,) = daemon.children("writer")
                os.kill(writer, signal.SIGKILL)
                killed = time.monotonic()
                self.wait_for_others("writer", {writer}, 1)
                self.assertTrue(load.progresses(1))
                slowest = max(slowest, time.monotonic() - killed)
        self.assert_kept(daemon, load.record)
        self.assertEqual((load.cut, load.half), (0, 0))
        self._report(
            f"{ROUNDS} writers killed, writing again within {slowest:.2f} s", load
        )
        daemon.stop()

    def test_all_replaced(self) -> None:
        """
        SIGHUP replaces every process under load, and clients get nothing but responses
        to their requests.
        """
        daemon = self.running
        before = {*daemon.children("worker"), *daemon.children("writer")}
        with Load(daemon.port, CLIENTS) as load:
            self.assertTrue(load.progresses())
            os.kill(daemon.pid, signal.SIGHUP)
            self.wait_for_others("worker", before, WORKERS)
            self.wait_for_others("writer", before, 1)
            self.assertTrue(load.progresses())
        self.assert_kept(daemon, load.record)
        self.assertEqual((load.cut, load.half), (0, 0))
        self.assertEqual(load.record.refused.total(), 0)
        self._report("every process replaced", load)
        daemon.stop()

    def test_parent_killed(self) -> None:
        """
        When the parent is killed, the others end, the storage is whole, and the next
        daemon may be started at once.
        """
        daemon = self.running
        with Load(daemon.port, CLIENTS) as load:
            self.assertTrue(load.progresses())
            others = [*daemon.children("worker"), *daemon.children("writer")]
            daemon.kill()
            load.join()
        daemon.start()
        deadline = time.monotonic() + _PATIENCE
        while any(_runs(pid) for pid in others):
            self.assertLess(time.monotonic(), deadline, "a process outlives the parent")
            time.sleep(0.02)
        self.assert_kept(daemon, load.record)
        daemon.stop()

    def test_stopped(self) -> None:
        """SIGTERM under load: every answer that began is whole, and nothing is lost."""
        daemon = self.running
        with Load(daemon.port, CLIENTS) as load:
            self.assertTrue(load.progresses())
            daemon.stop()
            load.join()
        self.assertEqual(load.half, 0)
        daemon.start()
        self.assert_kept(daemon, load.record)
        daemon.stop()

    def _report(self, what: str, load: Load) -> None:
        self.report(
            f"{what}: {len(load.record.acknowledged)} acknowledged, 0 lost, "
            f"{load.cut + load.half} connections cut, "
            f"{load.record.refused.total()} requests refused"
        )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
