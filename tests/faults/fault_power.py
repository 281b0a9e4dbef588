"""Power cuts: writes that had not reached the disk are lost."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from attrs import define, field

from tests.faults._case import FaultTestCase
from tests.faults._disk import LoopDisk
from tests.faults._load import Load, Record
from tests.faults._needs import need_loop
from tests.integration._daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = int(os.environ.get("ASCIID_POWER_CUTS", "5"))
"""How many power cuts a run makes."""


@define(eq=False)
class _Machine:
    """A daemon whose storage is on a disk of its own."""

    disk: LoopDisk
    daemon: Daemon
    acknowledged: int = field(init=False, default=0)
    blocks: int = field(init=False, default=0)
    """Images that were blocked."""

    @property
    def storage(self) -> Path:
        """The storage directory."""
        return self.disk.directory / "storage"

    @classmethod
    def in_directory(cls, directory: Path, *options: str) -> _Machine:
        """Return one that keeps all it needs in `directory`."""
        disk = LoopDisk(directory / "disk")
        storage = ("--storage", str(disk.directory / "storage"))
        return cls(disk, Daemon(directory, (*storage, *options)))

    def start(self) -> None:
        """Switch it on."""
        self.disk.mount()
        self.daemon.start()

    def run(self, seconds: float) -> Record:
        """Serve clients; cut the power while they upload."""
        with Load(self.daemon.port, storage=self.storage) as load:
            load.run_for(seconds)
            self.disk.cut_power()
            # Writes acknowledged from now on must be durable as well.
            load.run_for(0.05)
            self.daemon.kill()
        self.disk.unmount()
        self.blocks += load.blocks
        return load.record

    def destroy(self) -> None:
        """Delete all of it."""
        self.daemon.kill()
        self.disk.destroy()


class PowerCutTests(FaultTestCase):
    """The power fails while clients upload."""

    def setUp(self) -> None:
        """Require loop devices."""
        super().setUp()
        need_loop()

    def machine(self, *options: str) -> _Machine:
        """Return a machine that is off, and new."""
        machine = _Machine.in_directory(self.directory, *options)
        self.addCleanup(machine.destroy)
        machine.disk.make()
        return machine

    def test_nothing_is_lost(self) -> None:
        """
        Each registration, chunk, last chunk and PUT that was answered with 201
        before a power cut is there after it, byte for byte, and so are about records
        and blocks; the listing agrees with them.
        """
        machine = self.machine()
        machine.start()
        records = []
        slowest = 0.0
        for _ in range(ROUNDS):
            records.append(machine.run(random.uniform(0.02, 0.6)))
            machine.disk.mount()
            slowest = max(slowest, self.restart(machine.daemon))
            self.assert_consistent(machine.storage)
            self.assert_kept(machine.daemon, records[-1])
        for record in records:
            self.assert_kept(machine.daemon, record)
        acknowledged = sum(len(record.acknowledged) for record in records)
        self.assertGreater(acknowledged, 20 * ROUNDS)
        self.report(
            f"{ROUNDS} power cuts, {acknowledged} acknowledged, {machine.blocks} "
            f"blocked, 0 lost, serving again within {slowest:.2f} s"
        )

    def test_first_start(self) -> None:
        """A storage that was made moments before a power cut survives it too."""
        for _ in range(2):
            machine = self.machine()
            machine.start()
            record = machine.run(0.1)
            machine.start()
            self.assertTrue(record.acknowledged)
            self.assert_kept(machine.daemon, record)
            machine.destroy()

    def test_no_sync(self) -> None:
        """
        With ``--no-sync`` a power cut loses acknowledged writes, as documented:
        so the tests above can fail.
        """
        machine = self.machine("--no-sync")
        machine.start()
        record = machine.run(0.3)
        machine.start()
        self.assertTrue(record.acknowledged)
        violations = record.violations(machine.daemon)
        self.assertNotEqual(violations, [])
        self.report(
            f"{len(record.acknowledged)} acknowledged, and then {len(violations)} "
            f"of {len(record.uploads)} images not as they were"
        )
        self.assertIn("sync is off", machine.daemon.log)
