"""Tells the log when something begins to fail, and when it works again."""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger

__all__ = ["Health"]

_log = Logger()


@define
class Health:
    """
    Whether reading, or writing, succeeds.

    Each change is logged once, however often it fails in between.
    """

    doing: str
    """What it is, in the words of the log: a sentence begins with it."""
    _trouble: str = field(init=False, default="")

    def failed(self, what: str) -> None:
        """Take note of a failure."""
        if what != self._trouble:
            _log.error("{doing} fails: {what}", doing=self.doing, what=what)
        self._trouble = what

    def succeeded(self) -> None:
        """Take note of a success, that had to do with the disk."""
        if self._trouble:
            _log.info("{doing} works again", doing=self.doing)
            self._trouble = ""
