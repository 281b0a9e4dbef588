"""A daemon with images, and scenarios that a browser plays against it."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests._programs import program
from tests.integration._daemon import ROOT, Daemon, environment

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SAMPLES", "BrowserCase", "Sample", "Sent", "send", "sent_all"]

_HERE = Path(__file__).parent
_PATIENCE = 600
"""Seconds for a scenario."""

SCREENSHOTS = Path(
    os.environ.get("ASCIID_SCREENSHOTS") or _HERE / "screenshots"
).absolute()
"""Where the screenshots of a run are kept."""


@frozen
class Sample:
    """A piece of art in ``samples/``."""

    file: str
    title: str
    description: str

    @property
    def content(self) -> bytes:
        """Its bytes, UTF-8."""
        return (_HERE / "samples" / self.file).read_bytes()


SAMPLES = tuple(
    Sample(**each)
    for each in json.loads(
        (_HERE / "samples" / "index.json").read_text(encoding="utf-8")
    )
)
"""Newest first."""


@frozen
class Sent:
    """What a server answered to an upload."""

    sha256: str
    edit_key: str

    @property
    def path(self) -> str:
        """The path of its page."""
        return f"/i/{self.sha256[:12]}"


def send(
    daemon: Daemon, name: str, content: bytes, fields: Mapping[str, str] = {}
) -> Sent:
    """Upload a file, with header fields such as ``Asciid-Title``."""
    # A path of several segments would be another route.
    path = quote(name.replace("/", "|"), safe="")
    request = urllib.request.Request(  # noqa: S310 - the daemon's URL
        f"{daemon.url}/{path}", content, method="PUT"
    )
    for field, value in fields.items():
        # A header field has bytes, of which urllib makes Latin-1.
        request.add_header(field, value.encode().decode("latin-1"))
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
        location = answer.headers["Location"]
        return Sent(
            location.rpartition("/")[2], answer.headers.get("Asciid-Edit-Key", "")
        )


def sent_all(daemon: Daemon) -> dict[str, Sent]:
    """Upload all samples, so that the first is the newest; return them by file."""
    return {
        sample.file: send(
            daemon,
            sample.file,
            sample.content,
            {
                "Asciid-Title": sample.title,
                "Asciid-Description": sample.description,
                "Asciid-Author": "anonymous",
                "Asciid-Licence": "CC0-1.0",
            },
        )
        for sample in reversed(SAMPLES)
    }


class BrowserCase(SynchronousTestCase):
    """Starts daemons, and a process of Node.js per scenario, which drives Chromium."""

    def setUp(self) -> None:
        """Find the programs; without one of them the test is skipped."""
        self._node = program("node")
        self._chromium = program("chromium")
        if not (_HERE / "node_modules").is_dir():
            message = "playwright-core is not installed: run npm ci in tests/browser"
            raise SkipTest(message)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def daemon(self, *options: str) -> Daemon:
        """Start a daemon that does not outlive the test."""
        daemon = Daemon(Path(self.mktemp()).resolve(), options)
        self.addCleanup(daemon.kill)
        return daemon.start()

    def play(self, scenario: str, daemon: Daemon, **task: Any) -> None:  # noqa: ANN401
        """Run a scenario; what it needs to know is in `task`."""
        wanted = {
            "url": daemon.url,
            "chromium": self._chromium,
            "screenshots": str(SCREENSHOTS),
            "directory": str(daemon.directory),
            **task,
        }
        file = daemon.directory / f"{scenario}.json"
        file.write_text(json.dumps(wanted), encoding="utf-8")
        done = subprocess.run(
            [self._node, f"scenarios/{scenario}.mjs", str(file)],
            cwd=_HERE,
            env=environment(HOME=str(daemon.directory)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)

    def run_asciid(self, daemon: Daemon, *arguments: str) -> None:
        """Run a command of asciid in the directory of a daemon."""
        done = subprocess.run(
            [str(ROOT / ".venv" / "bin" / "asciid"), *arguments],
            cwd=daemon.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
