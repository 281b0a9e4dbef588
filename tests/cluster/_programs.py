"""Programs of PostgreSQL and of clusters: found or missing, and started."""

from __future__ import annotations

import atexit
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.trial.unittest import SkipTest

from tests.cluster._guard import descendants

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence

__all__ = [
    "PATIENCE",
    "Program",
    "find",
    "free_port",
    "make_directory",
    "need",
    "run",
    "wait_until",
]

PATIENCE = 60
"""Seconds until a program that does not start or end has failed the test."""

_GUARD = Path(__file__).with_name("_guard.py")

_PACKAGES = {
    "initdb": "postgresql",
    "pg_basebackup": "postgresql",
    "postgres": "postgresql",
    "etcd": "etcd-server",
}
"""Debian's packages, where the program has another name."""


def find(name: str) -> str:
    """Return the path of a program, "" if it is missing: of servers the newest."""
    servers = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: float(path.parent.name),
        reverse=True,
    )
    # Daemons are in directories that only root's PATH has.
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
    path = os.pathsep.join([*map(str, servers), *places])
    return shutil.which(name, path=path) or ""


def need(*names: str) -> None:
    """
    Skip the test unless these programs are installed.

    With ASCIID_REQUIRE_CLUSTER=1, a missing one is an error.
    """
    missing = sorted({_PACKAGES.get(name, name) for name in names if not find(name)})
    if not missing:
        return
    message = f"needs {', '.join(missing)}, of Debian's packages"
    if os.environ.get("ASCIID_REQUIRE_CLUSTER") == "1":
        raise RuntimeError(message)
    raise SkipTest(message)


@cache
def _user() -> str:
    """Return the user that runs servers: they refuse to run as root."""
    if os.geteuid():
        return ""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    message = "there is neither a user postgres nor nobody"
    raise RuntimeError(message)


def _environment(directory: Path) -> dict[str, str]:
    """Return an environment without settings of PostgreSQL, Patroni and etcd."""
    theirs = ("PG", "PATRONI_", "ETCD")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    path = f"{Path(find('postgres')).parent}:{kept.get('PATH', '')}"
    return {**kept, "HOME": str(directory), "PATH": path, "LC_ALL": "C.UTF-8"}


def make_directory(*, in_memory: bool = False) -> Path:
    """
    Return a directory that servers may write to, deleted when this process ends.

    Its path is short enough for Unix sockets, and other users reach it.  `in_memory`
    has it on no disk, where that is possible.
    """
    parent = "/dev/shm" if in_memory and os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - the name is random
    directory = Path(tempfile.mkdtemp(prefix="asciid-cluster-", dir=parent))
    directory.chmod(0o755)
    if user := _user():
        shutil.chown(directory, user)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def free_port() -> int:
    """Return a free port of 127.0.0.1 that no outgoing connection is given."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = PATIENCE
) -> None:
    """Poll until a condition holds; raise `TimeoutError` with `what` if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def run(directory: Path, *command: str) -> str:
    """Run a command as the user of the servers; return its output."""
    user = _user()
    identity = {"user": user, "group": pwd.getpwnam(user).pw_gid} if user else {}
    done = subprocess.run(  # type: ignore[call-overload]
        command,
        cwd=directory,
        env=_environment(directory),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        extra_groups=[] if user else None,
        **identity,
    )
    if done.returncode:
        message = f"{' '.join(command)}: {done.stderr}"
        raise RuntimeError(message)
    return str(done.stdout)


@define(eq=False)
class Program:
    """
    A program that ends, with all that descends from it, when this process does.

    Start it in the main thread or another that lasts.
    """

    directory: Path
    """Made by `make_directory`, or within such a directory; the log is there."""
    name: str
    """Distinguishes logs."""
    command: Sequence[str]
    pid: int = field(init=False, default=0)
    _guard: subprocess.Popen[bytes] | None = field(init=False, default=None)

    @property
    def log(self) -> str:
        """Its log since the last start."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        """Whether it or a descendant runs."""
        return self._guard is not None and self._guard.poll() is None

    def start(self, is_ready: Callable[[], object]) -> None:
        """Start it and wait until it is ready; raise `RuntimeError` if it is not."""
        guard = [sys.executable, "-I", "-S", str(_GUARD)]
        with self._log_file.open("wb") as log:
            self._guard = subprocess.Popen(
                [*guard, _user(), *self.command],
                cwd=self.directory,
                env=_environment(self.directory),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        with self._guard.stdout as output:
            self.pid = int(output.readline() or 0)
        with suppress(TimeoutError):
            wait_until(lambda: not self.is_running or is_ready(), self.name)
        if not self.is_running or not is_ready():
            self.end()
            message = f"{self.name} does not start:\n{self.log}"
            raise RuntimeError(message)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself."""
        os.kill(self.pid, number)

    def descendants(self) -> list[int]:
        """Return the process ids of the program and of all that descends from it."""
        return descendants(self._guard.pid) if self._guard is not None else []

    def wait(self) -> None:
        """Wait until it and its descendants have ended."""
        if self._guard is not None:
            self._guard.wait(PATIENCE)

    def end(self) -> None:
        """Kill it and all that descends from it; nothing if it does not run."""
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait(PATIENCE)
            self._guard = None
