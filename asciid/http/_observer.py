"""What the front tells of its work."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Observer"]


class Observer(Protocol):
    """
    Is told of every request once it has come to an end.

    Called on the reactor between two requests: it must be quick, and not fail.
    """

    def answered(
        self, endpoint: str | None, method: bytes, status: int, seconds: float
    ) -> None:
        """
        Take note of a whole answer.

        :param endpoint: the name that Klein knows the route by; ``None`` when no
            route fits.
        :param seconds: from the last byte of the head to that of the answer, which
            may still have to be sent.
        """

    def refused(self, method: bytes, status: int) -> None:
        """
        Take note of an error that the front has answered in place of the app.

        :param method: empty when there was no head yet.
        """

    def abandoned(self, endpoint: str | None, method: bytes) -> None:
        """Take note of a client that has left before its answer was complete."""
