"""A cache bounded by bytes."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["OVERHEAD", "ByteBoundedCache", "footprint"]

OVERHEAD = 768
"""
Bytes of a cached value of a few attributes besides its longest part, with its key and
its entry: measured and rounded up.
"""

_PAGE = 4096
"""Bytes that the system takes back at once, or not at all."""

ValueT = TypeVar("ValueT")


def footprint(content: int, overhead: int = OVERHEAD) -> int:
    """
    Return the bytes of memory that a cached value takes.

    `content` is the length of its longest part, `overhead` the bytes of the others.
    Freed memory beside a long part shares its first and its last page, which are
    half empty on average and cannot be returned to the system.
    """
    return overhead + content + (_PAGE if content >= _PAGE else 0)


class ByteBoundedCache(Generic[ValueT]):
    """
    A cache of at most `capacity` bytes that evicts the least recently used values.

    A value of more than `largest` bytes is not kept at all, so that it does not evict
    many others.  `hits` counts the values that were found, `misses` the calls of `get`
    that found none.
    """

    def __init__(self, capacity: int, largest: int) -> None:
        self._capacity = capacity
        self._largest = largest
        self._used = 0
        self.hits = self.misses = 0
        # A dict keeps its order of insertion: the first entry is the one used
        # longest ago.
        self._entries: dict[str, tuple[ValueT, int]] = {}

    @property
    def used(self) -> int:
        """The bytes kept now."""
        return self._used

    def get(self, key: str) -> ValueT | None:
        """Return the value kept for `key`, or None."""
        value = self.find(key)
        if value is None:
            self.misses += 1
        return value

    def find(self, key: str) -> ValueT | None:
        """Return the value kept for `key`, or None, which is not counted as a miss."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.hits += 1
        self._entries[key] = entry
        return entry[0]

    def put(self, key: str, value: ValueT, size: int) -> None:
        """Keep `value`, which takes `size` bytes, in place of any other."""
        self.discard(key)
        if size > min(self._largest, self._capacity):
            return
        self._entries[key] = (value, size)
        self._used += size
        while self._used > self._capacity:
            self.discard(next(iter(self._entries)))

    def discard(self, key: str) -> None:
        """Evict `key`, if it is kept."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= entry[1]

    def clear(self) -> None:
        """Evict everything."""
        self._entries.clear()
        self._used = 0
