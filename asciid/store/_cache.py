"""A cache bounded by bytes."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["ByteBoundedCache"]

ValueT = TypeVar("ValueT")


class ByteBoundedCache(Generic[ValueT]):
    """
    Keeps the values used last whose sizes add up to at most `capacity` bytes.

    A value of more than `largest` bytes is not kept at all, so that one of
    them cannot push out many others.  `hits` and `misses` count what `get` found.
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
        entry = self._entries.pop(key, None)
        if entry is None:
            self.misses += 1
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
        """Forget `key`, if it is kept."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= entry[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._used = 0
