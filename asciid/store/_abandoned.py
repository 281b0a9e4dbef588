"""Images that came in vain, and perhaps could not be discarded at once."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field

from asciid.store import _staging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.store._batch import Batch
    from asciid.store._submit import Submit

__all__ = ["Abandoned"]

MOST = 10_000
"""So many are remembered; any more are found by their age."""

STEP = 300
"""How many are discarded in one transaction."""


@define
class Abandoned:
    """
    Remembers which begun images were to be discarded, and sees that they are.

    To delete takes room, too, and a full disk has none.
    """

    submit: Submit
    _numbers: set[int] = field(init=False, factory=set)

    def note(self, number: int) -> None:
        """Take note that an image is to be discarded, by its upload number."""
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
            await self.submit(partial(_abandon_all, numbers=some))
            self._numbers.difference_update(some)


def _abandon_all(batch: Batch, numbers: Sequence[int]) -> None:
    for number in numbers:
        _staging.abandon(batch, number)
