"""SIGTERM while clients upload."""

from __future__ import annotations

import os
import signal
import time

from tests.faults._case import FaultTestCase
from tests.faults._load import Load

CLIENTS = 32


class DrainTests(FaultTestCase):
    """The daemon is stopped under load."""

    def test_sigterm(self) -> None:
        """
        All acknowledged writes exist, no response is cut off, and the
        daemon ends within the time that it gives to requests under way.
        """
        daemon = self.daemon()
        slowest = 0.0
        for _ in range(3):
            with Load(daemon.port, CLIENTS) as load:
                load.run_for(0.4)
                began = time.monotonic()
                daemon.stop()
                slowest = max(slowest, time.monotonic() - began)
                load.join()
            self.assertEqual(load.half, 0)
            self.assertGreater(len(load.record.acknowledged), CLIENTS)
            daemon.start()
            self.assert_kept(daemon, load.record)
        self.assertLess(slowest, 10)
        self.report(f"ended within {slowest:.2f} s")

    def test_second_sigterm(self) -> None:
        """A second signal may cut requests off, but acknowledged writes are kept."""
        daemon = self.daemon()
        with Load(daemon.port, CLIENTS) as load:
            load.run_for(0.4)
            os.kill(daemon.pid, signal.SIGTERM)
            os.kill(daemon.pid, signal.SIGTERM)
            load.join()
            daemon._running().wait(30)
        daemon.start()
        self.assert_kept(daemon, load.record)
