"""Keeps some of the file system free."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from attrs import define, field
from twisted.logger import Logger

from asciid.errors import StorageFullError
from asciid.store._health import SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Reserve", "free_bytes", "lacks_room"]

_log = Logger()

CHECK_EVERY = 1.0
"""Seconds for which what the file system said is believed ..."""

PLENTY = 16 * 1024 * 1024
"""... as long as there is so much more room than the reserve, in bytes."""

PAGE = 4096
"""Bytes that an operation may take besides those it adds."""

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
    Refuses what would leave less than `size` bytes free around `path`.

    What is added after the file system was asked is counted, at a page more
    than its bytes, so that no more than was free above the reserve is accepted
    until it is asked again.  Nothing is refused where it does not answer:
    whatever is wrong, a commit will meet it, and say so.  0 bytes refuse
    nothing.

    All but `has_room` is used by the writer's thread alone.  `monotonic` is in seconds.
    The log is told once when it begins to refuse, and once when nothing was
    refused for a while.
    """

    path: Path
    size: int
    monotonic: Callable[[], float]
    free: Callable[[Path], int] = free_bytes
    _left: float = field(init=False, default=float("inf"))
    """Bytes that may still be added."""
    _asked: float = field(init=False, default=float("-inf"))
    _refused: float | None = field(init=False, default=None)
    """When something was refused last, in the trouble that goes on."""

    @property
    def has_room(self) -> bool:
        """Whether there is room, and nothing was refused for a while."""
        return not self.size or (self._refused is None and self._left > PAGE)

    def begin(self) -> None:
        """
        Take note that a transaction begins.

        What those before it added is in the file, or never will be: only now
        does what the file system says hold for all that was accepted.
        """
        if not self.size:
            return
        now = self.monotonic()
        if self._left < PLENTY or now - self._asked >= CHECK_EVERY:
            self._asked = now
            self._ask()
            self._tell_end(now)

    def take(self, size: int) -> None:
        """
        Take room for an operation that adds `size` bytes.

        Errors: `StorageFullError`.
        """
        if not self.size:
            return
        if size + PAGE > self._left:
            self._refuse()
        self._left -= size + PAGE

    def _ask(self) -> None:
        try:
            self._left = self.free(self.path) - self.size
        except OSError:
            self._left = float("inf")

    def _refuse(self) -> NoReturn:
        if self._refused is None:
            _log.error(
                "Nothing more is stored: {free} bytes are free, the reserve is {size}",
                free=int(self._left) + self.size,
                size=self.size,
            )
        self._refused = self.monotonic()
        raise StorageFullError

    def _tell_end(self, now: float) -> None:
        if self._refused is None or now - self._refused < SETTLED:
            return
        if PAGE < self._left < float("inf"):
            self._refused = None
            free = int(self._left) + self.size
            _log.info("There is room again: {free} bytes are free", free=free)
