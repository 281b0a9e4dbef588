"""
Runs a program that must not outlive the test process: ``_guard.py USER COMMAND ...``.

USER runs it; empty: this one.  The guard prints the program's process id.  When its
standard input ends, because the test process has closed it or has died, it kills the
program and all that descends from it, daemons included.  It ends when nothing is left.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["descendants"]

_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 2
"""Seconds until PostgreSQL, which has to remove shared memory, is killed as well."""


def descendants(pid: int) -> list[int]:
    """Return the process ids of all that descends from a process."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def _kill(pid: int, *, postgres: signal.Signals) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        os.kill(pid, postgres if name == "postgres" else signal.SIGKILL)


def _reap() -> bool:
    """Reap children that have ended; return whether there are others."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not pid:
            return True


def _start(user: str, command: list[str]) -> int:
    if not user:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2).pid
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=2,
        user=user,
        group=pwd.getpwnam(user).pw_gid,
        extra_groups=[],
    ).pid


def _main(user: str, command: list[str]) -> None:
    # Daemons become children of this process, not of init.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    awakened, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    sys.stdout.write(f"{_start(user, command)}\n")
    sys.stdout.close()
    deadline = 0.0
    while _reap():
        ending = deadline > 0
        inputs = [awakened] if ending else [awakened, 0]
        ready, _, _ = select.select(inputs, [], [], 0.05 if ending else None)
        if awakened in ready:
            os.read(awakened, 4096)
        if 0 in ready:
            deadline = time.monotonic() + _GRACE
        if deadline:
            late = time.monotonic() > deadline
            for pid in descendants(os.getpid()):
                _kill(pid, postgres=signal.SIGKILL if late else signal.SIGQUIT)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
