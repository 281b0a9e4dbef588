"""Tells the log when writing begins to fail, and when it works again."""

from __future__ import annotations

from twisted.logger import Logger

__all__ = ["Health"]

_log = Logger()


class Health:
    """
    Whether commits succeed.

    Each change is logged once, however many commits fail in between.
    """

    def __init__(self) -> None:
        self._trouble = ""

    def failed(self, what: str) -> None:
        """Take note of a commit that failed."""
        if what != self._trouble:
            _log.error("Writing to the storage fails: {what}", what=what)
        self._trouble = what

    def succeeded(self) -> None:
        """Take note of a commit that reached the disk."""
        if self._trouble:
            _log.info("Writing to the storage works again")
        self._trouble = ""
