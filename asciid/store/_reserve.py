"""Keeps some of the file system free."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from asciid.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Reserve", "free_bytes", "lacks_room"]

_log = Logger()

CHECK_EVERY = 1.0
"""Seconds for which what the file system said is believed."""

NO_ROOM = 64 * 1024
"""Bytes free below which a write that failed is put down to lack of room."""


def free_bytes(path: Path) -> int:
    """
    Return how many bytes the file system of `path` has left for us.

    Errors: `OSError`.
    """
    system = os.statvfs(path)
    return system.f_bavail * system.f_frsize


def lacks_room(path: Path) -> bool:
    """
    Tell whether a write that failed around `path` has filled the file system.

    To LMDB a write that the last free block cuts short is an IO error.

    Errors: `OSError`.
    """
    return free_bytes(path) < NO_ROOM


@define
class Reserve:
    """
    Refuses to add data while less than `size` bytes are free around `path`.

    All of it is used by the writer's thread alone.  `monotonic` is in seconds.
    The log is told once when it begins to refuse, and once when it ends.
    """

    path: Path
    size: int
    monotonic: Callable[[], float]
    free: Callable[[Path], int] = free_bytes
    _full: bool = field(init=False, default=False)
    _checked: float = field(init=False, default=float("-inf"))

    def check(self) -> None:
        """
        Do nothing if data may be added.

        Errors: `StorageFullError`.
        """
        now = self.monotonic()
        if now - self._checked >= CHECK_EVERY:
            self._checked = now
            self._ask()
        if self._full:
            raise StorageFullError

    def _ask(self) -> None:
        try:
            free = self.free(self.path)
        except OSError:
            # Whatever is wrong, a commit will meet it, and say so.
            return
        full = free < self.size
        if full and not self._full:
            _log.error(
                "Nothing more is stored: {free} bytes are free, the reserve is {size}",
                free=free,
                size=self.size,
            )
        elif self._full and not full:
            _log.info("There is room again: {free} bytes are free", free=free)
        self._full = full
