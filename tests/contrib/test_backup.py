"""The documented backup timer and restore procedure."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

from tests._commands import CommandTestCase
from tests._programs import program
from tests.integration._case import Art
from tests.integration._daemon import ROOT, Daemon

CONTRIB = ROOT / "contrib"
BACKUP = CONTRIB / "asciid-backup.service"
TIMER = CONTRIB / "asciid-backup.timer"

ASCIID = (sys.executable, "-P", "-m", "asciid")
"""The command, without an installed script."""


class BackupTestCase(CommandTestCase):
    """A daemon whose storage is backed up."""

    def setUp(self) -> None:
        """Start it, and store an image."""
        self.place = Path(self.mktemp()).resolve()
        self.storage = self.place / "lib"
        self.backups = self.place / "backups"
        self.backups.mkdir(parents=True)
        self.daemon = self.start_on("first")
        self.image = self.put()

    def start_on(self, name: str) -> Daemon:
        """Start a daemon on the storage."""
        daemon = Daemon(self.place, ["--storage", str(self.storage)], name=name)
        self.addCleanup(daemon.kill)
        return daemon.start()

    def request(self, method: str, path: str, body: bytes | None = None) -> int:
        """Return the status of a request."""
        connection = HTTPConnection("127.0.0.1", self.daemon.port, timeout=60)
        self.addCleanup(connection.close)
        connection.request(method, path, body, {"Content-Type": "text/plain"})
        return connection.getresponse().status

    def put(self) -> str:
        """Upload an image; return its path."""
        art = Art.random()
        path = f"/image/{art.spec.sha256}"
        self.assertEqual(self.request("PUT", path, art.text.encode()), 201)
        return path

    def placed(self, text: str) -> str:
        """Return commands with the paths and the user of the test."""
        user, group = (
            subprocess.check_output(["id", option], text=True).strip()
            for option in ("-un", "-gn")
        )
        for old, new in (
            ("/var/lib/asciid", str(self.storage)),
            ("/var/backups/asciid", str(self.backups)),
            ("http://localhost:4444", self.daemon.url),
            ("asciid:asciid", f"{user}:{group}"),
            ("-u asciid ", f"-u {user} "),
        ):
            text = text.replace(old, new)
        return text

    def run_shell(self, script: str) -> str:
        """Run commands as the user of the test, with the command of the checkout."""
        functions = (
            'runuser() { [ "$1 $2 $3" = "-u $(id -un) --" ]; shift 3; "$@"; }\n'
            f'asciid() {{ {shlex.join(ASCIID)} "$@"; }}\n'
        )
        return self.run_command("sh", "-euc", functions + script, cwd=self.place)


class UnitTests(CommandTestCase):
    """`contrib/asciid-backup.service` and its timer."""

    def test_verify(self) -> None:
        """systemd-analyze accepts them, with a low exposure."""
        analyze = program("systemd-analyze")
        place = Path(self.mktemp())
        place.mkdir()
        for unit in (BACKUP, TIMER):
            shutil.copy(unit, place)
        output = self.run_command(analyze, "verify", BACKUP.name, TIMER.name, cwd=place)
        self.assertNotIn("asciid-backup", output)
        self.run_command(
            *(analyze, "security", "--offline=true", "--threshold=15", BACKUP.name),
            cwd=place,
        )
        (when,) = re.findall(r"^OnCalendar=(.*)$", TIMER.read_text(), re.MULTILINE)
        self.assertIn("Next elapse", self.run_command(analyze, "calendar", when))


class TimerTests(BackupTestCase):
    """`contrib/asciid-backup.timer` and the service it starts."""

    def command(self, name: str) -> list[str]:
        """Return a command of the service, as systemd parses it."""
        (line,) = re.findall(rf"^{name}=(.*)$", BACKUP.read_text(), re.MULTILINE)
        line = self.placed(line.replace("%%", "%").replace("$$", "$"))
        *shell, script = shlex.split(line)
        return [*shell, script.replace("/opt/asciid/bin/asciid", shlex.join(ASCIID))]

    def test_run(self) -> None:
        """Each run backs up a running daemon, and deletes old backups only."""
        old, other, recent = (
            self.backups / name
            for name in ("2020-01-01T03-30-00Z", "monday", "2026-01-01T03-30-00Z")
        )
        for directory in (old, other, recent):
            directory.mkdir()
        for directory in (old, other):
            os.utime(directory, (0, 0))
        command = self.command("ExecStart")
        self.run_command(*command, cwd=self.place)
        self.run_command(*self.command("ExecStartPost"), cwd=self.place)
        self.assertFalse(old.exists())
        self.assertTrue(other.exists())
        self.assertTrue(recent.exists())
        (made,) = set(self.backups.iterdir()) - {other, recent}
        self.assertRegex(made.name, r"\A\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\Z")
        self.daemon.stop()
        self.storage = made
        self.daemon = self.start_on("second")
        self.assertEqual(self.request("GET", self.image), 200)


class RestoreTests(BackupTestCase):
    """The section of the manual, step by step."""

    def section(self) -> str:
        """Return it."""
        text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        return text.partition("\n## Restore\n")[2].partition("\n## ")[0]

    def commands(self, first: str) -> str:
        """Return the block of commands that begins with the line `first`."""
        blocks = re.findall(r"(?:^ {4}.*\n)+", self.section(), re.MULTILINE)
        (block,) = (block for block in blocks if block.strip().startswith(first))
        return re.sub("^ {4}", "", block, flags=re.MULTILINE)

    def back_up(self) -> None:
        """Make the backup that is restored."""
        destination = str(self.backups / "monday")
        self.run_command(*ASCIID, "backup", "--storage", str(self.storage), destination)

    def run_drill(self, commands: str) -> str:
        """Run commands, with those of systemd applied to the daemon of the test."""
        output = ""
        for line in commands.splitlines():
            match shlex.split(line):
                case ["systemctl", "stop", "asciid"]:
                    self.daemon.stop()
                case ["systemctl", "start", "asciid"]:
                    self.daemon = self.start_on("second")
                case _:
                    output += self.run_shell(self.placed(line))
        return output

    def test_drill(self) -> None:
        """
        The commands restore the state at the time of the backup beside a damaged
        storage, which is kept.
        """
        program("curl")
        self.back_up()
        later = self.put()
        drill = self.commands("systemctl stop asciid")
        self.assertEqual(len(drill.splitlines()), 8)
        output = self.run_drill(drill)
        self.assertIn('{"ready":true', output)
        self.assertEqual((self.daemon.images, self.daemon.pending), (1, 0))
        self.assertEqual(self.request("GET", self.image), 200)
        self.assertEqual(self.request("GET", later), 404)
        damaged = self.storage.with_name("lib.damaged")
        self.assertTrue((damaged / "data.mdb").exists())
        self.assertEqual(self.storage.stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.storage / "data.mdb").stat().st_mode & 0o777, 0o600)
        self.daemon.stop()

    def test_container(self) -> None:
        """The commands work in the container, in its working directory."""
        self.back_up()
        self.put()
        self.daemon.stop()
        block = self.commands("docker compose --file contrib/docker-compose.yml stop")
        (line,) = (line for line in block.splitlines() if " sh -euc " in line)
        script = shlex.split(line)[-1].replace("/backups/", f"{self.backups}/")
        self.run_command("sh", "-euc", script, cwd=self.storage)
        self.daemon = self.start_on("second")
        self.assertEqual((self.daemon.images, self.daemon.pending), (1, 0))
        self.assertEqual(self.request("GET", self.image), 200)
        self.assertTrue((self.storage / "damaged" / "data.mdb").exists())
