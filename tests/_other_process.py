"""Processes that another one has started, and may reap at any time."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

__all__ = ["OtherProcess"]


class OtherProcess:
    """
    A process by its descriptor; see pidfd_open(2).

    Its number may be that of another process once it was reaped, of a test that runs at
    the same time, or of anything else: a signal must not go there.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
