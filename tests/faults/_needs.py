"""Requirements of faults; a test is skipped where one is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest

__all__ = ["FAKETIME", "need_commands", "need_loop", "need_root", "need_tracing"]

FAKETIME = "libfaketimeMT.so.1"


def need_commands(*names: str) -> None:
    """Skip the test unless each of these commands is there."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        message = f"needs the commands {', '.join(missing)}"
        raise SkipTest(message)


def need_root() -> None:
    """Skip the test unless this process may mount file systems."""
    if os.geteuid() != 0:
        message = "needs root, to mount file systems"
        raise SkipTest(message)


def need_loop() -> None:
    """Skip the test unless a file can be mounted as ext4."""
    need_root()
    need_commands("mkfs.ext4", "mount", "umount", "losetup")
    if not Path("/dev/loop-control").exists():
        message = "needs loop devices: there is no /dev/loop-control"
        raise SkipTest(message)


@cache
def _tracing_error() -> str:
    command = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=none", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def need_tracing() -> None:
    """Skip the test unless strace is there and may trace processes."""
    need_commands("strace")
    if error := _tracing_error():
        message = f"needs strace to trace processes: {error}"
        raise SkipTest(message)


def need_faketime() -> Path:
    """Return where libfaketime is; skip the test where it is not."""
    for found in Path("/usr/lib").glob(f"**/faketime/{FAKETIME}"):
        return found
    message = f"needs {FAKETIME} (on Debian: apt-get install faketime)"
    raise SkipTest(message)
