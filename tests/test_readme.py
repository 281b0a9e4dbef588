"""Runs the commands in the README and the Dockerfile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from asciid import __version__
from asciid.config.settings import SETTINGS
from asciid.tap import Options
from tests._commands import CommandTestCase, code_blocks
from tests.integration._daemon import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return the text below a heading."""
    _, _, rest = README.partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def commands(title: str) -> list[str]:
    """Return the commands below a heading: its indented lines."""
    return re.findall(r"^    (.*)$", section(title), re.MULTILINE)


def instruction(name: str) -> str:
    """Return the arguments of the last such instruction in the Dockerfile."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return str(re.findall(rf"^{name}\s+(.*)$", joined, re.MULTILINE)[-1])


class ReadmeTests(CommandTestCase):
    """Each command of the README."""

    def test_two_commands(self) -> None:
        """The scripts install what they need, if missing, and run it."""
        serve, test, simulate = commands("Two commands")
        self.assertEqual((serve, test), ("script/serve", "script/test"))
        self.assertTrue(simulate.startswith(".venv/bin/asciid simulate "))
        if not (ROOT / ".venv" / "installed-dev").exists():
            message = "script/test has not set up .venv; this would take minutes"
            raise SkipTest(message)
        self.assertEqual(
            self.run_command(serve, "--version"), f"asciid {__version__}\n"
        )
        self.assertIn("PASSED", self.run_command(test, "tests.test_readme.LayoutTests"))

    def test_simulate(self) -> None:
        """The client is called as it can be called, if with fewer images."""
        program, *arguments = commands("Two commands")[2].split()
        self.assertEqual(program, ".venv/bin/asciid")
        daemon = self.start_daemon()
        output = self.run_command(
            *(sys.executable, "-m", "asciid"),
            *(*arguments, "-files", "2"),
            *("-host", "127.0.0.1", "-port", str(daemon.port)),
        )
        self.assertIn("SUCCESS!", output)
        daemon.stop()

    def test_one_liner(self) -> None:
        """The first command answers with the link of what it sends."""
        ((language, session),) = code_blocks(README.partition("\n## ")[0])
        self.assertEqual(language, "sh")
        daemon = self.start_daemon()
        link = self.run_session(session, daemon)
        self.assertEqual(link, f"{daemon.url}/i/3c276f8da12d\n")
        daemon.stop()

    def test_pictures(self) -> None:
        """Each picture exists, and has an alternative text."""
        pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
        self.assertEqual(len(pictures), 2)
        for text, path in pictures:
            self.assertGreater(len(text), 20)
            self.assertTrue((ROOT / path).is_file(), path)

    def test_curl(self) -> None:
        """Pasted into a shell, the session registers, uploads and downloads."""
        daemon = self.start_daemon()
        ((language, session),) = code_blocks(section("By hand"))
        self.assertEqual(language, "sh")
        output = self.run_session(session, daemon)
        self.assertEqual(len(re.findall("^HTTP/1.1 201 ", output, re.MULTILINE)), 3)
        self.assertTrue(output.endswith(" /\\_/\\\n( o.o )\n > ^ <\n"), output)
        daemon.stop()

    def test_client(self) -> None:
        """The commands and the script share an image, after the commands above."""
        daemon = self.start_daemon()
        ((_, session),) = code_blocks(README.partition("\n## ")[0])
        self.run_session(session, daemon)
        (shell, session), (language, script) = code_blocks(section("Client"))
        self.assertEqual((shell, language), ("sh", "python"))
        command = f'asciid() {{ {sys.executable} -m asciid "$@"; }}\n'
        server = f"export ASCIID_SERVER={daemon.url}\n"
        output = self.run_command(
            "sh", "-euc", command + server + session, cwd=daemon.directory
        )
        fish, *about, listed, _ = output.splitlines()
        self.assertRegex(listed, rf"^{daemon.url}/i/3d46b63d4a0b  .*  A fish$")
        self.assertEqual(fish, "><(((`>")
        said = ["title: A fish", "author: Ada", "licence: CC0-1.0", "listed: yes"]
        self.assertEqual(about[-len(said) :], said)
        self.assertEqual(script.count("http://localhost:4444"), 1)
        script = script.replace("http://localhost:4444", daemon.url)
        output = self.run_command(sys.executable, "-c", script, cwd=daemon.directory)
        self.assertIn("Progress(done=8, total=8, retries=0)", output)
        self.assertIn("ImageState.COMPLETE", output)
        copy = (daemon.directory / "copy.txt").read_text(encoding="utf-8")
        self.assertEqual(copy, "><(((`>\n")
        daemon.stop()

    def test_options(self) -> None:
        """The table has every option, with its variable and its default."""
        rows = re.findall(
            r"^\| `--(.*?)` \| `(.*?)` \| `(.*?)` \|", section("Options"), re.MULTILINE
        )
        self.assertEqual(
            rows,
            [
                (setting.option, setting.variable, setting.default)
                for setting in SETTINGS
            ],
        )
        # tests.integration.test_daemon runs this one.
        self.assertIn("`twistd --nodaemon --python asciid.tac`", section("Options"))

    def test_no_other_commands(self) -> None:
        """A test here runs the commands of every section."""
        titles = re.findall(r"^## (.*)$", README, re.MULTILINE)
        with_code = [
            title for title in titles if commands(title) or "```" in section(title)
        ]
        self.assertEqual(
            with_code, ["Two commands", "Container", "By hand", "Client", "Layout"]
        )
        self.assertEqual(README.count("```"), 8)


class LayoutTests(SynchronousTestCase):
    """The README's map of the checkout."""

    def test_places_exist(self) -> None:
        """Each place that the map names is there."""
        for line in commands("Layout"):
            places = re.split(r"\s{2,}", line)[0].split(", ")
            parent = Path(places[0]).parent
            for place in places:
                path = ROOT / (place if "/" in place else parent / place)
                self.assertTrue(path.exists(), path)

    def test_every_package(self) -> None:
        """Each package has tests; `tests.test_imports` sees that the page has it."""
        for initial in (ROOT / "asciid").glob("*/__init__.py"):
            name = initial.parent.name
            self.assertTrue((ROOT / "tests" / name / "__init__.py").exists(), name)


