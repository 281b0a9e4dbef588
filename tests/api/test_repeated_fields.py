"""Requests whose header fields repeat: what they get depends on more than those."""

from __future__ import annotations

from email.utils import formatdate
from hashlib import sha256
from sys import getsizeof
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from asciid.store import Lifetimes
from asciid.store._interface import MAX_KEPT
from asciid.testing import MemoryStore
from tests.api._raw import OnAsciid, OnSite, RawAnswer, RawCase

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

CAT = b"/\\_/\\ ( o.o )  >^<\n"
DOG = b"(___()'`; dog, dog and dog\n" * 100
BEGAN = 1_700_000_000.75


def name_of(data: bytes) -> str:
    """Return the hash of an image."""
    return sha256(data).hexdigest()


class RepeatedContract(RawCase):
    """The same header fields, sent again."""

    def setUp(self) -> None:
        """Serve two images, both in memory."""
        self.now = BEGAN
        self.store = MemoryStore(
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            lifetimes=Lifetimes(image=100.0),
        )
        self.api_options = {"clock": lambda: self.now}
        self.serve(self.store)
        for data in (CAT, DOG):
            self.assertEqual(self.put(data).status, 201)

    def put(self, data: bytes) -> RawAnswer:
        """Upload an image."""
        path = f"/image/{name_of(data)}"
        return self.ask("PUT", path, "Content-Type: text/plain", body=data.decode())

    def get(self, data: bytes, *lines: str, method: str = "GET") -> RawAnswer:
        """Request an image."""
        return self.ask(method, f"/image/{name_of(data)}", *lines)

    def done(self, deferred: Deferred[Any]) -> None:
        """Check that something was done."""
        self.successResultOf(deferred)

    def test_images(self) -> None:
        """Conditions and ranges are those of the image that is asked for."""
        tag = f'If-None-Match: "{name_of(CAT)}"'
        for _ in range(2):
            self.assertEqual(self.get(CAT, tag).status, 304)
            self.assertEqual(self.get(DOG, tag).body, DOG)
            self.assertEqual(self.get(DOG, "Range: bytes=25-").status, 206)
            answer = self.get(CAT, "Range: bytes=25-")
            self.assert_problem(answer, 416, "range-not-satisfiable")
            self.assertEqual(answer.fields["content-range"], "bytes */19")

    def test_tags(self) -> None:
        """A tag is compared with that of each image, whatever tags came before."""
        for sent, status in ((DOG, 200), (CAT, 304), (b"", 200), (CAT, 304)):
            tag = f'If-None-Match: "{name_of(sent)}"'
            self.assertEqual(self.get(CAT, tag).status, status)
            two = [tag, 'If-None-Match: "x"']
            self.assertEqual(self.get(CAT, *two).status, status)
            self.assertEqual(self.get(CAT, *reversed(two)).status, status)

    def test_methods(self) -> None:
        """HEAD has no range and no body, whatever the GET before it had."""
        for method in ("GET", "HEAD", "GET", "HEAD"):
            answer = self.get(CAT, "Range: bytes=2-4", method=method)
            if method == "GET":
                self.assertEqual((answer.status, answer.body), (206, CAT[2:5]))
            else:
                self.assertEqual((answer.status, answer.body), (200, b""))
                self.assertEqual(answer.fields["content-length"], "19")

    def test_codings(self) -> None:
        """A coding is of images that have any."""
        for _ in range(2):
            answer = self.get(CAT, "Accept-Encoding: gzip")
            self.assertEqual(answer.body, CAT)
            self.assertNotIn("content-encoding", answer.fields)
            self.assertNotIn("vary", answer.fields)
            answer = self.get(DOG, "Accept-Encoding: gzip")
            self.assertEqual(answer.fields["content-encoding"], "gzip")
            self.assertEqual(answer.fields["vary"], "Accept-Encoding")
            bare = self.get(DOG)
            self.assertEqual(bare.body, DOG)
            self.assertEqual(bare.fields["vary"], "Accept-Encoding")
            self.assertNotEqual(bare.fields["etag"], answer.fields["etag"])
            self.assertNotEqual(
                bare.fields["repr-digest"], answer.fields["repr-digest"]
            )

    def test_digests(self) -> None:
        """A digest that was wanted once is not sent to others."""
        usual = self.get(CAT).fields["repr-digest"]
        for _ in range(2):
            wanted = self.get(CAT, "Want-Repr-Digest: sha-512=3")
            self.assertTrue(wanted.fields["repr-digest"].startswith("sha-512="))
            none = self.get(CAT, "Want-Repr-Digest: sha-256=0")
            self.assertNotIn("repr-digest", none.fields)
            self.assertEqual(self.get(CAT).fields["repr-digest"], usual)

    def test_refused(self) -> None:
        """A client that takes no text is refused each time."""
        for _ in range(2):
            answer = self.get(CAT, "Accept: image/png")
            self.assert_problem(answer, 406, "not-acceptable")
            self.assertEqual(self.get(CAT, "Accept: text/*").body, CAT)

    def test_deleted(self) -> None:
        """An image is not served after it was deleted, and is when it is back."""
        for _ in range(2):
            self.assertEqual(self.get(CAT).body, CAT)
            self.done(self.store.delete(name_of(CAT)))
            self.assert_problem(self.get(CAT), 404, "image-not-found")
            self.assertEqual(self.get(DOG).body, DOG)
            self.assertEqual(self.put(CAT).status, 201)

    def test_blocked(self) -> None:
        """A blocked image is refused, for reads with another status than for writes."""
        self.assertEqual(self.get(CAT).body, CAT)
        self.done(self.store.block(name_of(CAT), "spam"))
        for _ in range(2):
            self.assert_problem(self.get(CAT), 451, "image-blocked")
            self.assert_problem(self.put(CAT), 403, "image-blocked")
        self.done(self.store.unblock(name_of(CAT)))
        self.assert_problem(self.get(CAT), 404, "image-not-found")

    def test_expired(self) -> None:
        """An image that has expired is gone."""
        self.assertEqual(self.get(CAT).body, CAT)
        self.now += 101.0
        self.done(self.store.expire())
        self.assert_problem(self.get(CAT), 410, "image-gone")

    def test_clock(self) -> None:
        """Last-Modified is never in the future, and what it was once in the past."""
        for behind in (0, 5, 3, 0, 7, -9):
            self.now = BEGAN - behind
            expected = formatdate(int(min(BEGAN, self.now)), usegmt=True)
            self.assertEqual(self.get(CAT).fields["last-modified"], expected)

    def test_since(self) -> None:
        """A date of a condition is compared with that of each response."""
        line = f"If-Modified-Since: {formatdate(int(BEGAN) - 3, usegmt=True)}"
        for behind, status in ((0, 200), (3, 304), (2, 200), (4, 304)):
            self.now = BEGAN - behind
            self.assertEqual(self.get(CAT, line).status, status)

    def test_kept(self) -> None:
        """What is kept with an image in memory is within its bound."""
        self.get(DOG)
        self.get(DOG, "Accept-Encoding: gzip")
        reader = self.store.cached(name_of(DOG))
        assert reader is not None
        self.assertLess(getsizeof(reader.kept) + getsizeof(reader.kept.lines), MAX_KEPT)

    def test_problems(self) -> None:
        """A problem names the image of each request."""
        for digit in "abab":
            answer = self.ask("GET", f"/image/{digit * 64}")
            self.assert_problem(answer, 404, "image-not-found")
            self.assertIn(f"Image {digit * 64} is".encode(), answer.body)
        answer = self.ask("HEAD", f"/image/{'a' * 64}")
        self.assertEqual((answer.status, answer.body), (404, b""))
        length = len(self.ask("GET", f"/image/{'a' * 64}").body)
        self.assertEqual(answer.fields["content-length"], str(length))


class SiteTests(OnSite, RepeatedContract, SynchronousTestCase):
    """The contract on stock `twisted.web`."""


class ServerTests(OnAsciid, RepeatedContract, SynchronousTestCase):
    """The contract on asciid's HTTP server."""

    def test_at_once(self) -> None:
        """An image in memory is not opened through the engine."""
        self.patch(self.store, "open", None)
        self.assertEqual(self.get(CAT).body, CAT)
