"""Tests of asciid.store._about_rules."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import InvalidAboutError
from asciid.model import About, NewImage
from asciid.store._about_rules import check_about, check_new, check_reason

GOOD = About("Cat", "Käse,\nand wine.", "me", "CC0-1.0", ("cat", "pet"), expires=1)


class CheckAboutTests(SynchronousTestCase):
    """What may be stored about an image."""

    def assert_refused(self, name: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """Check that a value is refused, with the name of its field."""
        about = replace(GOOD, **{name: value})
        error = self.assertRaises(InvalidAboutError, check_about, about)
        self.assertEqual(error.name, name)
        check = self.assertRaises(InvalidAboutError, check_new, NewImage(about))
        self.assertEqual(str(check), f"{name}: {error.fault}.")

    def test_good(self) -> None:
        """Text of any script, with the marks for its direction, may be stored."""
        check_about(GOOD)
        check_about(About())
        check_new(None)
        check_new(NewImage())
        check_about(replace(GOOD, title="שלום\u200f!", author="e\u0301 👩\u200d🚀"))

    def test_lengths(self) -> None:
        """Lengths are bounded in bytes of UTF-8."""
        limits = {"title": 200, "description": 2_000, "author": 200}
        for name, limit in limits.items():
            check_about(replace(GOOD, **{name: "é" * (limit // 2)}))
            self.assert_refused(name, "é" * (limit // 2) + "x")
            self.assert_refused(name, "x" * 10**6)
        check_about(replace(GOOD, licence="x" * 200))
        self.assert_refused("licence", "x" * 201)
        check_about(replace(GOOD, tags=("x" * 50,)))
        self.assert_refused("tags", ("x" * 51,))

    def test_characters(self) -> None:
        """Nothing controls a terminal, or the direction of other text."""
        names = ("title", "description", "author", "licence")
        for character in "\0\t\r\x1b\x7f\x85\x9b\u2028\u2029\ud800\u202e\u2066\u2069":
            for name in names:
                self.assert_refused(name, f"a{character}b")
            self.assert_refused("tags", (f"a{character}b",))
        for name in ("title", "author"):
            self.assert_refused(name, "a\nb")

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Whatever is accepted is one line of printable text."""
        try:
            check_about(About(text))
        except InvalidAboutError:
            return
        self.assertLessEqual(len(text.splitlines()), 1)
        self.assertLessEqual(len(text.encode()), 200)

    def test_tags(self) -> None:
        """There are at most ten tags, which differ and are not empty."""
        check_about(replace(GOOD, tags=tuple("abcdefghij")))
        self.assert_refused("tags", tuple("abcdefghijk"))
        self.assert_refused("tags", ("a", "b", "a"))
        for tag in ("", " "):
            self.assert_refused("tags", (tag,))

    def test_licences(self) -> None:
        """A licence is an SPDX license expression or an http(s) URL."""
        for licence in (
            "CC-BY-SA-4.0",
            "GPL-2.0+",
            "(MIT OR Apache-2.0) AND CC0-1.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "LicenseRef-mine",
            "DocumentRef-a:LicenseRef-b",
            "https://example.org/licence?v=1#top",
            "http://example.org",
            "https://[2001:db8::1]:8443/",
        ):
            check_about(replace(GOOD, licence=licence))
        for licence in (
            "all rights reserved",
            "MIT OR",
            "OR MIT",
            "(MIT",
            "MIT)",
            "()",
            "MIT MIT",
            "a:b",
            "a/b",
            "+",
            " ",
            "javascript:alert(1)",
            "https://",
            "https:///path",
            "https://user@example.org/",
            "https://example.org/a b",
            'https://example.org/"onclick="x',
            "https://example.org/<b>",
            "https://example.org/%zz",
            "ftp://example.org/",
        ):
            self.assert_refused("licence", licence)

    def test_expires(self) -> None:
        """A time is one that can be written as a date."""
        check_about(replace(GOOD, expires=253_402_300_799_000))
        for expires in (-1, 253_402_300_799_001, 2**80):
            self.assert_refused("expires", expires)


class CheckReasonTests(SynchronousTestCase):
    """Why a hash may be blocked."""

    def test_reasons(self) -> None:
        """A reason is one line of at most 500 bytes."""
        check_reason("Court order 5/26")
        check_reason("é" * 250)
        for reason in ("", " ", "é" * 250 + "x", "a\nb", "a\x1b[2J", "\u202e"):
            error = self.assertRaises(ValueError, check_reason, reason)
            self.assertIn("invalid reason: ", str(error))
