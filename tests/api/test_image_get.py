"""Tests of asciid.api._image_get: an image as an HTTP resource, on both stacks."""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from email.utils import parsedate_to_datetime
from hashlib import sha256, sha512

import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from asciid.api import _content_codings
from asciid.api._sending import PIECE
from asciid.errors import StorageFailedError
from tests._thoroughness import examples
from tests.api._raw import (
    LAST_MODIFIED,
    OnAsciid,
    OneImage,
    OnSite,
    RawAnswer,
    RawCase,
)

SMALL = b"/\\_/\\\n( o.o )\n >^<\n"
ART = b"/\\_/\\ ( o.o )  >^<\n" * 100
LARGE = b"0123456789" * (3 * PIECE // 10)

IMAGE_FIELDS = {
    "accept-ranges",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-security-policy",
    "content-type",
    "etag",
    "last-modified",
    "repr-digest",
    "x-content-type-options",
}
KEPT_FIELDS = {
    "access-control-allow-origin",
    "access-control-expose-headers",
    "cache-control",
    "etag",
}


def digest(data: bytes) -> str:
    """Return the Repr-Digest of bytes."""
    return f"sha-256=:{b64encode(sha256(data).digest()).decode()}:"


def parts_of(answer: RawAnswer) -> list[tuple[str, bytes]]:
    """Parse a multipart body: Content-Range and bytes of each part."""
    media_type, _, boundary = answer.fields["content-type"].partition("; boundary=")
    assert media_type == "multipart/byteranges"
    pieces = (b"\r\n" + answer.body).split(b"\r\n--" + boundary.encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        assert b"\r\nContent-Type: text/plain; charset=utf-8" in head
        match = re.search(rb"\r\nContent-Range: (.*)", head)
        assert match is not None
        parts.append((match[1].decode(), data))
    return parts


class DownloadContract(RawCase):
    """GET and HEAD of an image."""

    def setUp(self) -> None:
        """Serve a small image."""
        self.put(SMALL)

    def put(self, data: bytes, *, hot: bool = True) -> None:
        """Serve one image from now on."""
        self.store = OneImage(data, hot=hot)
        self.name = self.store.sha256
        self.etag = f'"{self.name}"'
        self.serve(self.store)

    def get(self, *lines: str, method: str = "GET") -> RawAnswer:
        """Request the image with these header lines."""
        return self.ask(method, f"/image/{self.name}", *lines)

    def assert_whole(self, answer: RawAnswer) -> None:
        """Check that the answer is the bare image."""
        self.assertEqual(answer.status, 200)
        # Diffs of large bodies would take minutes.
        self.assertTrue(answer.body == self.store.data)
        self.assertEqual(answer.fields["etag"], self.etag)
        self.assertNotIn("content-encoding", answer.fields)

    def assert_not_modified(self, answer: RawAnswer) -> None:
        """Check that the answer is 304."""
        self.assertEqual((answer.status, answer.body), (304, b""))
        self.assert_fields(answer, KEPT_FIELDS)

    def test_fields(self) -> None:
        """A response has validators, a digest and security fields."""
        for data, hot in ((SMALL, True), (LARGE, False), (b"", False)):
            self.put(data, hot=hot)
            answer = self.get()
            self.assert_whole(answer)
            self.assert_fields(answer, IMAGE_FIELDS)
            fields = answer.fields
            self.assertEqual(fields["content-type"], "text/plain; charset=utf-8")
            self.assertEqual(fields["content-length"], str(len(data)))
            self.assertEqual(
                fields["content-disposition"], f'inline; filename="{self.name}.txt"'
            )
            self.assertEqual(
                fields["cache-control"], "public, max-age=31536000, immutable"
            )
            self.assertEqual(fields["last-modified"], LAST_MODIFIED)
            self.assertEqual(fields["accept-ranges"], "bytes")
            self.assertEqual(fields["repr-digest"], digest(data))
            self.assertEqual(fields["x-content-type-options"], "nosniff")
            self.assertIn("sandbox", fields["content-security-policy"])

    def test_head(self) -> None:
        """HEAD has the fields of GET, whatever the request, and no body."""
        for data, hot in ((SMALL, True), (ART, True), (LARGE, False), (b"", True)):
            self.put(data, hot=hot)
            for line in ("Accept: */*", "Accept-Encoding: gzip, zstd"):
                fields = self.get(line).fields
                answer = self.get(line, method="HEAD")
                self.assertEqual((answer.status, answer.body), (200, b""))
                differ = ("date", "x-request-id")
                for name in differ:
                    self.assertEqual(name in fields, name in answer.fields)
                    fields.pop(name, None)
                    answer.fields.pop(name, None)
                self.assertEqual(answer.fields, fields)

    def test_completed_in_the_future(self) -> None:
        """Last-Modified is never later than Date, if the clock was set back."""
        self.store.completed = 99_999_999_999.0
        modified = parsedate_to_datetime(self.get().fields["last-modified"])
        # Stock twisted.web sets Date before the handler is called, maybe in the
        # second before.
        date = parsedate_to_datetime(self.get().fields["date"])
        self.assertLessEqual(modified, date)

    def test_if_none_match(self) -> None:
        """A client that has the image gets 304, for every form of the condition."""
        for lines in (
            [f"If-None-Match: {self.etag}"],
            [f"If-None-Match: W/{self.etag}"],
            [f'If-None-Match: "a,b" , W/"c", {self.etag}'],
            ['If-None-Match: "x"', f"If-None-Match: {self.etag}"],
            [f"If-None-Match: {self.etag}", 'If-None-Match: "x"'],
            ["If-None-Match: *"],
        ):
            for method in ("GET", "HEAD"):
                self.assert_not_modified(self.get(*lines, method=method))
        for value in ('"x"', f'"{self.name}-gzip"', self.name, "", "W/", '"'):
            self.assert_whole(self.get(f"If-None-Match: {value}"))

    def test_many_tags(self) -> None:
        """Of a list of tags 4 KiB are read."""
        for count, found in ((1_000, True), (1_100, False)):
            tags = '"x",' * count + self.etag
            answer = self.get(f"If-None-Match: {tags}")
            self.assertEqual(answer.status, 304 if found else 200)
            answer = self.get(f"If-Match: {tags}")
            self.assertEqual(answer.status, 200 if found else 412)
        late = f"If-Modified-Since: {LAST_MODIFIED}" + " " * 100 + "x"
        self.assert_whole(self.get(late))

    def test_if_modified_since(self) -> None:
        """Without an entity tag the date decides; malformed dates are ignored."""
        for date in (
            LAST_MODIFIED,
            "Tue, 14 Nov 2023 22:13:21 GMT",
            "Tuesday, 14-Nov-23 22:13:20 GMT",
            "Tue Nov 14 22:13:20 2023",
        ):
            self.assert_not_modified(self.get(f"If-Modified-Since: {date}"))
        for date in ("Tue, 14 Nov 2023 22:13:19 GMT", "tomorrow", "0", ""):
            self.assert_whole(self.get(f"If-Modified-Since: {date}"))
        self.assert_whole(
            self.get('If-None-Match: "x"', f"If-Modified-Since: {LAST_MODIFIED}")
        )

    def test_if_match(self) -> None:
        """Failed If-Match and If-Unmodified-Since are 412."""
        for value in (self.etag, f'"x", {self.etag}', "*"):
            self.assert_whole(self.get(f"If-Match: {value}"))
        for value in ('"x"', f"W/{self.etag}", f'"{self.name}-zstd"', ""):
            answer = self.get(f"If-Match: {value}")
            self.assert_problem(answer, 412, "precondition-failed")

    def test_if_unmodified_since(self) -> None:
        """Without an entity tag, the date decides."""
        for date in (LAST_MODIFIED, "Wed, 15 Nov 2023 00:00:00 GMT", "never"):
            self.assert_whole(self.get(f"If-Unmodified-Since: {date}"))
        early = "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT"
        self.assert_problem(self.get(early), 412, "precondition-failed")
        self.assert_whole(self.get(early, f"If-Match: {self.etag}"))

    def test_order_of_conditions(self) -> None:
        """404 and 406 precede 412, that precedes 304, and that 416."""
        has, wrong = f"If-None-Match: {self.etag}", 'If-Match: "x"'
        beyond = "Range: bytes=100-"
        answer = self.get(has, wrong, beyond)
        self.assert_problem(answer, 412, "precondition-failed")
        self.assert_not_modified(self.get(has, beyond))
        answer = self.get(has, wrong, "Accept: image/png")
        self.assert_problem(answer, 406, "not-acceptable")
        answer = self.ask("GET", f"/image/{'0' * 64}", "If-None-Match: *", wrong)
        self.assert_problem(answer, 404, "image-not-found")

    def test_accept(self) -> None:
        """Clients that accept plain text get it; others get 406."""
        for lines in (
            [],
            ["Accept:"],
            ["Accept: */*"],
            ["Accept: text/*"],
            ["Accept: text/plain;q=0.1"],
            ["Accept: image/png, */*;q=0.1"],
            ["Accept: text/plain", "Accept: image/png"],
            ["Accept: image/png", "Accept: text/plain"],
        ):
            self.assert_whole(self.get(*lines))
        for value in ("text/plain;q=0", "image/png", "*/*, text/*;q=0"):
            answer = self.get(f"Accept: {value}")
            self.assert_problem(answer, 406, "not-acceptable")

    def test_codings(self) -> None:
        """An encoded image is another representation, with its own fields."""
        self.put(ART)
        for coding, decode in (
            ("gzip", gzip.decompress),
            ("zstd", zstandard.ZstdDecompressor().decompress),
        ):
            for _ in range(2):
                answer = self.get(f"Accept-Encoding: {coding}")
                names = IMAGE_FIELDS - {"accept-ranges"} | {"content-encoding", "vary"}
                self.assert_fields(answer, names)
                self.assertEqual(decode(answer.body), ART)
                self.assertLess(len(answer.body), len(ART))
                fields = answer.fields
                self.assertEqual(fields["content-encoding"], coding)
                self.assertEqual(fields["vary"], "Accept-Encoding")
                self.assertEqual(fields["etag"], f'"{self.name}-{coding}"')
                self.assertEqual(fields["repr-digest"], digest(answer.body))
            has = f"If-None-Match: {fields['etag']}"
            answer = self.get(has, f"Accept-Encoding: {coding}")
            self.assertEqual(answer.status, 304)
            self.assert_fields(answer, KEPT_FIELDS | {"vary"})

    def test_tags_of_all_codings(self) -> None:
        """A client that has the image in any coding gets a 304 with that tag."""
        self.put(ART)
        tags = [f'"{self.name}{coding}"' for coding in ("", "-gzip", "-zstd")]
        for tag in tags:
            for accept in ("identity", "gzip", "zstd", "gzip, zstd", "br"):
                for method in ("GET", "HEAD"):
                    lines = f"Accept-Encoding: {accept}", f"If-None-Match: W/{tag}"
                    answer = self.get(*lines, method=method)
                    self.assertEqual(answer.status, 304)
                    self.assertEqual(answer.fields["etag"], tag)
                    self.assertEqual(answer.fields["vary"], "Accept-Encoding")
            self.assertEqual(self.get(f"If-Match: {tag}").status, 200)
            answer = self.get(f"If-Match: W/{tag}")
            self.assert_problem(answer, 412, "precondition-failed")

    def test_tags_and_ranges(self) -> None:
        """A range, which is one of the bare image, is sent on its tag alone."""
        self.put(ART)
        asked = "Range: bytes=5-9", "Accept-Encoding: gzip"
        coded = f'"{self.name}-gzip"'
        answer = self.get(*asked, f"If-Match: {coded}")
        self.assert_problem(answer, 412, "precondition-failed")
        self.assertEqual(self.get(*asked, f"If-None-Match: {coded}").status, 206)
        self.assertEqual(self.get(*asked, f"If-Range: {coded}").body, ART)
        # All representations have the same date.
        dated = f"If-Range: {LAST_MODIFIED}"
        self.assertEqual(self.get(*asked, dated).body, ART)
        bare = "Range: bytes=5-9", "Accept-Encoding: identity"
        self.assertEqual(self.get(*bare, dated).status, 206)
        for line in ("If-Match", "If-Range"):
            answer = self.get(*asked, f'{line}: "{self.name}"')
            self.assertEqual((answer.status, answer.body), (206, ART[5:10]))
            self.assertNotIn("content-encoding", answer.fields)
            self.assertEqual(answer.fields["vary"], "Accept-Encoding")

    def test_encoded_once(self) -> None:
        """An image is encoded at the first request for it, not at the next."""
        made = []

        def encode(content: bytes) -> bytes:
            made.append(content)
            return b"encoded"

        self.patch(_content_codings, "_ENCODERS", {b"gzip": encode})
        self.put(ART)
        for _ in range(2):
            self.assertEqual(self.get("Accept-Encoding: gzip").body, b"encoded")
        self.assertEqual(made, [ART])

    def test_nothing_encoded(self) -> None:
        """Nothing is encoded for an answer without a body."""
        made: list[bytes] = []
        self.patch(_content_codings, "_ENCODERS", {b"gzip": made.append})
        self.put(ART)
        for method in ("GET", "HEAD"):
            etag = f'"{self.name}-gzip"'
            gzip_only = "Accept-Encoding: gzip"
            answer = self.get(f"If-None-Match: {etag}", gzip_only, method=method)
            self.assertEqual((answer.status, answer.fields["etag"]), (304, etag))
        answer = self.get(gzip_only, method="HEAD")
        self.assertEqual((answer.status, answer.fields["etag"]), (200, etag))
        self.assertEqual(answer.fields["content-encoding"], "gzip")
        self.assertNotIn("content-length", answer.fields)
        self.assertEqual(made, [])

    def test_no_coding(self) -> None:
        """Identity is sent if no coding is accepted or supported."""
        self.put(ART)
        for lines in ([], ["Accept-Encoding:"], ["Accept-Encoding: br, gzip;q=0"]):
            answer = self.get(*lines)
            self.assert_whole(answer)
            self.assertEqual(answer.fields["vary"], "Accept-Encoding")
        for data, hot in ((SMALL, True), (LARGE, True), (LARGE, False), (ART, False)):
            self.put(data, hot=hot)
            answer = self.get("Accept-Encoding: gzip, zstd")
            self.assert_whole(answer)

    def test_bare_image_refused(self) -> None:
        """Without identity a client gets a coding, or 406."""
        refused = "Accept-Encoding: gzip;q=0.1, identity;q=0"
        self.assert_problem(self.get(refused), 406, "not-acceptable")
        self.put(ART)
        for line in ("Accept: */*", "Range: bytes=0-5"):
            answer = self.get(refused, line)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.fields["content-encoding"], "gzip")

    def test_want_repr_digest(self) -> None:
        """A client may request another digest, or none."""
        self.assertEqual(
            self.get("Want-Repr-Digest: sha-256=1, sha-512=9").fields["repr-digest"],
            f"sha-512=:{b64encode(sha512(SMALL).digest()).decode()}:",
        )
        for value in ("sha-512=1, sha-256=9", "md5=9", "sha-256=3", "?", ""):
            answer = self.get(f"Want-Repr-Digest: {value}")
            self.assertEqual(answer.fields["repr-digest"], digest(SMALL))
        answer = self.get("Want-Repr-Digest: sha-256=0")
        self.assertNotIn("repr-digest", answer.fields)
        self.put(LARGE, hot=False)
        answer = self.get("Want-Repr-Digest: sha-512=9")
        self.assertEqual(answer.fields["repr-digest"], digest(LARGE))

    def test_range(self) -> None:
        """A range is 206 with Content-Range, always in identity."""
        for data, hot in ((ART, True), (LARGE, True), (LARGE, False)):
            self.put(data, hot=hot)
            size = len(data)
            for value, start, end in (
                ("0-4", 0, 5),
                ("7-7", 7, 8),
                ("100-", 100, size),
                ("-3", size - 3, size),
                (f"-{size * 2}", 0, size),
                (f"1-{size * 2}", 1, size),
                ("0-4, 5-8", 0, 9),
                ("5-8,0-6", 0, 9),
                (f"{size}-, 2-3", 2, 4),
            ):
                answer = self.get(f"Range: bytes={value}", "Accept-Encoding: gzip")
                self.assertEqual(answer.status, 206)
                self.assertTrue(answer.body == data[start:end])
                vary = {"vary"} if data == ART else set()
                self.assert_fields(answer, IMAGE_FIELDS | {"content-range"} | vary)
                fields = answer.fields
                self.assertEqual(
                    fields["content-range"], f"bytes {start}-{end - 1}/{size}"
                )
                self.assertEqual(fields["content-length"], str(end - start))
                self.assertEqual(fields["etag"], self.etag)
                self.assertEqual(fields["repr-digest"], digest(data))

    def test_ranges(self) -> None:
        """Several ranges are a multipart body, in the requested order."""
        for data, hot in ((SMALL, True), (LARGE, True), (LARGE, False)):
            self.put(data, hot=hot)
            size = len(data)
            answer = self.get(f"Range: bytes=-2, 0-1, 4-{size - 5}")
            self.assertEqual(answer.status, 206)
            self.assert_fields(answer, IMAGE_FIELDS)
            self.assertEqual(
                parts_of(answer),
                [
                    (f"bytes {size - 2}-{size - 1}/{size}", data[-2:]),
                    (f"bytes 0-1/{size}", data[:2]),
                    (f"bytes 4-{size - 5}/{size}", data[4:-4]),
                ],
            )

    def test_large_ranges(self) -> None:
        """A large range is sent in pieces, of an image in memory as well."""
        for hot in (True, False):
            self.put(LARGE, hot=hot)
            answer = self.get(f"Range: bytes=1-{2 * PIECE}, -3")
            end = 2 * PIECE + 1
            self.assertEqual(
                self.store.reads,
                [
                    # Cut where the pieces of an image are cut that was sent whole.
                    (1, PIECE),
                    (PIECE, 2 * PIECE),
                    (2 * PIECE, end),
                    (len(LARGE) - 3, len(LARGE)),
                ],
            )
            self.assertEqual(
                [part for _, part in parts_of(answer)], [LARGE[1:end], LARGE[-3:]]
            )

    def test_small_ranges(self) -> None:
        """Small parts of an image on the disk are read at once, not one by one."""
        self.put(LARGE, hot=False)
        starts = range(0, len(LARGE), len(LARGE) // 15)
        answer = self.get(f"Range: bytes={','.join(f'{i}-{i + 9}' for i in starts)}")
        self.assertEqual(
            [part for _, part in parts_of(answer)], [LARGE[i : i + 10] for i in starts]
        )
        self.assertEqual(len(self.store.batches), 1)

    def test_large_in_memory(self) -> None:
        """A large image is sent in pieces also from memory."""
        self.put(LARGE, hot=True)
        self.assert_whole(self.get())
        self.assertEqual(len(self.store.reads), 3)
        self.assertEqual(
            self.get(method="HEAD").fields["content-length"], str(len(LARGE))
        )

    def test_range_ignored(self) -> None:
        """A range that is malformed, of another unit, or too much, is ignored."""
        self.put(LARGE)
        many = ",".join(f"{i}-{i}" for i in range(0, 34, 2))
        for value in ("bytes=5-4", "bytes=", "lines=0-1", "0-4", f"bytes={many}"):
            self.assert_whole(self.get(f"Range: {value}"))
        answer = self.get(f"Range: bytes={many[3:]}")
        self.assertEqual(len(parts_of(answer)), 16)
        answer = self.get("Range: bytes=0-4", method="HEAD")
        self.assertEqual(answer.status, 200)

    def test_range_not_satisfiable(self) -> None:
        """An unsatisfiable range is 416 with the size."""
        size = len(SMALL)
        for value in (f"{size}-", f"{size}-{size + 5}", "-0", "900-999, 1000-"):
            answer = self.get(f"Range: bytes={value}")
            self.assert_problem(answer, 416, "range-not-satisfiable")
            self.assertEqual(answer.fields["content-range"], f"bytes */{size}")
            self.assertNotIn("etag", answer.fields)
        self.put(b"")
        self.assertEqual(self.get("Range: bytes=0-").status, 416)
        self.assert_whole(self.get("Range: bytes=-5"))

    def test_if_range(self) -> None:
        """A range is sent only if the client's part is of this very image."""
        ask = "Range: bytes=0-4"
        for value in (self.etag, LAST_MODIFIED):
            answer = self.get(ask, f"If-Range: {value}")
            self.assertEqual((answer.status, answer.body), (206, SMALL[:5]))
        for value in (
            f"W/{self.etag}",
            f'"{self.name}-gzip"',
            "Tue, 14 Nov 2023 22:13:21 GMT",
            "*",
            "",
        ):
            self.assert_whole(self.get(ask, f"If-Range: {value}"))
        self.assert_whole(self.get("Range: bytes=99-", 'If-Range: "x"'))

    def test_ranges_are_slices(self) -> None:
        """Any requested range returns that part of the image."""
        number = st.integers(0, 60)
        spec = st.one_of(
            st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}"),
            number.map(lambda first: f"{first}-"),
            number.map(lambda length: f"-{length}"),
        )
        data = bytes(range(50))

        @examples(60)
        @given(st.lists(spec, min_size=1, max_size=5), st.booleans())
        def check(specs: list[str], hot: bool) -> None:  # noqa: FBT001 - hypothesis
            self.put(data, hot=hot)
            answer = self.get("Range: bytes=" + ",".join(specs))
            wanted = set()
            for text in specs:
                first, _, last = text.partition("-")
                positions = range(50)
                if not first:
                    wanted |= set(positions[len(positions) - min(int(last), 50) :])
                else:
                    wanted |= set(positions[int(first) : int(last or 49) + 1])
            if not wanted:
                self.assertEqual(answer.status, 416)
                return
            self.assertEqual(answer.status, 206)
            if "content-range" in answer.fields:
                parts = [(answer.fields["content-range"], answer.body)]
            else:
                parts = parts_of(answer)
                self.assertGreater(len(parts), 1)
            sent: list[int] = []
            for content_range, part in parts:
                match = re.fullmatch(r"bytes (\d+)-(\d+)/50", content_range)
                assert match is not None
                self.assertEqual(part, data[int(match[1]) : int(match[2]) + 1])
                sent += part
            self.assertEqual(sorted(sent), sorted(wanted))

        check()

    def test_failure_before_the_first_byte(self) -> None:
        """An error has nothing of the image's fields: no cache may keep it."""
        self.put(LARGE, hot=False)

        def read(start: int, end: int) -> Deferred[bytes]:  # noqa: ARG001 - fails
            return fail(StorageFailedError())

        self.store.read = read  # type: ignore[method-assign]
        for lines in ([], ["Range: bytes=0-4"], ["Range: bytes=0-4,9-10"]):
            answer = self.get(*lines)
            self.assert_problem(answer, 503, "storage-failed")
            self.assertEqual(answer.fields["cache-control"], "no-store")
            self.assertEqual(
                set(answer.fields) & IMAGE_FIELDS,
                {
                    "cache-control",
                    "access-control-allow-origin",
                    "access-control-expose-headers",
                    "content-length",
                    "content-type",
                    "x-content-type-options",
                },
            )


class SiteTests(OnSite, DownloadContract, SynchronousTestCase):
    """Downloads under stock `twisted.web.server.Site`."""


class ServerTests(OnAsciid, DownloadContract, SynchronousTestCase):
    """Downloads on asciid's HTTP server."""
