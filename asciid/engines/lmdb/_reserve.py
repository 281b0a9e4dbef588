"""Keeps some of the file system free."""

from __future__ import annotations

import errno
import os
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NoReturn

from attrs import define, field
from twisted.logger import Logger

from asciid.engines._fault_log import SETTLED
from asciid.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Reserve", "free_bytes", "is_full", "lacks_room"]

_log = Logger()

CHECK_EVERY = 1.0
"""Seconds for which a reading of free space is reused ..."""

PLENTY = 16 * 1024 * 1024
"""... as long as there is so much more room than the reserve, in bytes."""

PAGE = 4096
"""Bytes that an operation may take besides those it adds."""

SCATTERED = 4 * 1024 * 1024
"""
Bytes free inside the storage file that do not count as free, besides a quarter of them.

Each commit frees some and takes others, and an image stored in one piece needs pages
that are neighbours.
"""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

NO_ROOM = 64 * 1024
"""Bytes free below which a write that failed is treated as one on a full disk."""


def free_bytes(path: Path) -> int:
    """
    Return how many bytes this process may still add to the file system of `path`.

    Errors: `OSError`.
    """
    system = os.statvfs(path)
    return system.f_bavail * system.f_frsize


def is_full(error: Exception) -> bool:
    """Return whether a write failed because the disk, a quota or a limit is full."""
    # An error of LMDB has the number as its code.
    number = getattr(error, "errno", None) or getattr(error, "code", None)
    return number in _FULL


def lacks_room(file: Path) -> bool:
    """
    Return whether nothing can be added to `file`, whatever a write to it reported.

    To LMDB a write that the last free block cuts short is an IO error.  A quota or a
    limit of the process does not show in the file system's free space, so space is
    allocated behind the file's end, in an unnamed file beside it.

    Errors: `OSError`.
    """
    if free_bytes(file.parent) < NO_ROOM:
        return True
    try:
        with TemporaryFile(dir=file.parent) as probe:
            os.posix_fallocate(probe.fileno(), file.stat().st_size, NO_ROOM)
    except OSError as error:
        return is_full(error)
    return False


@define
class Reserve:
    """
    Refuses writes that would leave less than `size` bytes free around `path`.

    Bytes added since the last reading of free space are counted, at a page more per
    operation, so that no more than was free above the reserve is accepted until the
    next reading.  If it cannot be read, nothing is refused: a commit will meet the
    same error and report it.  0 bytes refuse nothing.

    Below the reserve there is room as long as there is much inside the storage file,
    where images were removed.  If that is too scattered, or a long read keeps it, the
    file grows, so it counts only while half of the reserve is free.

    All but `has_room` is used by the writer's thread alone.  `monotonic` is in seconds.
    It logs once when it begins to refuse, and once when nothing was
    refused for a while.
    """

    path: Path
    size: int
    monotonic: Callable[[], float]
    free: Callable[[Path], int] = free_bytes
    _left: float = field(init=False, default=float("inf"))
    """Bytes that may still be added."""
    _kept: float = field(init=False, default=0)
    """Bytes free in the file system beside those, according to the last reading."""
    _near: bool = field(init=False, default=False)
    """Whether the reserve is near: then free space is read each time."""
    _read_at: float = field(init=False, default=float("-inf"))
    _refused: float | None = field(init=False, default=None)
    """When a write was last refused; None after recovery."""

    @property
    def has_room(self) -> bool:
        """Whether there is room, and nothing was refused for a while."""
        return not self.size or (self._refused is None and self._left > PAGE)

    def begin(self, reusable: Callable[[], int]) -> None:
        """
        Begin a transaction.

        Earlier transactions are in the file, or never will be: only now does free
        space account for all accepted operations.  `reusable`
        returns how many bytes the storage file has free inside.
        """
        if not self.size:
            return
        now = self.monotonic()
        if self._near or self._left < PLENTY or now - self._read_at >= CHECK_EVERY:
            self._read_at = now
            self._read_free(reusable)
            self._log_recovery(now)

    def take(self, size: int) -> None:
        """
        Take room for an operation that adds `size` bytes.

        Errors: `StorageFullError`.
        """
        left = self._left - size - PAGE
        if left < 0:
            self._refuse()
        self._left = left

    def _read_free(self, reusable: Callable[[], int]) -> None:
        try:
            free = self.free(self.path)
        except OSError:
            self._left = float("inf")
            return
        self._left = left = free - self.size
        self._near = left < PLENTY
        if self._near and free >= self.size / 2:
            # However wrong that is, there is room for what this transaction adds.
            inside = min(reusable() * 3 // 4 - SCATTERED, free // 2)
            if inside > 0:
                self._left = left = max(left, 0) + inside
        self._kept = free - left

    def _refuse(self) -> NoReturn:
        if self._refused is None:
            _log.error(
                "refusing writes: {free} bytes are free, the reserve is {size}",
                free=self._left + self._kept,
                size=self.size,
            )
        self._refused = self.monotonic()
        raise StorageFullError

    def _log_recovery(self, now: float) -> None:
        if self._refused is None or now - self._refused < SETTLED:
            return
        if PAGE < self._left < float("inf"):
            self._refused = None
            _log.info(
                "accepting writes again: {free} bytes are free",
                free=self._left + self._kept,
            )
