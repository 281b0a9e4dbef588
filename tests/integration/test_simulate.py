"""``asciid simulate`` against a real daemon."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

from tests._commands import CommandTestCase

_SIMULATE = [sys.executable, "-m", "asciid"]
_DESCRIPTORS = 700
"""Fewer than 256 images of eight chunks each would take."""


class SimulateTests(CommandTestCase):
    """The simulator finds nothing wrong with the daemon."""

    def simulate(self, *args: str) -> dict[str, Any]:
        """Run a simulation against a daemon of its own; return its results."""
        daemon = self.start_daemon()
        where = ["--host=127.0.0.1", f"--port={daemon.port}"]
        command = shlex.join([*_SIMULATE, "simulate", *where, *args])
        limited = f"ulimit -n {_DESCRIPTORS} && exec {command}"
        output = self.run_command(
            "sh", "-c", f"{limited} --json --log-level error", cwd=daemon.directory
        )
        daemon.stop()
        results = json.loads(output)
        self.assertTrue(results["success"])
        return dict(results)

    def test_faults(self) -> None:
        """Chunks cut off and repeated, many at once: every image is stored intact."""
        results = self.simulate(
            *("--files=60", "--chunksize=100", "--parallel=20"),
            *("--faults", "--downloads=3", "--seed=7"),
        )
        self.assertEqual((results["images"], results["images_ok"]), (60, 60))
        rows = {row["operation"]: row for row in results["operations"]}
        self.assertEqual(rows["image download"]["ok"], 180)
        for operation in ("chunk cut off", "chunk repetition"):
            self.assertGreater(rows[operation]["ok"], 20)
        self.assertEqual([row["errors"] for row in rows.values()], [0] * 6)

    def test_parallel(self) -> None:
        """256 images at a time need no more descriptors than processes may have."""
        results = self.simulate("--files=256", "--chunksize=100", "--parallel=256")
        self.assertEqual((results["images"], results["images_ok"]), (256, 256))
