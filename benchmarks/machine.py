"""Describes the machine and software that figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import procfs

ROOT = Path(__file__).parent.parent

PACKAGES = (
    *("twisted", "klein", "httptools", "lmdb", "msgspec", "psycopg"),
    *("aiohttp", "starlette", "fastapi", "uvicorn", "uvloop"),
    *("pyte", "ansi2html", "rich"),
)


_CONFIGURED = ("CONFIG_ARGS", "OPT", "PGO_PROF_USE_FLAG", "LTOFLAGS")
"""Variables of sysconfig that say how the interpreter was built."""


def describe_interpreter() -> dict[str, str]:
    """Return the interpreter that measures, and how it says that it was built."""
    path = Path(sys.executable)
    return {
        "path": str(path.resolve()),
        "version": sys.version,
        "optimizations": optimizations(sysconfig.get_config_vars()),
        **{
            name: str(sysconfig.get_config_var(name) or "").strip()
            for name in _CONFIGURED
        },
    }


def optimizations(variables: dict[str, Any]) -> str:
    """Return which optimizations the variables of sysconfig name."""
    text = " ".join(str(variables.get(name) or "") for name in _CONFIGURED)
    found = []
    if "--enable-optimizations" in text or "-fprofile-use" in text:
        found.append("PGO")
    if "--with-lto" in text or "-flto" in text:
        found.append("LTO")
    return ", ".join(found) or "not stated"


def describe_packages() -> dict[str, str]:
    """Return the versions of what is installed of what may be measured."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def describe_machine(disk: procfs.Disk | None = None) -> dict[str, Any]:
    """Return the machine, with the file system of `disk`, and versions of software."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "asciid", "benchmarks")),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        **({"filesystem": disk.filesystem} if disk else {}),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "interpreter": describe_interpreter(),
        "packages": describe_packages(),
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
