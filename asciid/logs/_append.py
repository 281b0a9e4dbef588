"""A file that lines are added to, and that may be moved away meanwhile."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["LOOK_EVERY", "AppendedFile"]

LOOK_EVERY = 1.0
"""Seconds for which a file is believed to be where it was."""

_MODE = 0o640

_log = Logger()


@define
class AppendedFile:
    """
    Writes whole lines, each at once, so that several processes can share the file.

    Within a second of being moved or deleted, as log rotation does, it is made
    anew.  While it cannot be written its lines are lost, and the log says why.
    `monotonic` is in seconds.
    """

    path: Path
    monotonic: Callable[[], float] = time.monotonic
    _descriptor: int | None = field(init=False, default=None)
    _look_at: float = field(init=False, default=float("-inf"))
    """When to see next whether the file is still there."""

    def write(self, line: str) -> None:
        """Add `line`, which has its end."""
        try:
            if self.monotonic() >= self._look_at:
                self._look_at = self.monotonic() + LOOK_EVERY
                self._follow()
            if self._descriptor is not None:
                os.write(self._descriptor, line.encode("utf-8"))
        except OSError as error:
            self.close()
            _log.error("{path} cannot be written: {error}", path=self.path, error=error)

    def close(self) -> None:
        """Close the file; it is opened again for a line to come."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _follow(self) -> None:
        if self._descriptor is not None:
            try:
                there = self.path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and os.path.samestat(
                there, os.fstat(self._descriptor)
            ):
                return
            self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, _MODE)
