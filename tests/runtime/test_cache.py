"""Tests of asciid.runtime.cache."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime.cache import ByteBoundedCache, footprint


class ByteBoundedCacheTests(SynchronousTestCase):
    """The cache of small images."""

    def setUp(self) -> None:
        """Make a cache."""
        self.cache: ByteBoundedCache[str] = ByteBoundedCache(100, largest=60)

    def test_keeps(self) -> None:
        """A value that was put is returned."""
        self.cache.put("a", "A", 10)
        self.assertEqual(self.cache.get("a"), "A")
        self.assertIsNone(self.cache.get("b"))

    def test_evicts_the_least_recently_used(self) -> None:
        """Past the capacity the least recently used value is evicted."""
        self.cache.put("a", "A", 50)
        self.cache.put("b", "B", 50)
        self.cache.get("a")
        self.cache.put("c", "C", 1)
        self.assertIsNone(self.cache.get("b"))
        self.assertEqual(self.cache.get("a"), "A")

    def test_too_large(self) -> None:
        """A value larger than allowed is not kept, and pushes out nothing."""
        self.cache.put("a", "A", 60)
        self.cache.put("b", "B", 61)
        self.assertIsNone(self.cache.get("b"))
        self.assertEqual(self.cache.get("a"), "A")

    def test_replace_and_discard(self) -> None:
        """A key has one value, and discarding frees its bytes."""
        self.cache.put("a", "A", 60)
        self.cache.put("a", "B", 50)
        self.assertEqual(self.cache.get("a"), "B")
        self.assertEqual(self.cache.used, 50)
        self.cache.discard("a")
        self.cache.discard("a")
        self.assertEqual(self.cache.used, 0)

    @given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 80))))
    def test_bounded(self, puts: list[tuple[str, int]]) -> None:
        """Whatever is put, the bytes kept never pass the capacity."""
        for key, size in puts:
            self.cache.put(key, key, size)
            self.assertLessEqual(self.cache.used, 100)


class FootprintTests(SynchronousTestCase):
    """The estimated memory of a value."""

    def test_page(self) -> None:
        """Content of a page or more counts as a page more, beside the overhead."""
        self.assertEqual(footprint(4095, 100), 4195)
        self.assertEqual(footprint(4096, 100), 8292)
        self.assertEqual(footprint(60_000, 100), 64_196)
