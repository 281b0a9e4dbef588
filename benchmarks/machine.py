"""Describes the machine and software that figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import procfs

ROOT = Path(__file__).parent.parent

PACKAGES = (
    *("twisted", "klein", "httptools", "lmdb", "msgspec", "psycopg"),
    *("aiohttp", "starlette", "fastapi", "uvicorn", "uvloop"),
)


def describe_machine(disk: procfs.Disk) -> dict[str, Any]:
    """Return the machine and the versions of the software."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "missing"
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "asciid", "benchmarks")),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "filesystem": disk.filesystem,
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": packages,
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
