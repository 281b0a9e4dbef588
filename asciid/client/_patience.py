"""When to try again, and how long to wait before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from asciid.client._exceptions import ClientError

__all__ = ["LONGEST_RETRY_AFTER", "Patience", "nothing"]

FIRST_WAIT = 0.2
"""Seconds to wait at the most after a first failure; it doubles with each next."""

LONGEST_WAIT = 20.0
"""Seconds between two tries at the most, if the server asks for no more."""

LONGEST_RETRY_AFTER = 300.0
"""Seconds; a server that asks to wait for longer is not tried again."""


def nothing(*_: object) -> None:
    """Do nothing, where nobody wants to know."""


class Patience:
    """
    Counts failures in a row, and waits after each: longer, and by chance.

    `retries` failures are borne, the next is not.  Waiting by chance (with the
    numbers of `rng`) keeps clients that failed together from coming back
    together.  `on_retry` is called whenever there will be another try, and `tell`
    with the reason.
    """

    def __init__(
        self,
        clock: IReactorTime,
        retries: int,
        rng: random.Random,
        on_retry: Callable[[], None],
        tell: Callable[[ClientError], None],
    ) -> None:
        self._clock = clock
        self._retries = retries
        self._rng = rng
        self._on_retry = on_retry
        self._tell = tell
        self._failures = 0

    def reset(self) -> None:
        """Take note of a success."""
        self._failures = 0

    async def after(self, error: ClientError) -> None:
        """Wait until it is time to try again; raise `error` if that is no use."""
        asked = error.retry_after or 0.0
        if (
            not error.passing
            or self._failures >= self._retries
            or asked > LONGEST_RETRY_AFTER
        ):
            raise error
        # Not 2 ** failures at once, which is no float after a thousand.
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._on_retry()
        self._tell(error)
        wait = asked + longest * self._rng.uniform(0.5, 1.0)
        await deferLater(self._clock, wait)
