"""When the images of a simulation begin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.task import deferLater

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["Schedule"]


@define
class Schedule:
    """
    Gives out turns: up to `rate` in a second, for `seconds` from now on.

    0 is no limit, for both.
    """

    clock: IReactorTime
    rate: float
    seconds: float
    _due: float = field(init=False)
    _end: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._due = self.clock.seconds()
        self._end = self._due + self.seconds if self.seconds else math.inf

    async def turn(self) -> bool:
        """Wait for the next turn; tell whether there is one before the end."""
        now = self.clock.seconds()
        # Time that was not used is lost, or a burst would follow it.
        mine = max(self._due, now)
        if mine >= self._end:
            return False
        if self.rate:
            self._due = mine + 1 / self.rate
            if mine > now:
                await deferLater(self.clock, mine - now)
        return True
