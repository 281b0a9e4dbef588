"""Whether a process lives, as far as its parent hears of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall

__all__ = ["READY_WITHIN", "SIGN_EVERY", "SILENT_FOR", "Watch"]

SIGN_EVERY = 5.0
"""Seconds from one sign of life of a process to the next."""

SILENT_FOR = 30.0
"""Seconds without a sign of life after which a process is taken to hang."""

READY_WITHIN = 30.0
"""Seconds within which a process is expected to do its work."""


class Watch:
    """
    Watches one process from its start on: tell it of all that is heard of that.

    `on_silent` is called once the process has given no sign of life for `SILENT_FOR`
    seconds, and then the watch ends.  Before the first sign it has that much time as
    it takes: Python may start from a slow disk.  `on_late` is called once if it is
    not ready after `READY_WITHIN` seconds.  `clock` provides IReactorTime.
    """

    def __init__(
        self,
        clock: Any,  # noqa: ANN401 - IReactorTime
        on_silent: Callable[[], None],
        on_late: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._on_silent = on_silent
        self._on_late = on_late
        self._silent: float | None = None
        """Seconds from the look before the last sign of life; None before the first."""
        self._unready: float | None = 0.0
        """Seconds since the start; None once it is ready, or was called late."""
        self._last_look: float = clock.seconds()
        self._next_look: IDelayedCall = clock.callLater(SIGN_EVERY, self._look)

    def heard(self) -> None:
        """Take note of a sign of life."""
        self._silent = 0.0

    def ready(self) -> None:
        """Take note that the process does its work."""
        self._unready = None

    def end(self) -> None:
        """Watch no more; the process has ended, perhaps."""
        if self._next_look.active():
            self._next_look.cancel()

    def _look(self) -> None:
        now = self._clock.seconds()
        elapsed, self._last_look = now - self._last_look, now
        self._next_look = self._clock.callLater(SIGN_EVERY, self._look)
        if elapsed > 2 * SIGN_EVERY:
            # This process was stopped, or the machine was.  What the other has said
            # meanwhile is still to be read, which is done before the next look.
            return
        if self._unready is not None:
            self._unready += elapsed
            if self._unready >= READY_WITHIN:
                self._unready = None
                self._on_late()
        if self._silent is not None:
            self._silent += elapsed
            # The first of these looks may have come right after the last sign.
            if self._silent >= SILENT_FOR + SIGN_EVERY:
                self.end()
                self._on_silent()
