"""Durability when a daemon ends under load."""

from __future__ import annotations

import random

from tests.integration._case import DaemonTestCase
from tests.integration._load import Load

ROUNDS = 4
"""The fault suite has more."""


class CrashTests(DaemonTestCase):
    """Unprepared ends."""

    async def test_kill_nine(self) -> None:
        """
        Killed at any instant of a load, several times over, the daemon starts
        again with all that it had acknowledged.
        """
        daemon = self.daemon()
        loads = []
        for _ in range(ROUNDS):
            load = Load(self, daemon)
            over = load.start()
            await self.sleep(random.uniform(0.1, 0.5))
            daemon.kill()
            await over
            daemon.start()
            await load.check(daemon)
            loads.append(load)
        self.assertGreater(sum(load.acknowledged for load in loads), 10 * ROUNDS)
        daemon.stop()

    async def test_terminate(self) -> None:
        """Stopped by SIGTERM in mid-load, it keeps acknowledged writes."""
        daemon = self.daemon("--no-sync")
        load = Load(self, daemon)
        over = load.start()
        await self.sleep(0.5)
        daemon.stop()
        await over
        self.assertGreater(load.acknowledged, 10)
        daemon.start()
        await load.check(daemon)
        daemon.stop()
