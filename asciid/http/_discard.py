"""How long a connection is read after its last answer, and how much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._limits import Limits

__all__ = ["Discard"]


class Discard:
    """
    Bounds what is read of a client that may still be sending, and thrown away.

    A close while bytes are unread resets the connection, and the client may lose
    the answer (RFC 9112 9.6).

    :ivar due: the monotonic time from which :meth:`is_over` is to be asked.
    """

    __slots__ = ("_checked", "_ends", "_left", "_limits", "due")

    def __init__(self, limits: Limits, now: float, *, brief: bool) -> None:
        """:param brief: end after the first ``linger_pause``, whatever is sent."""
        self._limits = limits
        self._left = limits.linger_bytes
        self._checked = self._left
        self._ends = now + (limits.linger_pause if brief else limits.linger_time)
        self.due = min(now + limits.linger_pause, self._ends)

    def take(self, size: int) -> bool:
        """Count bytes that were read; return whether more may be."""
        self._left -= size
        return self._left >= 0

    def is_over(self, now: float) -> bool:
        """Return whether the time is up or the client sends too slowly."""
        limits = self._limits
        came, self._checked = self._checked - self._left, self._left
        self.due = min(now + limits.linger_pause, self._ends)
        return now >= self._ends or came < limits.body_rate * limits.linger_pause
