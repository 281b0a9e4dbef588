"""Removes expired entries, a bounded number at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from asciid.store._lifetimes import GONE_FOR, STAGED_FOR
from asciid.store.operations import RemoveExpired
from asciid.store.queries import FindExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from twisted.internet.defer import Deferred

    from asciid.store._lifetimes import Lifetimes
    from asciid.store.operations import AnyOperation, Kind
    from asciid.store.queries import Query

__all__ = ["Expiry"]

PAGES = 10
"""How many pages of each kind are scanned in one call."""

STEP = 300
"""
How many uploads or images are removed in one transaction, each of which is up
to seven records; their chunks follow in transactions of their own.
"""


@define
class _Walk:
    """The progress of a scan of one kind of entries."""

    kind: Kind
    lifetime: float
    """Seconds, from the time that entries of the kind have."""
    counts: bool = True
    """Whether removed entries count in the result."""
    start: bytes = b""


@define
class Expiry:
    """
    Scans for expired entries; each scan continues where the last one stopped.

    `ask` is the engine's, `change` the store's.  Uploads whose hash is in `busy` are
    left alone.
    """

    lifetimes: Lifetimes
    ask: Callable[[Query[Any]], Deferred[Any]]
    change: Callable[[AnyOperation], Deferred[Any]]
    busy: Container[str]
    _walks: Sequence[_Walk] = field(init=False)

    @_walks.default
    def _(self) -> Sequence[_Walk]:
        bounded: list[tuple[Kind, float]] = [
            ("uploads", self.lifetimes.upload),
            ("images", self.lifetimes.image),
        ]
        return (
            *(_Walk(kind, lifetime) for kind, lifetime in bounded if lifetime),
            _Walk("dated", 0.0),
            _Walk("staged", STAGED_FOR, counts=False),
            _Walk("gone", GONE_FOR, counts=False),
        )

    async def sweep(self) -> int:
        """
        Scan a bounded number of records; remove expired ones.

        Return how many uploads and images were removed.  Their chunks are left to
        `DeleteDiscarded`.
        """
        total = 0
        for walk in self._walks:
            removed = await self._walk(walk)
            total += removed if walk.counts else 0
        return total

    async def _walk(self, walk: _Walk) -> int:
        removed = 0
        for _ in range(PAGES):
            page = await self.ask(FindExpired(walk.kind, walk.lifetime, walk.start))
            found = [old for old in page.found if old.sha256 not in self.busy]
            for first in range(0, len(found), STEP):
                some = found[first : first + STEP]
                removed += await self.change(
                    RemoveExpired(walk.kind, walk.lifetime, some)
                )
            walk.start = page.rest
            if not walk.start:
                break
        return removed
