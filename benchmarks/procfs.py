"""Statistics of processes and disks from Linux."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_TIME = 0.3
SETTLE_TIMEOUT = 10.0
"""Seconds."""
_SECTOR = 512
"""Bytes in a sector of /proc/diskstats, whatever the device's own are."""


def family(pid: int) -> list[int]:
    """Return `pid` and its descendants."""
    pids = [pid]
    for parent in pids:
        for task in Path(f"/proc/{parent}/task").iterdir():
            with suppress(FileNotFoundError):
                pids.extend(map(int, (task / "children").read_text().split()))
    return pids


def cpu_seconds(pid: int) -> dict[int, float]:
    """Return the user and system time of each of a family, all threads, in seconds."""
    times = {}
    for member in family(pid):
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        times[member] = (int(fields[11]) + int(fields[12])) / _TICKS
    return times


def command(pid: int) -> list[str]:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def busy_seconds() -> dict[int, float]:
    """Return how long each processor has worked, for anybody, in seconds."""
    busy = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, ticks[:8])
            total = user + nice + system + irq + softirq + steal
            busy[int(name.removeprefix("cpu"))] = total / _TICKS
    return busy


def settle(pid: int) -> None:
    """Return when a family has done nothing for a while, or after `SETTLE_TIMEOUT`."""
    deadline = time.monotonic() + SETTLE_TIMEOUT
    before: dict[int, float] = {}
    while time.monotonic() < deadline:
        now = cpu_seconds(pid)
        if now == before:
            return
        before = now
        time.sleep(SETTLE_TIME)


def resident(pid: int) -> int:
    """Return the resident set of a family, added up, in bytes."""
    return sum(
        int(_fields(Path(f"/proc/{member}/status"))["VmRSS"].split()[0]) * 1024
        for member in family(pid)
    )


def proportional(pid: int) -> int:
    """
    Return the proportional set of a family, added up, in bytes.

    A page that n processes share counts as an nth in each.
    """
    return sum(
        int(_fields(Path(f"/proc/{member}/smaps_rollup"))["Pss"].split()[0]) * 1024
        for member in family(pid)
    )


def peak_rss(pid: int) -> int:
    """Return the largest resident set of a family so far, added up, in bytes."""
    return sum(
        int(_fields(Path(f"/proc/{member}/status"))["VmHWM"].split()[0]) * 1024
        for member in family(pid)
    )


def anonymous(pid: int) -> int:
    """
    Return the resident anonymous memory of a family, added up, in bytes.

    Pages of files are not in it: programs and libraries, which other processes share,
    and a storage file, whose pages the system can take back.
    """
    total = 0
    for member in family(pid):
        # A member may have ended in between; a zombie has no memory.
        with suppress(FileNotFoundError, ProcessLookupError, KeyError):
            path = Path(f"/proc/{member}/status")
            total += int(_fields(path)["RssAnon"].split()[0]) * 1024
    return total


def written_by(pid: int) -> int:
    """Return the bytes that a family has caused to be written to any disk."""
    return sum(
        int(_fields(Path(f"/proc/{member}/io"))["write_bytes"])
        for member in family(pid)
    )


def _fields(path: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


class Disk:
    """
    The block device that holds `directory`.

    Errors: `LookupError` where there is none, such as on a tmpfs.
    """

    def __init__(self, directory: Path) -> None:
        device = directory.stat().st_dev
        mount = self._mount(directory, f"{os.major(device)}:{os.minor(device)}")
        self.filesystem, source = mount
        with suppress(OSError):
            # Some file systems have device numbers of their own making.
            device = Path(source).stat().st_rdev
        self._number = [str(os.major(device)), str(os.minor(device))]
        self.name = self._line()[2]

    @staticmethod
    def _mount(directory: Path, number: str) -> tuple[str, str]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == number:
                filesystem, source = rest.split()[:2]
                return filesystem, source
        message = f"found no mount of {directory}"
        raise LookupError(message)

    def _line(self) -> list[str]:
        for line in Path("/proc/diskstats").read_text().splitlines():
            fields = line.split()
            if fields[:2] == self._number:
                return fields
        message = f"{self.filesystem} is not on a disk"
        raise LookupError(message)

    def written(self) -> int:
        """Return the bytes written since the system started, by anybody."""
        os.sync()
        return int(self._line()[9]) * _SECTOR