class ContainerTests(CommandTestCase):
    """The README's container is the Dockerfile's."""

    def test_run(self) -> None:
        """Ports, volumes and settings of the README match the image."""
        build, run = commands("Container")
        self.assertEqual(build, "docker build -t recruitment/candidate .")
        self.assertEqual(run, "docker run -d -p 4444:4444 recruitment/candidate")
        self.assertEqual(instruction("EXPOSE"), "4444")
        (volume,) = json.loads(instruction("VOLUME"))
        self.assertIn(f"`{volume}`", section("Container"))
        self.assertIn(f"ASCIID_STORAGE={volume}", instruction("ENV"))
        self.assertNotIn(instruction("USER"), ("root", "0"))

    def test_command(self) -> None:
        """It runs twistd in the foreground, with options that asciid has."""
        program, *arguments = json.loads(instruction("CMD"))
        self.assertEqual(program, "twistd")
        split = arguments.index("asciid")
        self.assertEqual(arguments[:split], ["--nodaemon", "--pidfile="])
        options = Options({})
        options.parseOptions(arguments[split + 1 :])
        self.assertEqual(options.settings.port, "4444")

    def test_health_check(self) -> None:
        """The health check passes while a daemon serves, and not afterwards."""
        check = instruction("HEALTHCHECK")
        program, *arguments = json.loads(check[check.index("CMD") + len("CMD") :])
        self.assertEqual(program, "python")
        daemon = self.start_daemon()
        command = [sys.executable, *arguments, f"http://127.0.0.1:{daemon.port}"]
        self.assertIn('"ready":true', self.run_command(*command))
        daemon.stop()
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, timeout=60, check=False
        )
        self.assertEqual(done.returncode, 1)
