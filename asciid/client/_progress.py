"""How far an upload or a download has come."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

__all__ = ["Meter", "OnProgress", "Progress"]


@frozen
class Progress:
    """How far an upload or a download has come at one moment."""

    done: int
    """Bytes that are where they belong; it never becomes less."""
    total: int
    """Bytes of the image."""
    retries: int
    """Requests that had to be sent again so far."""


OnProgress = Callable[[Progress], None]
"""Is told of each step."""


class Meter:
    """Adds up what is done, and tells `on_progress` whenever it is more."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._now = Progress(0, 0, 0)

    @property
    def done(self) -> int:
        """Bytes done."""
        return self._now.done

    def reached(self, done: int, total: int) -> None:
        """Take note that `done` bytes of `total` are done, if that is more."""
        self._tell(Progress(max(min(done, total), self.done), total, self._now.retries))

    def add(self, size: int) -> None:
        """Take note of `size` more bytes."""
        self.reached(self.done + size, self._now.total)

    def retry(self) -> None:
        """Take note that a request is sent again."""
        now = self._now
        self._tell(Progress(now.done, now.total, now.retries + 1))

    def _tell(self, now: Progress) -> None:
        if now != self._now:
            self._now = now
            if self._on_progress is not None:
                self._on_progress(now)
