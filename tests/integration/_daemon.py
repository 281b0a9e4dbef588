"""A real daemon in a process of its own, for as long as a test needs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "ANY_PORT",
    "LISTENS",
    "ROOT",
    "Daemon",
    "environment",
    "twistd",
    "wait_until",
]

ROOT = Path(__file__).parents[2]
"""The checkout."""

ANY_PORT = "tcp:0:interface=127.0.0.1"
"""The endpoint that finds a free port by itself."""

_PATIENCE = 90
"""Seconds after which something that does not happen has failed the test."""

LISTENS = re.compile(
    r"asciid \S+ listens on 127\.0\.0\.1:(\d+), .* images (\d+|unknown), "
    r"pending uploads (\d+|unknown), "
)
"""The log line of a daemon that serves: its port and its images."""


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.02)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, without asciid's settings, and `more`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ASCIID_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "XDG_STATE_HOME": str(Path("asciid-state").resolve()),
        **more,
    }


def twistd(*arguments: str) -> list[str]:
    """Return the command line of twistd with `arguments`."""
    return [str(Path(sys.executable).with_name("twistd")), *arguments]


@define
class Daemon:
    """
    ``twistd asciid`` on a free port of 127.0.0.1, in the foreground.

    `directory` is where its storage and its log are.
    """

    directory: Path
    options: Sequence[str] = ()
    environ: Mapping[str, str] = field(factory=dict)
    name: str = "daemon"
    """Distinguishes the logs of two daemons in one directory."""
    tac: bool = False
    """Whether it is started from asciid.tac, which takes no options."""
    announced: ClassVar[re.Pattern[str]] = LISTENS
    port: int = field(init=False, default=0)
    images: int = field(init=False, default=0)
    """How many images it found when it started; -1 if that was not known."""
    pending: int = field(init=False, default=0)
    """How many uploads it found that were not complete."""
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id; the daemon must have been started."""
        return self._running().pid

    @property
    def log(self) -> str:
        """Its log since the last start."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.directory / f"{self.name}.log"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            message = "the daemon was not started"
            raise RuntimeError(message)
        return self._process

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that starts it."""
        return twistd(*arguments)

    def start(self) -> Daemon:
        """Start it and wait until it serves."""
        self.directory.mkdir(parents=True, exist_ok=True)
        tac = ["--python", str(ROOT / "asciid.tac")]
        what = tac if self.tac else ["asciid", *self.options]
        # What still ends of one that was killed must not write into this log.
        self._log_file.unlink(missing_ok=True)
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self.command("--nodaemon", "--pidfile=", *what),
                cwd=self.directory,
                env=environment(**{"ASCIID_PORT": ANY_PORT, **self.environ}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _PATIENCE
        while (announced := self.announced.search(self.log)) is None:
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                ended = "" if code is None else f" and ended with {code}"
                message = f"the daemon does not serve{ended}:\n{self.log}"
                raise RuntimeError(message)
            time.sleep(0.02)
        self.port, self.images, self.pending = (
            -1 if number == "unknown" else int(number) for number in announced.groups()
        )
        return self

    def children(self, role: str) -> list[int]:
        """Return the process ids of its workers, or of the process that writes."""
        tasks = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        suffix = f"asciid.workers\0{role}\0".encode()
        found = []
        for pid in tasks.read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(suffix):
                    found.append(int(pid))
        return found

    def stop(self) -> None:
        """Stop it as an operator would, and check that it went well."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        code = process.wait(_PATIENCE)
        # twistd ends by the signal that it was sent.
        if code != -signal.SIGTERM or re.search("Traceback|Unhandled", self.log):
            message = f"the daemon ended with {code}:\n{self.log}"
            raise RuntimeError(message)

    def kill(self) -> None:
        """Kill it as the kernel would; do nothing where it has ended already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_PATIENCE)
