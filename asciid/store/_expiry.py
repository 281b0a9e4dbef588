"""Removes what is past its time from the storage file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from asciid.store import _sweeping
from asciid.store._aging import GONE_FOR, STAGED_FOR

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from twisted.internet.defer import Deferred

    from asciid.store._aging import Aging
    from asciid.store._batch import Batch
    from asciid.store._databases import Snapshot
    from asciid.store._submit import Query, Submit
    from asciid.store._sweeping import Old, Page

__all__ = ["Expiry"]

PAGES = 10
"""How many pages of each database are looked at in one go."""

STEP = 300
"""
How many uploads or images are removed in one transaction, each of which is up
to four records; their chunks follow in transactions of their own.
"""


@define
class _Walk:
    """How far one kind of thing was looked through."""

    find: Callable[[Snapshot, bytes, int], Page]
    remove: Callable[[Batch, Sequence[Old], int], list[Old]]
    before: Callable[[], float]
    """Tells the stamp before which things are old."""
    start: bytes = b""


@define
class Expiry:
    """
    Looks for what is past its time, from where it stopped the last time.

    Uploads whose hash is in `busy` are left alone.
    """

    aging: Aging
    query: Query
    submit: Submit
    busy: Container[str]
    _walks: Sequence[_Walk] = field(init=False)

    @_walks.default
    def _(self) -> Sequence[_Walk]:
        def for_seconds(seconds: float) -> Callable[[], float]:
            return lambda: self.aging.stamp() - seconds

        sweep = _sweeping
        return (
            _Walk(sweep.old_uploads, sweep.remove_uploads, self.aging.uploads_before),
            _Walk(sweep.old_images, sweep.remove_images, self.aging.images_before),
            _Walk(sweep.old_staged, sweep.remove_staged, for_seconds(STAGED_FOR)),
            _Walk(sweep.old_gone, sweep.remove_gone, for_seconds(GONE_FOR)),
        )

    async def sweep(self) -> int:
        """
        Look at a bounded number of records; remove what is old.

        Answers how many uploads and images were removed.  Their chunks are
        left to `Batch.delete_discarded`.
        """
        uploads, images, staged, gone = self._walks
        removed = await self._walk(uploads)
        expired = await self._walk(images)
        await self._walk(staged)
        await self._walk(gone)
        return len(removed) + len(expired)

    async def _walk(self, walk: _Walk) -> list[Old]:
        removed: list[Old] = []
        before = int(walk.before() * 1000)
        if before <= 0:
            return removed
        for _ in range(PAGES):
            page = await self._look(walk, before)
            found = [old for old in page.found if old.sha256 not in self.busy]
            for first in range(0, len(found), STEP):
                some = found[first : first + STEP]
                removed += await self._remove(walk, some, before)
            walk.start = page.rest
            if not walk.start:
                break
        return removed

    def _look(self, walk: _Walk, before: int) -> Deferred[Page]:
        return self.query(lambda snapshot: walk.find(snapshot, walk.start, before))

    def _remove(
        self, walk: _Walk, old: Sequence[Old], before: int
    ) -> Deferred[list[Old]]:
        return self.submit(lambda batch: walk.remove(batch, old, before))
