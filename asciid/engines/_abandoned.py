"""Staged images to clean up, which could not be discarded at once."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import define, field

from asciid.store.operations import Abandon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

__all__ = ["Abandoned"]

MOST = 10_000
"""Maximum that is kept; others are discarded when they expire."""

STEP = 300
"""How many are discarded in one transaction."""


@define
class Abandoned:
    """
    Retries discarding staged images.

    A deletion takes room, too, and a full disk has none.
    """

    apply: Callable[[Sequence[Abandon]], Deferred[Sequence[Any]]]
    _numbers: set[int] = field(init=False, factory=set)

    def note(self, number: int) -> None:
        """Add an image to discard, by its upload number."""
        if len(self._numbers) < MOST:
            self._numbers.add(number)

    async def retry(self) -> None:
        """
        Discard those noted since the last time that are still there.

        Errors: `StorageFullError`, `StorageFailedError`, `StoreBusyError`,
        `StoreClosedError`; they are tried again the next time.
        """
        while self._numbers:
            some = list(islice(self._numbers, STEP))
            outcomes = await self.apply([Abandon(number) for number in some])
            for number, outcome in zip(some, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    raise outcome
                self._numbers.discard(number)
