"""Tests of asciid.api._ranges."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._ranges import MAX_RANGES, closing, multipart, parse_ranges
from tests._thoroughness import examples


class ParseTests(SynchronousTestCase):
    """Reading Range."""

    def test_unit(self) -> None:
        """The unit's case does not matter; another unit is ignored."""
        for field in (b"bytes=0-1", b"Bytes=0-1", b"bytes=,0-1 , "):
            self.assertEqual(parse_ranges(field, 9), [(0, 2)])
        for field in (b"seconds=0-1", b"bytes", b"bytes 0-1", b"=0-1", b""):
            self.assertIsNone(parse_ranges(field, 9))

    def test_malformed(self) -> None:
        """One range that is malformed makes the field one to ignore."""
        for spec in (b"", b"-", b"a-b", b"1", b"2-1", b"1-2-3", b"+1-2", b"1 - 2"):
            self.assertIsNone(parse_ranges(b"bytes=0-0," + spec + b",x", 9))
            self.assertIsNone(parse_ranges(b"bytes=" + spec, 9), spec)

    def test_large_numbers(self) -> None:
        """A position may be beyond any size; a field without end is ignored."""
        self.assertEqual(parse_ranges(b"bytes=0-" + b"9" * 3_000, 9), [(0, 9)])
        self.assertEqual(parse_ranges(b"bytes=-" + b"9" * 3_000, 9), [(0, 9)])
        self.assertEqual(parse_ranges(b"bytes=" + b"9" * 3_000 + b"-", 9), [])
        self.assertIsNone(parse_ranges(b"bytes=0-" + b"9" * 5_000, 9))

    def test_joined(self) -> None:
        """Ranges that overlap or touch are one, at the place of the first of them."""
        for specs, expected in (
            (b"5-6,0-1,7-8", [(5, 9), (0, 2)]),
            (b"0-8,2-3", [(0, 9)]),
            (b"2-3,0-8,3-4", [(0, 9)]),
            (b"4-4,0-0,2-2", [(4, 5), (0, 1), (2, 3)]),
            (b",".join([b"0-8"] * 500), [(0, 9)]),
        ):
            self.assertEqual(parse_ranges(b"bytes=" + specs, 9), expected)

    def test_too_many(self) -> None:
        """More ranges than one response has are ignored, however many they are."""
        specs = [b"%d-%d" % (i, i) for i in range(0, 1_000, 2)]
        some = b"bytes=" + b",".join(specs[:MAX_RANGES])
        self.assertEqual(len(parse_ranges(some, 1_000) or ()), MAX_RANGES)
        same = [b"0-%d" % end for end in range(65)]
        self.assertEqual(parse_ranges(b"bytes=" + b",".join(same[1:]), 9), [(0, 9)])
        self.assertIsNone(parse_ranges(b"bytes=" + b",".join(same), 9))
        for count in (MAX_RANGES + 1, 500):
            many = b"bytes=" + b",".join(specs[:count])
            self.assertIsNone(parse_ranges(many, 1_000))

    @examples(150)
    @given(
        st.text("0123456789-,= bytes", max_size=40).map(str.encode) | st.binary(),
        st.integers(0, 100),
    )
    @example(b"bytes=" + b"," * 3_900, 5)
    def test_junk(self, text: bytes, size: int) -> None:
        """Whatever a client sends, ranges are of the image, apart and in bounds."""
        for field in (text, b"bytes=" + text):
            ranges = sorted(parse_ranges(field, size) or ())
            self.assertLessEqual(len(ranges), MAX_RANGES)
            ends = -1
            for start, end in ranges:
                self.assertLess(ends, start)
                self.assertLess(start, end)
                ends = end
            self.assertLessEqual(ends, size)


class MultipartTests(SynchronousTestCase):
    """Framing several ranges."""

    def test_framing(self) -> None:
        """Parts and the end make a body of the form of RFC 2046."""
        parts = multipart([(5, 7), (0, 1)], 9, b"B", b"text/plain")
        self.assertEqual([(part.start, part.end) for part in parts], [(5, 7), (0, 1)])
        body = parts[0].lead + b"fg" + parts[1].lead + b"a" + closing(b"B")
        self.assertEqual(
            body,
            b"--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-6/9\r\n\r\nfg"
            b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/9\r\n\r\n"
            b"a\r\n--B--\r\n",
        )
