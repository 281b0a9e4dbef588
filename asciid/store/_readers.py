"""Readers of the images in the storage file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from asciid.store._interface import IImageReader
from asciid.store._queries import read_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.model import ImageSpec
    from asciid.store._records import ImageRecord
    from asciid.store._submit import Query

__all__ = ["ColdReader", "HotReader"]


@implementer(IImageReader)
@frozen(eq=False)
class HotReader:
    """An image that is in memory."""

    spec: ImageSpec
    completed: float
    content: bytes
    stamp: float
    """When it became complete, as `asciid.store._aging` counts."""

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """See `IImageReader.read`."""
        return succeed(self.content[start:end])

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """See `IImageReader.read_ranges`."""
        return succeed([self.content[start:end] for start, end in ranges])


@implementer(IImageReader)
@frozen(eq=False)
class ColdReader:
    """An image that is read from the disk piece by piece."""

    spec: ImageSpec
    completed: float
    image: ImageRecord
    query: Query
    content: None = None

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """See `IImageReader.read`."""
        return self.query(
            lambda snapshot: read_range(
                snapshot, self.spec.sha256, self.image, start, end
            )
        )

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """See `IImageReader.read_ranges`."""
        return self.query(
            lambda snapshot: [
                read_range(snapshot, self.spec.sha256, self.image, start, end)
                for start, end in ranges
            ]
        )
