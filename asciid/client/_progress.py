"""The progress of uploads and downloads."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

__all__ = ["Meter", "OnProgress", "Progress"]


@frozen
class Progress:
    """The progress of an upload or a download at one moment."""

    done: int
    """Bytes transferred; never decreases."""
    total: int
    """Size of the image in bytes."""
    retries: int
    """Number of retries so far."""


OnProgress = Callable[[Progress], None]
"""Called at each step."""


class Meter:
    """Adds up the progress, and calls `on_progress` at each change."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._now = Progress(0, 0, 0)

    @property
    def done(self) -> int:
        """Bytes transferred."""
        return self._now.done

    def reached(self, done: int, total: int) -> None:
        """Set the progress to `done` bytes of `total`, if that is more."""
        done = max(min(done, total), self.done)
        self._report(Progress(done, total, self._now.retries))

    def add(self, size: int) -> None:
        """Add `size` bytes."""
        self.reached(self.done + size, self._now.total)

    def retry(self) -> None:
        """Count a retry."""
        now = self._now
        self._report(Progress(now.done, now.total, now.retries + 1))

    def _report(self, now: Progress) -> None:
        if now != self._now:
            self._now = now
            if self._on_progress is not None:
                self._on_progress(now)
