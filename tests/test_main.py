"""The ``asciid`` program, from its first line on."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from unittest.mock import Mock

from twisted.trial.unittest import SynchronousTestCase

from asciid import __main__
from asciid.cli import main

_PROGRAM = (sys.executable, "-m", "asciid")
_INTERRUPTING = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"


class CommandTests(SynchronousTestCase):
    """How the program begins, and how it ends when interrupted."""

    def test_entry(self) -> None:
        """The console script begins with the module that imports nothing."""
        (script,) = entry_points(group="console_scripts", name="asciid")
        self.assertIs(script.load(), __main__.main)

    def test_command(self) -> None:
        """It runs the command with the program's arguments."""
        command = Mock(side_effect=SystemExit(3))
        self.patch(main, "main", command)
        with self.assertRaises(SystemExit) as raised:
            __main__.main()
        command.assert_called_once_with()
        self.assertEqual(raised.exception.code, 3)

    def test_interrupt(self) -> None:
        """An interrupt that the command has not met is exit code 130."""
        self.patch(main, "main", Mock(side_effect=KeyboardInterrupt))
        with self.assertRaises(SystemExit) as raised:
            __main__.main()
        self.assertEqual(raised.exception.code, 130)

    def test_interrupt_of_imports(self) -> None:
        """Ctrl-C while Python still imports ends it with 130 and no word."""
        # The imports of the command, and those of `put`.
        for name in ("click", "treq"):
            directory = Path(self.mktemp()).absolute()
            directory.mkdir()
            (directory / f"{name}.py").write_text(_INTERRUPTING, encoding="ascii")
            path = os.pathsep.join([str(directory), *sys.path])
            ended = subprocess.run(
                # A shell has the commands in its background ignore SIGINT.
                ["env", "--default-signal=INT", *_PROGRAM, "put", "x"],
                check=False,
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                timeout=60,
            )
            self.assertEqual((ended.returncode, ended.stderr), (130, b""), name)

    def test_imports(self) -> None:
        """A command imports nothing that only other commands need."""
        code = (
            "import atexit, sys\n"
            "found = lambda: sys.stderr.write(str({'lmdb', 'treq'} & {*sys.modules}))\n"
            "atexit.register(found)\n"
            "from asciid.__main__ import main\n"
            "main()\n"
        )
        for command, imported in (("completion", "set()"), ("rm", "{'treq'}")):
            ended = subprocess.run(
                [sys.executable, "-c", code, command, "--help"],
                check=True,
                capture_output=True,
                encoding="ascii",
                timeout=60,
            )
            self.assertEqual(ended.stderr.strip(), imported)
