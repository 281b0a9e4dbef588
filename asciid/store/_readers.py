"""Readers of complete images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from msgspec import Struct
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from asciid.model import ImageSpec
from asciid.store._interface import IImageReader
from asciid.store.queries import ReadRanges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.store.queries import Query, StoredImage

__all__ = ["ColdReader", "HotReader"]


@implementer(IImageReader)
class HotReader(Struct, eq=False):
    """An image that is in memory."""

    spec: ImageSpec
    completed: float
    content: bytes
    kept: Any = None

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
    """An image that is read from the engine piece by piece."""

    spec: ImageSpec
    completed: float
    image: StoredImage
    ask: Callable[[Query[Sequence[bytes]]], Deferred[Sequence[bytes]]]
    content: None = None
    kept: Any = None

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """See `IImageReader.read`."""
        return self.read_ranges(((start, end),)).addCallback(lambda parts: parts[0])

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """See `IImageReader.read_ranges`."""
        return self.ask(ReadRanges(self.image, ranges))
