"""Tests of asciid.api._conditions; see also test_image_get."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._conditions import parse_http_date
from tests._thoroughness import examples

MOMENT = 784111777


class DateTests(SynchronousTestCase):
    """Dates in header fields."""

    def test_forms(self) -> None:
        """All three forms that a date may have mean the same moment."""
        for text in (
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ):
            self.assertEqual(parse_http_date(text, clock=lambda: MOMENT), MOMENT)

    def test_years_of_two_digits(self) -> None:
        """They are at most 50 years ahead."""
        for now, digits, year in (
            (MOMENT, 44, 2044),
            (MOMENT, 45, 1945),
            (MOMENT + 10**9, 76, 2076),
            (MOMENT + 10**9, 77, 1977),
        ):
            short = b"Sunday, 06-Nov-%d 08:49:37 GMT" % digits
            full = b"Sun, 06 Nov %d 08:49:37 GMT" % year
            clock = Clock()
            clock.advance(now)
            moment = parse_http_date(short, clock=clock.seconds)
            self.assertEqual(moment, parse_http_date(full))

    def test_leap_second(self) -> None:
        """A leap second counts as the one before."""
        leap = parse_http_date(b"Sat, 31 Dec 2016 23:59:60 GMT")
        self.assertEqual(leap, 1483228799)

    def test_no_date(self) -> None:
        """Anything else is malformed."""
        for text in (
            b"",
            b"784111777",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 06 Nov 1994 08:49:37 +0000",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 31 Feb 1994 08:49:37 GMT",
            b"Sun, 06 Nov 0000 08:49:37 GMT",
            b"Sun, 06 Nov 1994 24:49:37 GMT",
            b"Sun, 06 nov 1994 08:49:37 GMT",
        ):
            self.assertIsNone(parse_http_date(text), text)

    @examples(50)
    @given(
        st.binary(max_size=40)
        | st.from_regex(rb"\w{3}, \d\d Nov \d{4} \d\d:\d\d:\d\d GMT")
    )
    def test_junk(self, text: bytes) -> None:
        """Nothing that a client may send raises."""
        moment = parse_http_date(text)
        self.assertTrue(moment is None or isinstance(moment, int))
