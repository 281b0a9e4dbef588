"""The systemd unit and the Compose file: their commands and options exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from asciid.config.settings import SETTINGS, resolve
from asciid.tap import Options
from tests._commands import CommandTestCase
from tests._programs import program
from tests.integration._daemon import ROOT

CONTRIB = ROOT / "contrib"
UNIT = CONTRIB / "asciid.service"
COMPOSE = CONTRIB / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


class UnitTests(CommandTestCase):
    """`contrib/asciid.service`."""

    def setUp(self) -> None:
        """Load it."""
        lines = re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
        self.values: dict[str, str] = dict(lines)

    def test_command(self) -> None:
        """It runs twistd in the foreground, with existing options."""
        path, *arguments = shlex.split(self.values["ExecStart"])
        self.assertEqual(Path(path).name, "twistd")
        split = arguments.index("asciid")
        self.assertEqual(arguments[:split], ["--nodaemon", "--pidfile="])
        Options({}).parseOptions(arguments[split + 1 :])

    def test_storage(self) -> None:
        """The storage is the state directory, the only writable one."""
        name, value = self.values["Environment"].split("=")
        self.assertEqual(name, "ASCIID_STORAGE")
        self.assertEqual(value, f"/var/lib/{self.values['StateDirectory']}")
        self.assertEqual(self.values["ProtectSystem"], "strict")

    def test_service_manager(self) -> None:
        """It uses notifications, a watchdog and a log directory."""
        self.assertEqual(self.values["Type"], "notify")
        self.assertGreaterEqual(int(self.values["WatchdogSec"]), 30)
        self.assertEqual(self.values["LogsDirectory"], "asciid")
        self.assertEqual(self.values["SyslogIdentifier"], "asciid")
        self.assertGreater(int(self.values["LogRateLimitBurst"]), 10_000)

    def test_time_to_stop(self) -> None:
        """The stop timeout exceeds the drain timeout."""
        timeout = int(self.values["TimeoutStopSec"])
        self.assertGreater(timeout, resolve({}, {}).drain_timeout)

    def test_descriptors(self) -> None:
        """The limit of descriptors allows all connections."""
        limit = int(self.values["LimitNOFILE"])
        self.assertGreater(limit, resolve({}, {}).max_connections)

    def test_verify(self) -> None:
        """systemd-analyze accepts it, with a low exposure."""
        analyze = program("systemd-analyze")
        directory = Path(self.mktemp())
        directory.mkdir()
        there = UNIT.read_text("utf-8").replace("/opt/asciid/bin/twistd", "/bin/true")
        (directory / UNIT.name).write_text(there)
        output = self.run_command(analyze, "verify", UNIT.name, cwd=directory)
        self.assertNotIn(UNIT.name, output)
        output = self.run_command(
            *(analyze, "security", "--offline=true", "--threshold=15", UNIT.name),
            cwd=directory,
        )
        self.assertIn("Overall exposure level", output)


class ComposeTests(CommandTestCase):
    """`contrib/docker-compose.yml`."""

    def setUp(self) -> None:
        """Load it."""
        text = COMPOSE.read_text(encoding="utf-8")
        self.document: dict[str, Any] = yaml.safe_load(text)
        self.service = self.document["services"]["asciid"]

    def instruction(self, name: str) -> str:
        """Return the arguments of an instruction of the Dockerfile."""
        (found,) = re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)
        return str(found)

    def test_image(self) -> None:
        """The port, the volume and the build are those of the Dockerfile."""
        self.assertTrue((CONTRIB / self.service["build"] / "Dockerfile").is_file())
        (port,) = self.service["ports"]
        self.assertEqual(port.rpartition(":")[2], self.instruction("EXPOSE"))
        (volume,) = self.service["volumes"]
        name, path = volume.split(":")
        self.assertIn(name, self.document["volumes"])
        self.assertEqual([path], json.loads(self.instruction("VOLUME")))

    def test_read(self) -> None:
        """Compose accepts it."""
        compose = program("docker-compose")
        self.run_command(compose, "-f", str(COMPOSE), "config", "--quiet")

    def test_settings(self) -> None:
        """Each variable is a setting with a valid value."""
        environment = self.service["environment"]
        known = {setting.variable for setting in SETTINGS}
        self.assertLessEqual(set(environment), known)
        resolve({}, environment)

    def test_health(self) -> None:
        """The check is the image's; the stop timeout exceeds the drain timeout."""
        self.assertIn("\nHEALTHCHECK ", DOCKERFILE)
        self.assertNotIn("test", self.service["healthcheck"])
        grace = int(self.service["stop_grace_period"].removesuffix("s"))
        self.assertGreater(grace, resolve({}, {}).drain_timeout)
