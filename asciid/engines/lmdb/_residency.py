"""
Gives pages of the mapped file back to the kernel.

Pages read from a mapped file count as memory of the process until the kernel
needs the room.  They are reclaimable at any time, but monitoring shows the process
grow with every large image, and a container's limit may count them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Residency", "SharedBytes", "find_mappings", "release"]

Mapping = tuple[int, int]
"""The addresses of the first byte, and of the one after the last."""

MAX_GROWTH = 4 * 1024 * 1024
"""Bytes of the file that may be in the process's memory before they are released."""


_STATM = "/proc/self/statm"
_MAPS = Path("/proc/self/maps")


class SharedBytes:
    """
    Measures how many bytes of files are in the memory of the process that opened it.

    It is 0 while it is closed, and where there is no ``/proc``.  `open` and `close`
    must not run beside anything else.
    """

    def __init__(self) -> None:
        # Called for each read and commit: to open the file each time would take three
        # system calls, and a file object would cost twice as much.
        self._descriptor = -1

    def open(self) -> None:
        """Open it; it must be closed."""
        with suppress(OSError):
            self._descriptor = os.open(_STATM, os.O_RDONLY)

    def close(self) -> None:
        """Close it, if it is open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __call__(self) -> int:
        """Return how many bytes there are."""
        if self._descriptor < 0:
            return 0
        return int(os.pread(self._descriptor, 200, 0).split()[2]) * mmap.PAGESIZE


def find_mappings(path: Path) -> list[Mapping]:
    """
    Return where the file `path` is mapped for reading.

    It is nowhere without ``/proc``, where that is unknown, so that pages are kept.
    """
    try:
        return list(_mappings(os.path.realpath(path)))
    except OSError:
        # No descriptor is left, perhaps: a commit must not fail for that.
        return []


def release(mappings: Iterable[Mapping]) -> None:
    """
    Give back the pages of these mappings, which must be there.

    Pages are mapped again on use.
    """
    advise = ctypes.CDLL(None).madvise
    for start, end in mappings:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _mappings(path: str) -> Iterator[Mapping]:
    """Yield each shared mapping of a file."""
    encoded = os.fsencode(path)
    for line in _MAPS.read_bytes().split(b"\n"):
        if not line.endswith(encoded):
            continue
        # Addresses, permissions, offset, device, inode, and the path.
        addresses, permissions, _, _, _, name = line.split(None, 5)
        # To drop pages of a private mapping would lose writes.
        if name == encoded and permissions.endswith(b"s"):
            start, _, end = addresses.partition(b"-")
            yield int(start, 16), int(end, 16)


@define(eq=False)
class Residency:
    """
    Keeps little of the mapped file `path` in the process's memory.

    It may be used by several threads.
    """

    path: Path
    measure: Callable[[], int]
    """Returns how many bytes of files are in memory, as `SharedBytes`."""
    find: Callable[[Path], list[Mapping]] = find_mappings
    release: Callable[[Iterable[Mapping]], None] = release
    _before: int | None = field(init=False, default=None)
    _mappings: list[Mapping] | None = field(init=False, default=None)
    """Where the file is mapped, since to find that out costs more than to release."""

    def check(self) -> None:
        """
        Release pages if they grew by more than `MAX_GROWTH` since the last time.

        A transaction must be open, so that the file stays mapped.
        """
        now = self.measure()
        if self._before is None:
            self._before = now
        elif now - self._before > MAX_GROWTH:
            mappings = self._mappings
            if not mappings:
                mappings = self._mappings = self.find(self.path)
            self.release(mappings)
            self._before = self.measure()

    def forget_mappings(self) -> None:
        """Find out again where the file is mapped: it is being mapped anew."""
        self._mappings = None
