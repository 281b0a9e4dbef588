"""Logs when reading or writing begins to fail, and when it works again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SETTLED", "FaultLog"]

SETTLED = 10.0
"""
Seconds without a failure after which a success counts as recovery.

On a disk that is nearly full some commits succeed between those that fail.
"""

_log = Logger()


@define
class FaultLog:
    """
    Whether reading, or writing, succeeds.

    Each kind of failure is logged once, however often it repeats, until recovery.
    `monotonic` is in seconds.
    """

    doing: str
    """The name of the activity, with which log lines begin."""
    monotonic: Callable[[], float] = time.monotonic
    failing: bool = field(init=False, default=False)
    """Whether it failed the last time."""
    _logged: set[str] = field(init=False, factory=set)
    """Failures that were logged since the first one."""
    _failed: float = field(init=False, default=0.0)
    """When it failed last."""

    def failed(self, what: str) -> None:
        """Record a failure."""
        self.failing = True
        if what not in self._logged:
            self._logged.add(what)
            # The activity is in the format: each may log as many lines a minute.
            _log.error(f"{self.doing} fails: {{what}}", what=what)
        self._failed = self.monotonic()

    def succeeded(self) -> None:
        """Record a success that involved the disk."""
        self.failing = False
        if self._logged and self.monotonic() - self._failed >= SETTLED:
            self._logged.clear()
            _log.info(f"{self.doing} works again")
