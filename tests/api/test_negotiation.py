"""Tests of asciid.api._negotiation and asciid.api._list_fields."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._list_fields import weighted_members
from asciid.api._negotiation import CODINGS, accepted_codings, takes_text
from tests._thoroughness import examples


class FieldTests(SynchronousTestCase):
    """Lists with weights."""

    def test_members(self) -> None:
        """Names, parameters and weights are parsed; strings are not split."""
        field = b'A/B ;C="d";Q=0.25;e=1, , x;p="1,2;q=0";q=.5,y;q=7,z;q=no;q=0,"u'
        self.assertEqual(
            list(weighted_members(field)),
            [
                (b"a/b", (b"c=d",), 0.25),
                (b"x", (b"p=?",), 0.5),
                (b"y", (), 1.0),
                (b"z", (), 1.0),
                (b"u", (), 1.0),
            ],
        )

    @examples(150)
    @given(st.text('a/*;q=0.51, "\\', max_size=40).map(str.encode) | st.binary())
    @example(b'"\\' * 20_000)
    @example(b'"' * 20_000)
    @example(b";q=." * 20_000)
    def test_junk(self, field: bytes) -> None:
        """Nothing that a client may send raises."""
        for _, _, weight in weighted_members(field):
            self.assertTrue(0 <= weight <= 1)
        self.assertIn(takes_text(field), (True, False))
        self.assertLessEqual(set(accepted_codings(field).preferred), set(CODINGS))


class AcceptTests(SynchronousTestCase):
    """Acceptance of plain text."""

    def test_taken(self) -> None:
        """The most specific range decides, and it may have little weight."""
        for field in (
            b"",
            b", ,",
            b"*/*",
            b"*",
            b"TEXT/*",
            b"text/plain;q=0.001",
            b"text/html, image/gif, *; q=.2, */*; q=.2",
            b"text/*;q=0, text/plain",
            b"text/plain;q=0, text/plain;charset=UTF-8",
            b'text/plain;charset="utf-8"',
            b"text/plain;q=0, text/plain;q=1",
            b"junk",
            b"image/png" + b",image/gif" * 101,
            b"image/png" + b";a" * 101,
            b"image/png," + b'"a"' * 51,
        ):
            self.assertTrue(takes_text(field), field)

    def test_not_taken(self) -> None:
        """A range that is not named, or has no weight, is not taken."""
        for field in (
            b"text/html",
            b"text/plain;q=0",
            b"text/plain;q=0.000, */*",
            b"text/*;q=0, */*",
            b"*/*;q=0",
            b"text/plain;charset=utf-8;q=0, text/plain",
            b"text/plain;charset=latin-1",
            b"text/plain;format=flowed, image/png",
            b"image/png" + b",image/gif" * 100,
        ):
            self.assertFalse(takes_text(field), field)


class AcceptEncodingTests(SynchronousTestCase):
    """Acceptance of codings."""

    def test_codings(self) -> None:
        """Codings are ordered by weight, then zstd first."""
        for field, preferred, identity in (
            (b"", (), True),
            (b"gzip" + b",a" * 100, (b"gzip",), True),
            (b"gzip, identity;q=0" + b",a" * 100, (), True),
            (b"gzip", (b"gzip",), True),
            (b"X-GZIP, deflate, br", (b"gzip",), True),
            (b"gzip, zstd", (b"zstd", b"gzip"), True),
            (b"gzip, zstd;q=0.9", (b"gzip", b"zstd"), True),
            (b"gzip;q=0, zstd;q=0", (), True),
            (b"*", (b"zstd", b"gzip"), True),
            (b"*;q=0.1, zstd;q=0", (b"gzip",), True),
            (b"gzip;q=0.5, identity", (), True),
            (b"gzip;q=0.5, identity;q=0.5", (b"gzip",), True),
            (b"gzip;q=0.5, zstd, identity;q=0.7", (b"zstd",), True),
            (b"identity;q=0", (), False),
            (b"*;q=0", (), False),
            (b"*;q=0, gzip;q=0.2", (b"gzip",), False),
            (b"*;q=0, identity", (), True),
        ):
            accepted = accepted_codings(field)
            self.assertEqual(accepted.preferred, preferred, field)
            self.assertEqual(accepted.identity, identity, field)
