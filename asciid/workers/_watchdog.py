"""Detects processes that hang, or do not become ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["HEARTBEAT_INTERVAL", "HEARTBEAT_TIMEOUT", "READY_TIMEOUT", "Watchdog"]

HEARTBEAT_INTERVAL = 5.0
"""Seconds between two heartbeats of a process."""

HEARTBEAT_TIMEOUT = 30.0
"""Seconds without a heartbeat after which a process counts as hung."""

READY_TIMEOUT = 30.0
"""Seconds within which a process is expected to be ready."""


class Watchdog:
    """
    Watches one process from its start on.

    `on_hang` is called once the process has sent no heartbeat for `HEARTBEAT_TIMEOUT`
    seconds, and then the watch ends.  The first heartbeat may take any time: Python may
    start from a slow disk.  `on_late` is called once if the process is not ready after
    `READY_TIMEOUT` seconds.  `clock` provides IReactorTime.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        on_hang: Callable[[], None],
        on_late: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._on_hang = on_hang
        self._on_late = on_late
        self._silent: float | None = None
        """Seconds from the check before the last heartbeat; None before the first."""
        self._unready: float | None = 0.0
        """Seconds since the start; None once the process is ready, or late."""
        self._last_check: float = clock.seconds()
        self._next_check: IDelayedCall = clock.callLater(
            HEARTBEAT_INTERVAL, self._check
        )

    def beat(self) -> None:
        """Record a heartbeat."""
        self._silent = 0.0

    def ready(self) -> None:
        """Record that the process is ready."""
        self._unready = None

    def stop(self) -> None:
        """End the watch."""
        if self._next_check.active():
            self._next_check.cancel()

    def _check(self) -> None:
        now = self._clock.seconds()
        elapsed, self._last_check = now - self._last_check, now
        self._next_check = self._clock.callLater(HEARTBEAT_INTERVAL, self._check)
        if elapsed > 2 * HEARTBEAT_INTERVAL:
            # This process was stopped, or the machine was.  Heartbeats that arrived
            # meanwhile are read before the next check.
            return
        if self._unready is not None:
            self._unready += elapsed
            if self._unready >= READY_TIMEOUT:
                self._unready = None
                self._on_late()
        if self._silent is not None:
            self._silent += elapsed
            # The first of these checks may have followed the last heartbeat at once.
            if self._silent >= HEARTBEAT_TIMEOUT + HEARTBEAT_INTERVAL:
                self.stop()
                self._on_hang()
