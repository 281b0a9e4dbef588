"""Attempts to get the database back, with back-off and jitter."""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall

    from asciid.engines._batching import IWriterReactor

__all__ = ["Reconnecting", "delays"]

_FIRST_DELAY = 0.05
_MAX_DELAY = 2.0


_random = SystemRandom()


def delays() -> Iterator[float]:
    """
    Yield the seconds to wait before each attempt, up to 2.

    They are random: nodes that lost the database at the same time return at different
    ones.
    """
    longest = _FIRST_DELAY
    while True:
        yield _random.uniform(longest / 2, longest)
        longest = min(2 * longest, _MAX_DELAY)


@define(eq=False)
class Reconnecting:
    """
    Makes attempts on the reactor until one succeeds, one at a time.

    `attempt` answers whether it did; a failure means that it did not.
    """

    _reactor: IWriterReactor
    _attempt: Callable[[], Deferred[bool]]
    active: bool = field(init=False, default=False)
    """Whether an attempt is due or under way."""
    _stopped: bool = field(init=False, default=False)
    _delays: Iterator[float] = field(init=False, factory=delays)
    _call: IDelayedCall | None = field(init=False, default=None)

    def begin(self) -> None:
        """Begin, unless it has."""
        if self.active or self._stopped:
            return
        self.active = True
        self._delays = delays()
        self._schedule()

    def stop(self) -> None:
        """Make no more attempts."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _schedule(self) -> None:
        if not self._stopped:
            self._call = self._reactor.callLater(next(self._delays), self._try)

    def _try(self) -> None:
        self._call = None
        self._attempt().addCallbacks(self._ended, lambda _: self._schedule())

    def _ended(self, succeeded: bool) -> None:  # noqa: FBT001 - a Deferred's result
        if succeeded:
            self.active = False
        else:
            self._schedule()
