"""Several ``asciid put`` at once, as processes that share a state directory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests._commands import CommandTestCase
from tests.integration._daemon import environment

_FILES = 12
_PATIENCE = 60  # seconds


class EditKeysTests(CommandTestCase):
    """Edit keys that a real service sends."""

    def test_at_once(self) -> None:
        """Of files that several processes upload at once, each one has its key."""
        daemon = self.start_daemon()
        state = Path(self.mktemp()).resolve()
        environ = environment(ASCIID_SERVER=daemon.url, XDG_STATE_HOME=str(state))
        names = [f"{number}.txt" for number in range(_FILES)]
        for name in names:
            (daemon.directory / name).write_text(name * 400, encoding="utf-8")
        asciid = [sys.executable, "-m", "asciid"]
        ways = ["--whole", "--chunk-size=500", "--chunked", "--whole"]
        putting = [
            subprocess.Popen(
                [*asciid, "put", way, "--json", *names],
                cwd=daemon.directory,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for way in ways
        ]
        hashes = set()
        for process in putting:
            self.addCleanup(process.kill)
            output, errors = process.communicate(timeout=_PATIENCE)
            self.assertEqual((process.returncode, errors), (0, b""))
            hashes |= {json.loads(line)["sha256"] for line in output.splitlines()}
        self.assertEqual(len(hashes), _FILES)
        (directory,) = (state / "asciid" / "edit-keys").iterdir()
        self.assertEqual({each.name for each in directory.iterdir()}, hashes)
        # Every key is the one that the service knows.
        subprocess.run(
            [*asciid, "rm", *hashes], env=environ, check=True, timeout=_PATIENCE
        )
        self.assertEqual(list(directory.iterdir()), [])
        daemon.stop()
