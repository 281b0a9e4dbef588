"""The start times of the images of a simulation."""

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
    Grants turns: up to `rate` per second, for `seconds` from now.

    0 means no limit for both.
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
        """Wait for the next turn; return whether there is one before the end."""
        now = self.clock.seconds()
        # Unused time is not credited: no bursts.
        mine = max(self._due, now)
        if mine >= self._end:
            return False
        if self.rate:
            self._due = mine + 1 / self.rate
            if mine > now:
                await deferLater(self.clock, mine - now)
        return True
