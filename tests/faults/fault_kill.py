"""Kills: at any instant, and before each system call of a commit."""

from __future__ import annotations

import random
from itertools import count

from tests.faults._case import FaultTestCase
from tests.faults._client import Connection, GoneError
from tests.faults._load import Load, Record, Upload, Uploader
from tests.faults._needs import need_tracing
from tests.faults._strace import WRITES, Injection

ROUNDS = 10


class RandomKillTests(FaultTestCase):
    """``kill -9`` at any instant."""

    def test_nothing_is_lost(self) -> None:
        """Writes acknowledged before each of several kills exist after it."""
        daemon = self.daemon()
        acknowledged, blocks, slowest = 0, 0, 0.0
        storage = self.data_file.parent
        for _ in range(ROUNDS):
            with Load(daemon.port, storage=storage) as load:
                load.run_for(random.uniform(0.02, 0.4))
                daemon.kill()
            slowest = max(slowest, self.restart(daemon))
            self.assert_consistent(storage)
            self.assert_kept(daemon, load.record)
            blocks += load.blocks
            acknowledged += len(load.record.acknowledged)
        daemon.stop()
        self.assertGreater(acknowledged, 20 * ROUNDS)
        self.assertGreater(blocks, ROUNDS)
        self.report(
            f"{ROUNDS} kills, {acknowledged} acknowledged, {blocks} blocked, 0 lost, "
            f"serving again within {slowest:.2f} s"
        )


class CommitKillTests(FaultTestCase):
    """The process ends before the Nth write or sync of a sequence of commits."""

    def setUp(self) -> None:
        """See that processes can be traced."""
        super().setUp()
        need_tracing()

    def test_each_call(self) -> None:
        """
        Wherever in a commit it was killed, the daemon restarts with all acknowledged
        writes, and pending ones are complete or absent.
        """
        daemon = self.daemon()
        for call in WRITES:
            for number in count(1):
                record = Record()
                fault = f"signal=SIGKILL:when={number}"
                trace = self.directory / "trace"
                with Injection(daemon.pid, call, fault, self.data_file, trace) as kill:
                    survived = self._upload(daemon.port, record)
                    if not survived:
                        kill.wait_until_gone()
                if survived:
                    self.assertFalse(kill.struck)
                    break
                daemon.kill()
                daemon.start()
                self.assert_kept(daemon, record)
            self.report(f"killed before each of {number - 1} calls of {call}")
            if call == "fdatasync":
                self.assertGreater(number, 4)
        daemon.stop()

    def _upload(self, port: int, record: Record) -> bool:
        """Send a registration, a chunk, a last one and a PUT; return if all succeed."""
        with Connection(port) as connection:
            uploader = Uploader(connection, record)
            try:
                uploader.upload(Upload.sized(300))
                uploader.upload(Upload.sized(9000, whole=True))
            except GoneError:
                return False
        return True
