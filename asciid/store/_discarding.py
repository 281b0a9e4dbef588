"""Deletes the chunks of discarded uploads, bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from asciid.errors import AsciidError
from asciid.store.operations import DeleteDiscarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.store.background import InBackground
    from asciid.store.operations import AnyOperation

__all__ = ["Discarding"]

_log = Logger()


class Discarding:
    """
    Applies `DeleteDiscarded`, one at a time, until nothing is left.

    However many uploads are discarded, one walk is under way, so that no
    transaction deletes more than that one operation does.  It ends early once
    `stopping`: the next start begins another.
    """

    def __init__(
        self,
        change: Callable[[AnyOperation], Deferred[Any]],
        in_background: InBackground,
        stopping: Callable[[], bool],
    ) -> None:
        self._change = change
        self._in_background = in_background
        self._stopping = stopping
        self._walking = False

    def begin(self) -> Deferred[None]:
        """
        Delete all discarded chunks; fires after the last.

        If a walk is in progress, it deletes them, too, and this fires at once: the
        batch that discards is committed before later ones.
        """
        if self._walking:
            return succeed(None)
        self._walking = True
        return self._in_background(self._walk())

    async def _walk(self) -> None:
        try:
            while await self._change(DeleteDiscarded()):
                if self._stopping():
                    break
        except AsciidError as error:
            # They take room until the next try, and nothing else.
            _log.warn("cannot delete discarded chunks yet: {error}", error=error)
        finally:
            self._walking = False
