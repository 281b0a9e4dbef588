"""The wire contract, in memory, on both HTTP stacks."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING

from attrs import fields
from msgspec import structs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site
from zope.interface import implementer

from asciid.api._sending import PIECE
from asciid.errors import (
    CommitFailedError,
    StorageFailedError,
    StorageFullError,
    StorageUnreadableError,
    StoreBusyError,
    StoreClosedError,
)
from asciid.model import EMPTY_SHA256, ImageSpec, UploadStatus
from asciid.store import IImageReader, IImageStore, Lifetimes, PendingLimits
from asciid.testing import MemoryStore
from tests.api._support import (
    CAT_BYTES,
    CAT_SHA256,
    Answer,
    BrokenStore,
    Client,
    make_api,
    make_server,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IProtocolFactory

    from asciid.api import ImageAPI
    from asciid.model import NewImage
    from asciid.store import IImageWriter

    Base = SynchronousTestCase
else:
    Base = object

MAX_IMAGE = 1_000_000
MAX_CHUNK = 10_000
UNKNOWN = "0" * 64


class OvertakingStore(MemoryStore):
    """A store in which another client completes the cat first."""

    def create(
        self, sha256: str | None, new: NewImage | None = None
    ) -> Deferred[IImageWriter]:
        """See `IImageStore.create`."""
        beginning = super().create(sha256, new)

        async def overtake() -> None:
            faster = await super(OvertakingStore, self).create(sha256)
            await faster.write(CAT_BYTES)
            await faster.finish()

        Deferred.fromCoroutine(overtake())
        return beginning


class APIContract(Base):
    """Every status, header field and problem type of the wire contract."""

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return the HTTP factory for `api`."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Serve an empty store."""
        self.reactor = MemoryReactorClock()
        self.serve(MemoryStore())

    def serve(self, store: IImageStore) -> None:
        """Serve `store` from now on."""
        self.store = store
        api = make_api(store, max_image_size=MAX_IMAGE, max_chunk_size=MAX_CHUNK)
        self.client = Client(self.factory(api))

    def ask(
        self,
        method: str,
        path: str,
        data: object = None,
        content_type: str | None = "application/json",
        **headers: str | list[str],
    ) -> Answer:
        """Exchange a request for its response."""
        answer = self.client.begin(method, path, data, content_type, **headers)
        self.client.treq.flush()
        # A large body is taken in several turns.
        self.reactor.advance(0)
        self.client.treq.flush()
        return self.successResultOf(answer)

    def raw(self, request_line: str) -> bytes:
        """Exchange a request for its response, both as bytes."""
        return self.client.raw(f"{request_line} HTTP/1.1\r\nHost: asciid\r\n\r\n")

    def register(self, **changes: object) -> Answer:
        """Register the cat, with `changes`."""
        body = {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 11}
        return self.ask("POST", "/image", {**body, **changes})

    def add(self, chunk_id: int, data: str, sha256: str = CAT_SHA256) -> Answer:
        """Upload a chunk."""
        body = {"id": chunk_id, "size": len(data.encode()), "data": data}
        return self.ask("POST", f"/image/{sha256}/chunks", body)

    def upload_cat(self) -> None:
        """Upload the cat."""
        self.assertEqual(self.register().status, 201)
        self.assertEqual(self.add(1, CAT_BYTES[11:].decode()).status, 201)
        self.assertEqual(self.add(0, CAT_BYTES[:11].decode()).status, 201)

    def assert_problem(self, answer: Answer, status: int, name: str) -> None:
        """Check that `answer` is a problem of that status and type."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.problem["type"], f"/problems/{name}")

    def assert_not_utf8(self, answer: Answer, offset: int) -> None:
        """Check that `answer` has the offset of invalid UTF-8, in asciid's words."""
        self.assert_problem(answer, 400, "not-utf-8")
        self.assertEqual(answer.problem["offset"], offset)
        self.assertIn(f"at offset {offset}.", answer.problem["detail"])
        self.assertNotIn("codec", answer.problem["detail"])

    def test_register(self) -> None:
        """A registration is 201 with the image's location."""
        answer = self.register()
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.header("Location"), f"/image/{CAT_SHA256}")
        self.assertEqual(answer.body, b"")

    def test_register_upper_case(self) -> None:
        """A hash in upper case names the same image."""
        answer = self.register(sha256=CAT_SHA256.upper())
        self.assertEqual(answer.header("Location"), f"/image/{CAT_SHA256}")
        self.assert_problem(self.register(), 409, "image-exists")

    def test_register_twice(self) -> None:
        """A registered hash is 409, pending or complete, with a link to its status."""
        self.register()
        answer = self.register(size=5)
        self.assert_problem(answer, 409, "image-exists")
        self.assertEqual(
            answer.header("Link"), f'</image/{CAT_SHA256}/chunks>; rel="status"'
        )
        self.add(0, CAT_BYTES[:11].decode())
        self.add(1, CAT_BYTES[11:].decode())
        self.assert_problem(self.register(), 409, "image-exists")

    def test_register_ignores_unknown_members(self) -> None:
        """Members that mean nothing here are ignored."""
        self.assertEqual(self.register(title="cat", tags=[{}, None]).status, 201)

    def test_register_the_empty_image(self) -> None:
        """The empty image is there once it is registered."""
        self.assertEqual(self.register(sha256=EMPTY_SHA256, size=0).status, 201)
        answer = self.ask("GET", f"/image/{EMPTY_SHA256}")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.length, 0)

    def test_register_size_0_with_another_hash(self) -> None:
        """Size 0 with another hash is 422."""
        self.assert_problem(self.register(size=0), 422, "hash-mismatch")

    def test_register_malformed(self) -> None:
        """An invalid registration is 400."""
        for changes in (
            {"sha256": CAT_SHA256[1:]},
            {"sha256": CAT_SHA256 + "0"},
            {"sha256": CAT_SHA256[1:] + "g"},
            {"sha256": CAT_SHA256 + "\n"},
            {"sha256": "é" * 64},
            {"sha256": 5},
            {"sha256": None},
            {"size": -1},
            {"size": True},
            {"size": 1.0},
            {"size": "21"},
            {"size": None},
            {"size": 10**30},
            {"chunk_size": 0},
            {"chunk_size": -1},
            {"chunk_size": False},
            {"chunk_size": 10**400},
        ):
            self.assert_problem(self.register(**changes), 400, "malformed-request")

    def test_not_a_registration(self) -> None:
        """Malformed JSON is 400."""
        for body in (
            b"",
            b"{",
            b"null",
            b"[]",
            b'"text"',
            b"{}",
            b'{"sha256":"' + CAT_SHA256.encode() + b'","size":NaN,"chunk_size":1}',
            b"[" * 10_000,
            b'{"x":' + b"[" * 9_000,
            b'{"size":' + b"9" * 10_000 + b"}",
            b"\xef\xbb\xbf{}",
            b"\x00" * 10,
        ):
            answer = self.ask("POST", "/image", body)
            self.assert_problem(answer, 400, "malformed-request")

    def test_register_too_large(self) -> None:
        """An image or a chunk over the limit is 413; at the limit it is fine."""
        self.assert_problem(self.register(size=MAX_IMAGE + 1), 413, "image-too-large")
        answer = self.register(chunk_size=MAX_CHUNK + 1)
        self.assert_problem(answer, 413, "chunk-too-large")
        answer = self.register(size=MAX_IMAGE, chunk_size=MAX_CHUNK)
        self.assertEqual(answer.status, 201)

    def test_too_many_chunks(self) -> None:
        """An image cannot have more chunks than there are ids."""
        api = make_api(self.store, max_image_size=2**40, max_chunk_size=5)
        self.client = Client(self.factory(api))
        answer = self.register(size=2**33, chunk_size=2)
        self.assert_problem(answer, 400, "malformed-request")

    def test_content_types(self) -> None:
        """Content-Type must be JSON, with any parameters and case."""
        register = {"sha256": CAT_SHA256, "size": 21, "chunk_size": 11}
        paths = ("/image", f"/image/{CAT_SHA256}/chunks")
        for content_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "application/+json",
            "text/json",
            "text/x+json",
            "application/json; charset=latin-1",
            'application/json; charset="utf-16"',
            "",
            None,
        ):
            for path in paths:
                answer = self.ask("POST", path, register, content_type)
                self.assert_problem(answer, 415, "not-json")
        for content_type in (
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            'application/json;charset="UTF-8"',
            "application/json; profile=x",
            "application/vnd.art+json",
            "Application/Problem+JSON; charset=utf-8",
        ):
            for path, status in zip(paths, (201, 400), strict=True):
                self.serve(MemoryStore())
                answer = self.ask("POST", path, register, content_type)
                self.assertEqual(answer.status, status)

    def test_upload(self) -> None:
        """A chunk that is stored is 201; the whole is then served."""
        self.upload_cat()
        answer = self.ask("GET", f"/image/{CAT_SHA256}")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("Content-Type"), "text/plain; charset=utf-8")
        self.assertEqual(answer.length, len(CAT_BYTES))
        self.assertEqual(answer.body, CAT_BYTES)

    def test_upload_in_upper_case(self) -> None:
        """Hashes in paths may be in upper case too."""
        self.register()
        upper = CAT_SHA256.upper()
        self.assertEqual(self.add(1, CAT_BYTES[11:].decode(), upper).status, 201)
        self.assertEqual(self.add(0, CAT_BYTES[:11].decode(), upper).status, 201)
        self.assertEqual(self.ask("GET", f"/image/{upper}").body, CAT_BYTES)

    def test_any_characters(self) -> None:
        """An image may have control characters, NUL and characters outside the BMP."""
        text = "\x1b[31m\0\r\n😀\u2028"
        data = text.encode()
        spec = ImageSpec(hashlib.sha256(data).hexdigest(), len(data), 1_000)
        self.register(sha256=spec.sha256, size=spec.size, chunk_size=1_000)
        self.assertEqual(self.add(0, text, spec.sha256).status, 201)
        self.assertEqual(self.ask("GET", f"/image/{spec.sha256}").body, data)

    def test_head(self) -> None:
        """HEAD is GET without the body."""
        self.upload_cat()
        head, _, body = self.raw(f"HEAD /image/{CAT_SHA256}").partition(b"\r\n\r\n")
        self.assertIn(b"HTTP/1.1 200 OK\r\n", head)
        self.assertIn(b"\r\ncontent-length: %d" % len(CAT_BYTES), head.lower())
        self.assertEqual(body, b"")

    def test_download_unknown(self) -> None:
        """An image that was never registered is 404."""
        answer = self.ask("GET", f"/image/{UNKNOWN}")
        self.assert_problem(answer, 404, "image-not-found")

    def test_download_incomplete(self) -> None:
        """An image that misses chunks is 404, of its own kind."""
        self.register()
        answer = self.ask("GET", f"/image/{CAT_SHA256}")
        self.assert_problem(answer, 404, "image-incomplete")

    def test_malformed_hash_in_the_path(self) -> None:
        """A name that is not a hash is 400."""
        for name in ("cat", CAT_SHA256[1:], CAT_SHA256 + "0", "g" * 64, "%00" * 64):
            answer = self.ask("GET", f"/image/{name}")
            self.assert_problem(answer, 400, "malformed-request")
            answer = self.add(0, "x", name)
            self.assert_problem(answer, 400, "malformed-request")

    def test_chunk_of_unknown_image(self) -> None:
        """A chunk of an image that was never registered is 404."""
        self.assert_problem(self.add(0, "x", UNKNOWN), 404, "image-not-found")

    def test_chunk_malformed(self) -> None:
        """An invalid chunk is 400."""
        self.register()
        path = f"/image/{CAT_SHA256}/chunks"
        good = {"id": 0, "size": 11, "data": "x" * 11}
        for changes in (
            {"id": -1},
            {"id": True},
            {"id": 0.0},
            {"id": "0"},
            {"id": 10**30},
            {"size": -1},
            {"size": 12},
            {"size": 10},
            {"size": 10**30},
            {"size": None},
            {"data": None},
            {"data": 5},
            {"data": "ö" * 11},
        ):
            answer = self.ask("POST", path, {**good, **changes})
            self.assert_problem(answer, 400, "malformed-request")
        for body in (
            b"",
            b"[]",
            b'{"id":NaN,"size":11,"data":"x"}',
        ):
            answer = self.ask("POST", path, body)
            self.assert_problem(answer, 400, "malformed-request")

    def test_chunk_out_of_range(self) -> None:
        """An id the image does not have is 400."""
        self.register()
        for chunk_id in (2, 2**32, 2**63 - 1):
            answer = self.add(chunk_id, "x" * 11)
            self.assert_problem(answer, 400, "chunk-out-of-range")

    def test_chunk_of_wrong_length(self) -> None:
        """A chunk that is too long or too short for its place is 400."""
        self.register()
        for chunk_id, data in ((0, "x" * 12), (0, "x" * 10), (1, "x" * 11), (0, "")):
            answer = self.add(chunk_id, data)
            self.assert_problem(answer, 400, "chunk-size-mismatch")

    def test_chunk_too_large(self) -> None:
        """A chunk over the limit is 413."""
        self.register()
        answer = self.add(0, "x" * (MAX_CHUNK + 1))
        self.assert_problem(answer, 413, "chunk-too-large")

    def test_character_split_between_chunks(self) -> None:
        """Half a character cannot be sent: replaced, it has another length."""
        self.register(chunk_size=9)
        half = CAT_BYTES[:9].decode("utf-8", "replace")
        self.assert_problem(self.add(0, half), 400, "chunk-size-mismatch")
        path = f"/image/{CAT_SHA256}/chunks"
        answer = self.ask("POST", path, {"id": 0, "size": 9, "data": half})
        self.assert_problem(answer, 400, "malformed-request")
        self.assertIn("PUT /image/", answer.problem["detail"])
        escaped = CAT_BYTES[:9].decode("utf-8", "surrogateescape")
        answer = self.ask("POST", path, {"id": 0, "size": 9, "data": escaped})
        self.assert_not_utf8(answer, json.dumps({"data": escaped}).index("\\ud") + 20)
        self.assertIn("PUT /image/", answer.problem["detail"])
        body = b'{"id": 0, "size": 9, "data": "' + CAT_BYTES[8:9] + b'"}'
        answer = self.ask("POST", path, body)
        self.assert_not_utf8(answer, 30)
        self.assertIn("PUT /image/", answer.problem["detail"])

    def test_chunk_twice(self) -> None:
        """A stored chunk is 409, with whether the bytes are identical."""
        self.register()
        self.add(0, CAT_BYTES[:11].decode())
        for data, identical in ((CAT_BYTES[:11].decode(), True), ("x" * 11, False)):
            answer = self.add(0, data)
            self.assert_problem(answer, 409, "chunk-exists")
            self.assertIs(answer.problem["identical"], identical)

    def test_chunk_of_a_complete_image(self) -> None:
        """After the last chunk, repeating any is still 409."""
        self.upload_cat()
        answer = self.add(0, CAT_BYTES[:11].decode())
        self.assert_problem(answer, 409, "chunk-exists")
        self.assertTrue(answer.problem["identical"])

    def test_wrong_hash(self) -> None:
        """The last chunk of bytes with another hash is 422, and all is forgotten."""
        self.register()
        self.add(0, "x" * 11)
        self.assert_problem(self.add(1, "x" * 10), 422, "hash-mismatch")
        self.assert_problem(self.add(1, "x" * 10), 404, "image-not-found")
        self.upload_cat()

    def put(
        self, data: bytes, content_type: str | None = None, **headers: str | list[str]
    ) -> Answer:
        """Upload a body as the cat in one request."""
        path = f"/image/{CAT_SHA256}"
        return self.ask("PUT", path, data, content_type, **headers)

    def test_put(self) -> None:
        """A whole image in one request is 201, and 200 when it is there already."""
        location = f"/image/{CAT_SHA256}"
        for expected in ((201, location), (200, None), (200, None)):
            answer = self.put(CAT_BYTES)
            self.assertEqual((answer.status, answer.header("Location")), expected)
        self.assertEqual(self.ask("GET", f"/image/{CAT_SHA256}").body, CAT_BYTES)

    def test_put_finishes_a_registration(self) -> None:
        """A whole image completes a pending upload."""
        self.register()
        self.add(0, "x" * 11)
        self.assertEqual(self.put(CAT_BYTES).status, 201)
        self.assertEqual(self.ask("GET", f"/image/{CAT_SHA256}").body, CAT_BYTES)
        self.assert_problem(self.register(), 409, "image-exists")

    def test_put_the_empty_image(self) -> None:
        """The empty image has an empty body."""
        answer = self.ask("PUT", f"/image/{EMPTY_SHA256}", b"", None)
        self.assertEqual(answer.status, 201)

    def test_put_with_wrong_hash(self) -> None:
        """A hash mismatch is 422 and stores nothing, also the second time."""
        self.assert_problem(self.put(b"x"), 422, "hash-mismatch")
        answer = self.ask("GET", f"/image/{CAT_SHA256}")
        self.assert_problem(answer, 404, "image-not-found")
        self.put(CAT_BYTES)
        self.assert_problem(self.put(b"x"), 422, "hash-mismatch")
        self.assertEqual(self.ask("GET", f"/image/{CAT_SHA256}").body, CAT_BYTES)

    def test_put_only_if_new(self) -> None:
        """With If-None-Match, an existing image is 412."""
        self.register()
        self.assertEqual(self.put(CAT_BYTES, If_None_Match="*").status, 201)
        answer = self.put(CAT_BYTES, If_None_Match="*")
        self.assert_problem(answer, 412, "precondition-failed")

    def test_put_conditions(self) -> None:
        """If-Match and If-None-Match apply to the existing image."""
        tag = f'"{CAT_SHA256}"'
        for conditions in ({"If_Match": "*"}, {"If_Match": tag}):
            answer = self.put(CAT_BYTES, **conditions)
            self.assert_problem(answer, 412, "precondition-failed")
        self.assertEqual(self.put(CAT_BYTES, If_None_Match=tag).status, 201)
        for conditions in (
            {"If_Match": '"other"'},
            {"If_Match": f"W/{tag}"},
            {"If_None_Match": tag},
            {"If_None_Match": f'"other", W/{tag}'},
            {"If_Match": tag, "If_None_Match": tag},
        ):
            answer = self.put(CAT_BYTES, **conditions)
            self.assert_problem(answer, 412, "precondition-failed")
        for conditions in (
            {"If_Match": "*"},
            {"If_Match": f'"other", {tag}'},
            {"If_None_Match": '"other"'},
        ):
            self.assertEqual(self.put(CAT_BYTES, **conditions).status, 200)

    def test_put_unmodified_since(self) -> None:
        """Without If-Match, If-Unmodified-Since applies to an existing image."""
        early = "Sun, 06 Nov 1994 08:49:37 GMT"
        answer = self.put(CAT_BYTES, If_Unmodified_Since=early)
        self.assertEqual(answer.status, 201)
        fields = self.ask("GET", f"/image/{CAT_SHA256}").headers
        [modified] = fields.getRawHeaders("Last-Modified", [])
        answer = self.put(CAT_BYTES, If_Unmodified_Since=early)
        self.assert_problem(answer, 412, "precondition-failed")
        self.assertIn("If-Unmodified-Since", answer.problem["detail"])
        for conditions in (
            {"If_Unmodified_Since": modified},
            {"If_Unmodified_Since": "never"},
            {"If_Unmodified_Since": early, "If_Match": "*"},
        ):
            self.assertEqual(self.put(CAT_BYTES, **conditions).status, 200)
        # If-None-Match has lower precedence (RFC 9110, section 13.2.2).
        answer = self.put(CAT_BYTES, If_Unmodified_Since=early, If_None_Match="*")
        self.assertIn("If-Unmodified-Since", answer.problem["detail"])

    def test_put_tags_of_codings(self) -> None:
        """The tag of any coding matches; small images have none."""
        art = b"art\n" * 500
        name = hashlib.sha256(art).hexdigest()
        path, text = f"/image/{name}", "text/plain"
        self.ask("PUT", path, art, text)
        for coding in ("gzip", "zstd"):
            tag = f'"{name}-{coding}"'
            answer = self.ask("PUT", path, art, text, If_Match=tag)
            self.assertEqual(answer.status, 200)
            answer = self.ask("PUT", path, art, text, If_None_Match=f"W/{tag}")
            self.assert_problem(answer, 412, "precondition-failed")
        self.put(CAT_BYTES)
        answer = self.put(CAT_BYTES, If_Match=f'"{CAT_SHA256}-gzip"')
        self.assert_problem(answer, 412, "precondition-failed")
        answer = self.put(CAT_BYTES, If_Match=f'"{CAT_SHA256}-br"')
        self.assert_problem(answer, 412, "precondition-failed")

    def test_put_while_another_does(self) -> None:
        """If-None-Match fails if another client was faster."""
        self.serve(OvertakingStore())
        answer = self.put(CAT_BYTES, If_None_Match="*")
        self.assert_problem(answer, 412, "precondition-failed")
        self.serve(OvertakingStore())
        self.assertEqual(self.put(CAT_BYTES).status, 200)

    def test_put_content_types(self) -> None:
        """Any Content-Type is accepted; hash and UTF-8 are verified."""
        for content_type in (
            "text/plain",
            "TEXT/Plain; charset=UTF-8",
            "text/plain; charset=us-ascii",
            "text/html",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            "application/json",
            "image/png",
            "nonsense",
            "",
            None,
        ):
            self.serve(MemoryStore())
            self.assertEqual(self.put(CAT_BYTES, content_type).status, 201)

    def test_put_of_another_charset(self) -> None:
        """A charset other than UTF-8 is refused, with where it is converted."""
        for charset in ("cp437", "x", '"ISO-8859-1"', "utf-16"):
            answer = self.put(CAT_BYTES, f"text/plain; charset={charset}")
            self.assert_problem(answer, 415, "unsupported-charset")
            self.assertIn("POST /", answer.problem["detail"])

    def test_put_of_a_form(self) -> None:
        """A multipart body is refused, with what to do."""
        for content_type in ("multipart/form-data; boundary=x", " Multipart/Mixed"):
            answer = self.put(CAT_BYTES, content_type)
            self.assert_problem(answer, 415, "multipart-body")
            self.assertIn("curl -T", answer.problem["detail"])

    def test_content_encoding(self) -> None:
        """A content coding is refused, with Accept-Encoding."""
        register = {"sha256": CAT_SHA256, "size": 21, "chunk_size": 11}
        path = f"/image/{CAT_SHA256}"
        for method, where, body in (
            ("PUT", path, CAT_BYTES),
            ("POST", "/image", register),
            ("POST", f"{path}/chunks", {}),
        ):
            for coding in ("gzip", "identity, gzip", "x", ["gzip", "identity"]):
                answer = self.ask(method, where, body, Content_Encoding=coding)
                self.assert_problem(answer, 415, "encoded-body")
                self.assertEqual(answer.header("Accept-Encoding"), "identity")
        for coding in ("Identity", "", "identity,", ["identity", "identity"]):
            answer = self.put(CAT_BYTES, Content_Encoding=coding)
            self.assertIn(answer.status, (200, 201))

    def test_put_of_a_part(self) -> None:
        """A part of an image cannot be put (RFC 9110, section 14.5)."""
        answer = self.put(CAT_BYTES, Content_Range="bytes 0-20/21")
        self.assert_problem(answer, 400, "malformed-request")

    def test_put_of_bytes_that_are_no_text(self) -> None:
        """A body that is not UTF-8 is 400 with the offset, wherever it breaks."""
        for body, offset in (
            (b"\xff", 0),
            (CAT_BYTES[:9], 8),
            (CAT_BYTES[9:], 0),
            (b"\xed\xa0\x80", 0),
            (b"x" * 70_000 + b"\xc3(", 70_000),
            ("ö".encode() * 150_001 + b"\xc3", 300_002),
            (b"x" + "ö".encode() * 150_001 + b"\xff", 300_003),
        ):
            self.assert_not_utf8(self.put(body), offset)
        self.assertEqual(self.put(CAT_BYTES).status, 201)

    def test_json_that_is_no_text(self) -> None:
        """JSON that is not UTF-8, or has half of a surrogate pair, is not-utf-8."""
        for body, offset in (
            (b'{"x":"\xff"}', 6),
            ("{}".encode("utf-16"), 0),
            (b'{"sha256":"\\ud800"}', 11),
            (b'{"sha256":"\\\\ud800\\uDC00"}', 18),
            (b'{"x":"\\ud83d\\ude00\\ud83d"}', 18),
            (b'{"x":"\\udc00 \\ud800"}', 6),
        ):
            answer = self.ask("POST", "/image", body)
            self.assert_not_utf8(answer, offset)
        for body in (b'{"x":"\\ud83d\\ude00"', b'{"sha256":"\\\\ud800"}', b'{"x'):
            answer = self.ask("POST", "/image", body)
            self.assert_problem(answer, 400, "malformed-request")
        answer = self.ask("POST", "/image", b"[" * 10_000)
        self.assertNotIn("recursion", answer.problem["detail"].lower())

    def test_surrogate_among_many_escapes(self) -> None:
        """It is found in a body with many escapes, too, and where it is."""
        api = make_api(self.store, max_image_size=10**6, max_chunk_size=10**6)
        self.client = Client(self.factory(api))
        path = f"/image/{CAT_SHA256}/chunks"
        text = rb"\\ud800\\ude00\n"
        pair = rb"\n\\\ud83d\ude00"
        for count in (1, 1_000, 5_000, 20_000):
            for lone in (rb"\ud800", rb"\uDBff\n", rb"\udc00", rb"\\\uDfff"):
                start = b'{"id":0,"size":1,"data":"' + text * 9 + pair * count
                answer = self.ask("POST", path, start + lone + b'"}')
                offset = len(start) + lone.lower().rindex(rb"\ud")
                self.assert_not_utf8(answer, offset)

    def test_put_too_large(self) -> None:
        """A body over the limit is 413."""
        self.assertEqual(self.put(b"x" * (MAX_IMAGE + 1)).status, 413)
        self.assert_problem(self.put(b"x" * MAX_IMAGE), 422, "hash-mismatch")

    def test_status(self) -> None:
        """A status has the received bytes, and is not cacheable."""
        self.register(chunk_size=5)
        self.add(1, CAT_BYTES[5:10].decode())
        path = f"/image/{CAT_SHA256}/chunks"
        answer = self.ask("GET", path)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("Content-Type"), "application/json")
        self.assertEqual(answer.header("Cache-Control"), "no-store")
        status = json.loads(answer.body)
        created = datetime.fromisoformat(status.pop("created"))
        self.assertIsNotNone(created.tzinfo)
        self.assertEqual(
            status,
            {
                "sha256": CAT_SHA256,
                "size": len(CAT_BYTES),
                "chunk_size": 5,
                "chunks": 5,
                "state": "pending",
                "received": 5,
                "missing": [[0, 0], [2, 4]],
                "missing_cut": False,
                "completed": None,
                "expires": None,
            },
        )
        self.assertEqual(self.raw(f"HEAD {path}").partition(b"\r\n\r\n")[2], b"")
        self.put(CAT_BYTES)
        status = json.loads(self.ask("GET", f"/image/{CAT_SHA256.upper()}/chunks").body)
        self.assertEqual((status["state"], status["missing"]), ("complete", []))

    def test_status_has_every_attribute(self) -> None:
        """All that a store reports of an image is in its status."""
        self.register()
        status = json.loads(self.ask("GET", f"/image/{CAT_SHA256}/chunks").body)
        reported = {
            *(member.name for member in fields(UploadStatus)),
            *(member.name for member in structs.fields(ImageSpec)),
        }
        self.assertEqual(reported - {"spec"} - set(status), set())

    def test_status_of_a_complete_image(self) -> None:
        """The status of a complete image has the time at which it became complete."""
        now = 1_000_000_000.0
        self.serve(MemoryStore(clock=lambda: now))
        self.register()
        now += 61.5
        self.put(CAT_BYTES)
        status = json.loads(self.ask("GET", f"/image/{CAT_SHA256}/chunks").body)
        self.assertEqual(status["created"], "2001-09-09T01:46:40Z")
        self.assertEqual(status["completed"], "2001-09-09T01:47:41.500000Z")

    def test_status_tells_when_an_upload_expires(self) -> None:
        """The status of a pending upload has its expiry."""
        self.serve(
            MemoryStore(
                lifetimes=Lifetimes(upload=90),
                clock=lambda: 1_000_000_000.0,
                monotonic=lambda: 0.0,
            )
        )
        self.register()
        path = f"/image/{CAT_SHA256}/chunks"
        status = json.loads(self.ask("GET", path).body)
        self.assertEqual(status["created"], "2001-09-09T01:46:40Z")
        self.assertEqual(status["expires"], "2001-09-09T01:48:10Z")
        self.put(CAT_BYTES)
        self.assertIsNone(json.loads(self.ask("GET", path).body)["expires"])

    def test_image_that_has_gone(self) -> None:
        """An expired image is 410, except for a new upload."""
        elapsed = 0.0
        lifetimes = Lifetimes(image=90)
        self.serve(MemoryStore(lifetimes=lifetimes, monotonic=lambda: elapsed))
        self.put(CAT_BYTES)
        elapsed = 91.0
        self.assertEqual(self.successResultOf(self.store.expire()), 1)
        path = f"/image/{CAT_SHA256}"
        chunk = {"id": 0, "size": 1, "data": "x"}
        for method, where, data in (
            ("GET", path, None),
            ("GET", f"{path}/chunks", None),
            ("POST", f"{path}/chunks", chunk),
        ):
            answer = self.ask(method, where, data)
            self.assert_problem(answer, 410, "image-gone")
        self.assertEqual(self.put(CAT_BYTES).status, 201)
        self.assertEqual(self.ask("GET", path).body, CAT_BYTES)

    def test_status_of_unknown_image(self) -> None:
        """The status of an unregistered image is 404."""
        answer = self.ask("GET", f"/image/{UNKNOWN}/chunks")
        self.assert_problem(answer, 404, "image-not-found")

    def test_links_to_the_status(self) -> None:
        """A stored chunk and a refused registration lead to the status."""
        self.register()
        link = f'</image/{CAT_SHA256}/chunks>; rel="status"'
        for answer in (self.add(0, CAT_BYTES[:11].decode()), self.register()):
            self.assertEqual(answer.header("Link"), link)

    def test_method_not_allowed(self) -> None:
        """A method that a path does not have is 405 with those it has."""
        for method, path, allowed in (
            ("GET", "/image", "OPTIONS, POST, PUT"),
            ("DELETE", "/image", "OPTIONS, POST, PUT"),
            ("POST", "/fish.txt", "OPTIONS, PUT"),
            ("POST", f"/image/{CAT_SHA256}", "DELETE, GET, HEAD, OPTIONS, PUT"),
            ("PATCH", f"/image/{CAT_SHA256}", "DELETE, GET, HEAD, OPTIONS, PUT"),
            ("DELETE", f"/image/{CAT_SHA256}/chunks", "GET, HEAD, OPTIONS, POST"),
        ):
            answer = self.ask(method, path)
            self.assert_problem(answer, 405, "method-not-allowed")
            self.assertEqual(answer.header("Allow"), allowed)

    def test_unknown_paths(self) -> None:
        """A path that leads nowhere is 404, never a redirect."""
        for path in (
            "/image/",
            "/fish.txt",
            "/images/",
            "/i",
            "/i/",
            "/upload/",
            f"/image/{CAT_SHA256}/",
            f"/image//{CAT_SHA256}",
            f"/image/{CAT_SHA256}/chunks/",
            f"/image/{CAT_SHA256}/chunks/0",
            "/%2e%2e/etc/passwd",
        ):
            self.assert_problem(self.ask("GET", path), 404, "not-found")

    def test_store_failures(self) -> None:
        """Failures of the store are 503 or 507; 503 has Retry-After."""
        for error, status, name in (
            (StoreBusyError(), 503, "store-busy"),
            (StoreClosedError(), 503, "stopping"),
            (StorageFailedError(), 503, "storage-failed"),
            (StorageUnreadableError(), 503, "storage-failed"),
            (CommitFailedError(), 503, "commit-failed"),
            (StorageFullError(), 507, "storage-full"),
        ):
            self.serve(BrokenStore(error))
            for answer in (
                self.register(),
                self.add(0, "x"),
                self.ask("GET", f"/image/{CAT_SHA256}"),
            ):
                self.assert_problem(answer, status, name)
                retry_after = "1" if status == 503 else None
                self.assertEqual(answer.header("Retry-After"), retry_after)

    def test_too_many_uploads(self) -> None:
        """Past the bounds on pending uploads: 429 for the client, 503 for all."""
        self.serve(MemoryStore(pending=PendingLimits(total=2, per_client=1)))
        self.register()
        answer = self.register(sha256=UNKNOWN)
        self.assert_problem(answer, 429, "client-uploads")
        self.assertEqual(answer.header("Retry-After"), "1")
        self.successResultOf(self.store.register(ImageSpec("1" * 64, 1, 1)))
        answer = self.register(sha256=UNKNOWN)
        self.assert_problem(answer, 503, "too-many-uploads")
        self.assertEqual(answer.header("Retry-After"), "1")

    def test_uploads_of_one_network(self) -> None:
        """Addresses in one IPv6 /64 are one client; so are two forms of an IPv4's."""
        store = MemoryStore(pending=PendingLimits(per_client=1))
        api = make_api(
            store,
            max_image_size=MAX_IMAGE,
            max_chunk_size=MAX_CHUNK,
            trusted_proxies=[ip_network("127.0.0.0/8")],
        )
        self.client = Client(self.factory(api))
        for number, (address, status) in enumerate(
            (
                ("2001:db8:0:1::1", 201),
                ("2001:db8:0:1:ffff:ffff:ffff:ffff", 429),
                ("2001:db8:0:2::1", 201),
                ("192.0.2.1", 201),
                ("::ffff:192.0.2.1", 429),
                ("192.0.2.2", 201),
            )
        ):
            spec = {"sha256": f"{number:064x}", "size": 1, "chunk_size": 1}
            answer = self.ask("POST", "/image", spec, X_Forwarded_For=address)
            self.assertEqual(answer.status, status, address)

    def test_internal_error(self) -> None:
        """A mistake of ours is 500, is logged, and is not shown."""
        self.serve(BrokenStore(ZeroDivisionError("secret")))
        answer = self.register()
        self.assert_problem(answer, 500, "internal-error")
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_large_image(self) -> None:
        """A large image is sent in pieces; HEAD reads none of them."""
        content = b"0123456789" * (3 * PIECE // 10)
        store = ColdStore(content)
        self.serve(store)
        answer = self.ask("GET", f"/image/{CAT_SHA256}")
        self.assertEqual(answer.body, content)
        self.assertEqual(answer.length, len(content))
        self.assertLessEqual(max(end - start for start, end in store.reads), PIECE)
        store.reads.clear()
        head, _, body = self.raw(f"HEAD /image/{CAT_SHA256}").partition(b"\r\n\r\n")
        self.assertIn(b"\r\ncontent-length: %d" % len(content), head.lower())
        self.assertEqual((body, store.reads), (b"", []))

    def test_large_image_that_cannot_be_read(self) -> None:
        """If the first piece cannot be read, the response is an error."""
        self.serve(ColdStore(b"x" * 3 * PIECE, fail_at=0))
        answer = self.ask("GET", f"/image/{CAT_SHA256}")
        self.assert_problem(answer, 503, "storage-failed")

    def test_large_image_that_breaks_off(self) -> None:
        """If a later piece cannot be read, the client sees a cut response."""
        self.serve(ColdStore(b"x" * 3 * PIECE, fail_at=PIECE))
        answer = self.client.begin("GET", f"/image/{CAT_SHA256}")
        self.client.treq.flush()
        self.failureResultOf(answer)
        self.assertEqual(len(self.flushLoggedErrors(StorageFailedError)), 1)

    def test_handlers_are_independent(self) -> None:
        """A slow request does not hold up another one."""
        opening: Deferred[IImageReader] = Deferred()
        store = ColdStore(b"cat")
        store.opening = opening
        self.serve(store)
        slow = self.client.begin("GET", f"/image/{CAT_SHA256}")
        self.assertEqual(self.register().status, 201)
        self.assertNoResult(slow)
        opening.callback(store)
        self.client.treq.flush()
        self.assertEqual(self.successResultOf(slow).body, b"cat")


@implementer(IImageReader)
class ColdStore(MemoryStore):
    """A store of one image that is not in memory, and that image's reader."""

    completed = 0.0
    content = kept = None

    def __init__(self, data: bytes, fail_at: int | None = None) -> None:
        super().__init__()
        self.data = data
        self.spec = ImageSpec(CAT_SHA256, len(data), 1_000)
        self.fail_at = fail_at
        self.reads: list[tuple[int, int]] = []
        self.opening: Deferred[IImageReader] = succeed(self)

    def open(self, sha256: str) -> Deferred[IImageReader]:  # noqa: ARG002 - the only
        """Return itself."""
        opening, self.opening = self.opening, succeed(self)
        return opening

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """Not be called: large images are read as ranges."""
        raise AssertionError(start, end)

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """Read, or fail."""
        self.reads += ranges
        reading: Deferred[Sequence[bytes]] = Deferred()
        if self.fail_at is not None and ranges[0][0] >= self.fail_at:
            reading.errback(StorageFailedError())
        else:
            reading.callback([self.data[start:end] for start, end in ranges])
        return reading


class SiteTests(APIContract, SynchronousTestCase):
    """The contract under stock `twisted.web.server.Site`."""

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return a stock Site."""
        return Site(api.app.resource(), reactor=MemoryReactorClock())


class ServerTests(APIContract, SynchronousTestCase):
    """The contract on asciid's HTTP server."""

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return the factory that the daemon uses."""
        return make_server(api, reactor=self.reactor)
