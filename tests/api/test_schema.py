"""Tests of asciid.api._schema, beside those of the routes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.api._refusals import MalformedRequestError
from asciid.api._schema import parse_hash

HASH = "0123456789abcdef" * 4


class HashTests(SynchronousTestCase):
    """Hashes in paths."""

    def test_hash(self) -> None:
        """A hash is folded to lower case."""
        self.assertEqual(parse_hash(HASH), HASH)
        self.assertEqual(parse_hash(HASH.upper()), HASH)

    def test_no_hash(self) -> None:
        """Anything but 64 hex digits is refused."""
        for text in (
            *("", HASH[:-1], HASH[:-2], HASH + "0", HASH + "00"),
            *("  " + HASH[2:], HASH[:32] + "  " + HASH[34:], HASH[:-1] + "\n"),
            *(HASH + "\n", HASH + "  ", HASH[:-1] + "g", HASH[:-1] + "\N{DEGREE SIGN}"),
            *(HASH[:-1] + "\N{FULLWIDTH DIGIT ONE}", "0x" + HASH[2:]),
        ):
            with self.subTest(text=text):
                self.assertRaises(MalformedRequestError, parse_hash, text)
