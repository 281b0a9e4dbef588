"""The working directory is not a place that modules are imported from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests._commands import CommandTestCase
from tests.integration._daemon import ROOT, Daemon, environment

SHADOWED = ("http", "lmdb", "msgspec", "re", "secrets", "socket", "tomllib", "urllib")
"""Modules that the daemon, its children or the health check import."""

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "Dockerfile",
    ".ci/run",
    *("docs", "contrib", "script", "asciid", "changelog.d"),
)
"""Files that document or run commands."""


def shadow(directory: Path) -> None:
    """Fill `directory` with modules that leave a file behind when imported."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in SHADOWED:
        code = f"open({str(directory / f'{name}.ran')!r}, 'w').close()\n"
        (directory / f"{name}.py").write_text(code)
    package = directory / "asciid"
    package.mkdir()
    (package / "__init__.py").write_text(
        f"open({str(directory / 'asciid.ran')!r}, 'w').close()\n"
    )


class WorkingDirectoryTests(CommandTestCase):
    """A working directory that has modules by the names of others."""

    def setUp(self) -> None:
        """Make it."""
        self.directory = Path(self.mktemp()).resolve()
        shadow(self.directory)

    def assert_none_ran(self) -> None:
        """Check that none of its modules was imported."""
        self.assertEqual(sorted(self.directory.glob("*.ran")), [])

    def test_daemon(self) -> None:
        """Neither the daemon nor a process that it starts executes them."""
        for number, options in enumerate(((), ("--workers=2",))):
            daemon = Daemon(self.directory, options, name=f"daemon-{number}")
            self.addCleanup(daemon.kill)
            daemon.start().stop()
            self.assert_none_ran()
            shutil.rmtree(self.directory / "asciid-storage")

    def test_health_check(self) -> None:
        """Nor does the container's health check."""
        dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        (check,) = re.findall(r'CMD (\["python".*\])', dockerfile)
        code = subprocess.run(
            [sys.executable, *json.loads(check)[1:], "http://127.0.0.1:1"],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        ).returncode
        self.assertEqual(code, 1)
        self.assert_none_ran()

    def test_commands(self) -> None:
        """Nor do the commands."""
        asciid = str(Path(sys.executable).with_name("asciid"))
        self.run_command(asciid, "config", cwd=self.directory)
        self.assert_none_ran()

    def test_documents(self) -> None:
        """Each `python -m asciid...` that is written down has -P."""
        found = 0
        for name in DOCUMENTS:
            path = ROOT / name
            files = [path] if path.is_file() else sorted(path.rglob("*"))
            for file in files:
                if not file.is_file() or file.suffix in {".pyc", ".json", ".png"}:
                    continue
                for call in re.findall(
                    r"""python3?['"]?,? *(.*?)-m['"]?,? *['"]?asciid""",
                    file.read_text(encoding="utf-8"),
                ):
                    self.assertIn("-P", call, file)
                    found += 1
        self.assertGreater(found, 5)
