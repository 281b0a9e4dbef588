"""Runs commands under callgrind, and reads its counts."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from process import BenchmarkError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 120.0
"""Seconds for one dump."""

_total_in = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE).search


def command(output: Path, *options: str) -> list[str]:
    """
    Return the command that counts the instructions of the one that follows it.

    Each dump becomes a file: `output` with a number, beginning with 1.
    """
    return [
        *fixed_addresses(),
        *("valgrind", "--tool=callgrind", "--quiet"),
        f"--callgrind-out-file={output}",
        *options,
    ]


def fixed_addresses() -> list[str]:
    """Return the command before one whose addresses are not to vary, if allowed."""
    fixed = ["setarch", "-R"]
    allowed = subprocess.run([*fixed, "true"], capture_output=True, check=False)
    return fixed if allowed.returncode == 0 else []


def dump(pid: int) -> None:
    """
    Have a process under callgrind write a dump.

    Errors: `BenchmarkError` where processes cannot be traced.
    """
    done = subprocess.run(
        ["vgdb", f"--pid={pid}", "dump"],
        capture_output=True,
        check=False,
        text=True,
        timeout=_TIMEOUT,
    )
    if done.returncode != 0:
        message = f"vgdb: {done.stderr.strip()}"
        raise BenchmarkError(message)


def total_of(profile: str) -> int:
    """
    Return the instructions in the text of a dump.

    Errors: `BenchmarkError` if it has no total.
    """
    total = _total_in(profile)
    if total is None:
        message = "the dump of callgrind has no total"
        raise BenchmarkError(message)
    return int(total[1])


def totals(output: Path, count: int) -> list[int]:
    """
    Return the instructions in each of the first `count` dumps.

    Errors: `BenchmarkError` if they are fewer.
    """
    found = []
    for number in range(1, count + 1):
        path = output.with_name(f"{output.name}.{number}")
        try:
            found.append(total_of(path.read_text(errors="replace")))
        except FileNotFoundError as error:
            message = f"callgrind wrote {number - 1} dumps in place of {count}"
            raise BenchmarkError(message) from error
    return found
