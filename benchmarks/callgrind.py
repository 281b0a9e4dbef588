"""Runs commands under callgrind, and reads its counts."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

from process import BenchmarkError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 120.0
"""Seconds for one dump."""

_UNKNOWN = "unknown"
"""The object of code that belongs to none."""

_object_in = re.compile(r"(c?ob)=\((\d+)\)(?: (.*))?").fullmatch
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


def objects_of(profile: str) -> Counter[str]:
    """
    Return the instructions of each program and library in the text of a dump.

    The name is that of the file, with its directory if it is a module of Python.
    """
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    here, skip = _UNKNOWN, False
    for line in profile.partition("\nevents:")[2].splitlines()[1:]:
        if named := _object_in(line):
            kind, number, path = named.groups()
            if path:
                names[number] = _short(path)
            if kind == "ob":
                here = names[number]
        elif line.startswith("calls="):
            skip = True  # what a call cost is that of the functions it reached
        elif skip:
            skip = False
        elif line[:1] in tuple("+-*0123456789"):
            costs[here] += int(line.split()[1])
    return costs


def _short(path: str) -> str:
    name = path.rpartition("/")[2]
    if name == "???":
        return _UNKNOWN
    module, found, _ = name.partition(".cpython-")
    return f"{path.split('/')[-2]}/{module}" if found else name


def read(output: Path, number: int) -> str:
    """
    Return the text of a dump, which begin with number 1.

    Errors: `BenchmarkError` if there is none.
    """
    path = output.with_name(f"{output.name}.{number}")
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError as error:
        message = f"callgrind wrote no dump {number}"
        raise BenchmarkError(message) from error


def totals(output: Path, count: int) -> list[int]:
    """
    Return the instructions in each of the first `count` dumps.

    Errors: `BenchmarkError` if they are fewer.
    """
    return [total_of(read(output, number)) for number in range(1, count + 1)]
