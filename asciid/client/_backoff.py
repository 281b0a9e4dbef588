"""The retry policy: how often, and after which delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from asciid.client._exceptions import ClientError

__all__ = ["LONGEST_RETRY_AFTER", "Backoff", "nothing"]

FIRST_WAIT = 0.2
"""Maximum delay in seconds after a first failure; doubles with each further one."""

LONGEST_WAIT = 20.0
"""Maximum delay in seconds, unless the server requests more."""

LONGEST_RETRY_AFTER = 300.0
"""Maximum delay in seconds that a server may request; otherwise no retry."""


def nothing(*_: object) -> None:
    """Default callback, does nothing."""


class Backoff:
    """
    Counts consecutive failures, and waits after each: exponential backoff with jitter.

    After `retries` failures the next one is final.  Jitter (random numbers of `rng`)
    keeps clients that failed together from retrying together.  `on_retry` is called
    before each retry, and `report` with the error.
    """

    def __init__(
        self,
        clock: IReactorTime,
        retries: int,
        rng: random.Random,
        on_retry: Callable[[], None],
        report: Callable[[ClientError], None],
    ) -> None:
        self._clock = clock
        self._retries = retries
        self._rng = rng
        self._on_retry = on_retry
        self._report = report
        self._failures = 0

    def reset(self) -> None:
        """Record a success."""
        self._failures = 0

    async def after(self, error: ClientError) -> None:
        """Wait before a retry; raise `error` if there is none."""
        requested = error.retry_after or 0.0
        if (
            not error.passing
            or self._failures >= self._retries
            or requested > LONGEST_RETRY_AFTER
        ):
            raise error
        # 2 ** failures overflows a float after a thousand.
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._on_retry()
        self._report(error)
        wait = requested + longest * self._rng.uniform(0.5, 1.0)
        await deferLater(self._clock, wait)
