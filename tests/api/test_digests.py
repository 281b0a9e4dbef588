"""Tests of asciid.api._digests."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._digests import parse_dictionary, preferred_algorithm
from asciid.testing import MemoryStore
from tests._thoroughness import examples
from tests.api._raw import OnAsciid, OnSite, RawAnswer, RawCase
from tests.api._support import CAT, CAT_BYTES, CAT_SHA256

REGISTRATION = json.dumps({"sha256": CAT_SHA256, "size": 21, "chunk_size": 21})
CHUNK = json.dumps({"id": 0, "size": len(CAT_BYTES), "data": CAT})


def stated(algorithm: str, body: str) -> str:
    """Return a member of Content-Digest."""
    digest = hashlib.new(algorithm.replace("-", ""), body.encode()).digest()
    return f"{algorithm}=:{b64encode(digest).decode()}:"


class ContentDigestContract(RawCase):
    """Bodies with digests."""

    def setUp(self) -> None:
        """Serve an empty store."""
        self.serve(MemoryStore())

    def post(self, path: str, body: str, *digests: str) -> RawAnswer:
        """Send JSON with these lines of Content-Digest."""
        lines = [f"Content-Digest: {digest}" for digest in digests]
        return self.ask(
            "POST", path, "Content-Type: application/json", *lines, body=body
        )

    def test_right(self) -> None:
        """A body with the digests it states is taken."""
        answer = self.post("/image", REGISTRATION, stated("sha-256", REGISTRATION))
        self.assertEqual(answer.status, 201)
        answer = self.post(
            f"/image/{CAT_SHA256}/chunks",
            CHUNK,
            "md5=:AAAA:, " + stated("sha-512", CHUNK),
            stated("sha-256", CHUNK).replace("=:", ":").replace(":", "=:", 1),
        )
        self.assertEqual(answer.status, 201)

    def put(self, *digests: str) -> RawAnswer:
        """Send a whole image with these lines of Content-Digest."""
        lines = [f"Content-Digest: {digest}" for digest in digests]
        return self.ask("PUT", f"/image/{CAT_SHA256}", *lines, body=CAT)

    def test_whole_image(self) -> None:
        """An image sent as a whole is checked too, before it is stored."""
        for digest, name in (
            (stated("sha-512", CAT + " "), "digest-mismatch"),
            ("sha-512", "malformed-request"),
        ):
            self.assert_problem(self.put(digest), 400, name)
            answer = self.ask("GET", f"/image/{CAT_SHA256}/chunks")
            self.assert_problem(answer, 404, "image-not-found")
        self.assertEqual(self.put(stated("sha-512", CAT)).status, 201)
        self.assertEqual(self.put().status, 200)

    def test_wrong(self) -> None:
        """A body with another digest is refused, and nothing is stored."""
        for path, body in (
            ("/image", REGISTRATION),
            (f"/image/{CAT_SHA256}/chunks", CHUNK),
        ):
            for digests in (
                [stated("sha-256", body + " ")],
                [stated("sha-512", body + " ")],
                [stated("sha-256", body), stated("sha-512", "")],
                ["sha-256=::"],
            ):
                answer = self.post(path, body, *digests)
                self.assert_problem(answer, 400, "digest-mismatch")
        answer = self.ask("GET", f"/image/{CAT_SHA256}")
        self.assert_problem(answer, 404, "image-not-found")

    def test_unknown(self) -> None:
        """Algorithms that are not known, and an empty field, are ignored."""
        for value in ("md5=:AAAA:", "sha=1;a=b, unixsum=?0", "x", ""):
            self.serve(MemoryStore())
            self.assertEqual(self.post("/image", REGISTRATION, value).status, 201)

    def test_malformed(self) -> None:
        """A malformed digest is refused."""
        for value in (
            "sha-256",
            "sha-256=4",
            "sha-256=:A:",
            "sha-256=:AAAA",
            "sha-256=:AAAA:,",
            "sha-256=(:AAAA:)",
            "SHA-256=:AAAA:",
            "sha-256=:AAAA: x=:AAAA:",
        ):
            answer = self.post("/image", REGISTRATION, value)
            self.assert_problem(answer, 400, "malformed-request")


class SiteTests(OnSite, ContentDigestContract, SynchronousTestCase):
    """Content-Digest under stock `twisted.web.server.Site`."""


class ServerTests(OnAsciid, ContentDigestContract, SynchronousTestCase):
    """Content-Digest on asciid's HTTP server."""


class DictionaryTests(SynchronousTestCase):
    """Structured fields."""

    def test_members(self) -> None:
        """All types of members are parsed; the last one of a name counts."""
        field = b'a=:aGk=:;p, b=-1.5 ,\t*c=?0, d="x\\",y";q=1;r, e, f=tok/en, a=2 '
        self.assertEqual(
            parse_dictionary(field),
            {
                b"a": b"2",
                b"b": b"-1.5",
                b"*c": b"?0",
                b"d": b'"x\\",y"',
                b"e": b"?1",
                b"f": b"tok/en",
            },
        )

    def test_malformed(self) -> None:
        """Anything but a dictionary of items is None."""
        for field in (b",", b"a,", b"a,,b", b"a b", b"A", b"a=", b"a=(1)", b"\xff"):
            self.assertIsNone(parse_dictionary(field), field)

    def test_bounds(self) -> None:
        """Members, and bytes, are read up to a bound, and no more."""
        names = [b"a%d" % number for number in range(512)]
        self.assertEqual(set(parse_dictionary(b",".join(names)) or ()), set(names))
        self.assertEqual(parse_dictionary(b",".join([b"a"] * 1_024)), {b"a": b"?1"})
        self.assertIsNone(parse_dictionary(b",".join([b"a"] * 1_025)))
        self.assertIsNotNone(parse_dictionary(b"a" * 4_096))
        self.assertIsNone(parse_dictionary(b"a" * 4_097))

    @examples(100)
    @given(st.text('a1-=:;,"\\?*.( \t', max_size=30).map(str.encode) | st.binary())
    @example(b'a="' + b"\\" * 10_000)
    @example(b"a" + b";a" * 10_000 + b"=")
    def test_junk(self, field: bytes) -> None:
        """Nothing that a client may send raises."""
        members = parse_dictionary(field)
        self.assertIn(preferred_algorithm(field), (b"sha-256", b"sha-512", None))
        for name in members or ():
            self.assertIn(name, field)

    def test_preferred(self) -> None:
        """The algorithm with the highest weight is taken, sha-256 of equal ones."""
        for field, expected in (
            (b"sha-512=2, sha-256=2", b"sha-256"),
            (b"sha-512=3, sha-256=2", b"sha-512"),
            (b"sha-512=0", None),
            (b"sha-256=0, sha-512=1", b"sha-512"),
            (b"sha-256=-1, md5=10", b"sha-256"),
        ):
            self.assertEqual(preferred_algorithm(field), expected)
