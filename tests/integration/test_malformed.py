"""Malformed requests, and their responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from tests.integration._case import Answer, Art, DaemonTestCase

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

HUGE = 10**400
ART = Art("/\\_/\\\n( o.o )\n > ^ <\n", 8)  # three chunks: 8, 8 and 5 bytes
SHA256 = ART.spec.sha256
IMAGE = {"sha256": "0" * 64, "size": 10, "chunk_size": 4}
CHUNK = ART.chunk(0)


@frozen
class Case:
    """A request and the status it deserves."""

    what: str
    status: int
    body: Any
    """Text or bytes are sent as they are, anything else as JSON."""
    content_type: str | None = field(default="application/json", kw_only=True)
    method: str = field(default="POST", kw_only=True)
    path: str | None = field(default=None, kw_only=True)

    @property
    def raw(self) -> bytes | None:
        """The body as it is sent."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body).encode()


BAD_HASHES: list[Any] = [
    *("", "0" * 63, "0" * 65, "g" * 64, "0" * 63 + "\n", "\uff10" * 64),
    *(None, 0, [], "0x" + "0" * 62, " " + "0" * 63, "0" * 64 + "\n"),
]
BAD_COUNTS: list[Any] = [
    *(-1, 1.5, True, False, None, "10", [], {}, HUGE, -HUGE, 2**64),
]
BAD_IDS: list[Any] = [
    *(-1, 3, 2**32, 2**63, 2**64, HUGE, 0.5, True, False, None, "0"),
]
BAD_SIZES: list[Any] = [-8, 0, 7, 9, 2**64, HUGE, 8.5, True, None, "8"]
BAD_DATA: list[Any] = [None, 8, 8.0, True, [], {}, ["/"] * 8]
NO_JSON_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "010", "+1"]

NOT_JSON = [
    Case("nothing", 400, ""),
    Case("spaces", 400, "  "),
    Case("a word", 400, "image"),
    Case("cut off", 400, '{"sha256": "00'),
    Case("more after the end", 400, "{} {}"),
    Case("single quotes", 400, "{'id': 0}"),
    Case("a comma too many", 400, '{"id": 0,}'),
    Case("not UTF-8", 400, b'{"id": 0, "size": 1, "data": "\xff"}'),
    Case("UTF-16", 400, json.dumps(CHUNK).encode("utf-16")),
    Case("a byte order mark", 400, b"\xef\xbb\xbf{}"),
    Case("NUL bytes", 400, b"\0\0\0\0"),
    Case("deep nesting", 400, "[" * 5000),
    Case("null", 400, "null"),
    Case("a number", 400, "1"),
    Case("a text", 400, '"image"'),
    Case("a list", 400, [IMAGE]),
    Case("an empty object", 400, {}),
    Case("a form", 415, "a=b", content_type="application/x-www-form-urlencoded"),
    Case("plain text", 415, json.dumps(IMAGE), content_type="text/plain"),
    Case("another JSON", 415, json.dumps(IMAGE), content_type="application/jsonx"),
    Case("no content type", 415, json.dumps(IMAGE), content_type=None),
    Case(
        "JSON in Latin-1",
        415,
        json.dumps(IMAGE),
        content_type="application/json; charset=latin-1",
    ),
]

BAD_IMAGES = [
    Case("no hash", 400, {"size": 10, "chunk_size": 4}),
    Case("no size", 400, {"sha256": "0" * 64, "chunk_size": 4}),
    Case("no chunk size", 400, {"sha256": "0" * 64, "size": 10}),
    *[
        Case(f"hash {value!r:.20}", 400, {**IMAGE, "sha256": value})
        for value in BAD_HASHES
    ],
    *[
        Case(f"{name} {value!r:.20}", 400, {**IMAGE, name: value})
        for name in ("size", "chunk_size")
        for value in BAD_COUNTS
    ],
    *[
        Case(
            f"{name} {value}",
            400,
            json.dumps({**IMAGE, name: 123}).replace("123", value),
        )
        for name in ("size", "chunk_size")
        for value in NO_JSON_NUMBERS
    ],
    Case("chunks of nothing", 400, {**IMAGE, "chunk_size": 0}),
    Case("too large", 413, {**IMAGE, "size": 64 * 2**20 + 1}),
    Case("chunks too large", 413, {**IMAGE, "chunk_size": 2**20 + 1}),
    Case("a long body", 413, {**IMAGE, "more": "x" * 2**20}),
    Case("empty with another hash", 422, {**IMAGE, "size": 0}),
]

BAD_CHUNKS = [
    Case("no id", 400, {"size": 8, "data": CHUNK["data"]}),
    Case("no size", 400, {"id": 0, "data": CHUNK["data"]}),
    Case("no data", 400, {"id": 0, "size": 8}),
    *[Case(f"id {value!r:.20}", 400, {**CHUNK, "id": value}) for value in BAD_IDS],
    *[
        Case(f"size {value!r:.20}", 400, {**CHUNK, "size": value})
        for value in BAD_SIZES
    ],
    *[Case(f"data {value!r:.20}", 400, {**CHUNK, "data": value}) for value in BAD_DATA],
    Case("NaN for a size", 400, '{"id": 0, "size": NaN, "data": "12345678"}'),
    Case("a lone high surrogate", 400, r'{"id": 0, "size": 8, "data": "12345\ud800"}'),
    Case("a lone low surrogate", 400, r'{"id": 0, "size": 8, "data": "12345\udc00"}'),
    Case("too long", 400, {"id": 0, "size": 9, "data": "123456789"}),
    Case("too short", 400, {"id": 0, "size": 7, "data": "1234567"}),
    Case("empty", 400, {"id": 0, "size": 0, "data": ""}),
    Case("last as long as the first", 400, {"id": 2, "size": 8, "data": "12345678"}),
    Case("fewer bytes than stated", 400, {"id": 0, "size": 8, "data": "1234567"}),
    Case("more bytes than stated", 400, {"id": 0, "size": 8, "data": "123456789"}),
    Case(
        "characters counted, not bytes", 400, {"id": 0, "size": 8, "data": "\xe4" * 8}
    ),
    Case("longer than any chunk", 413, {"id": 0, "size": 1, "data": "x" * 2**21}),
    Case("longer than any body", 413, {"id": 0, "size": 1, "data": "x" * 2**23}),
]

BAD_PATHS = [
    Case("nowhere", 404, None, method="GET", path="/nowhere"),
    Case("nowhere below", 404, None, method="GET", path="/image/a/b/c"),
    Case("unknown image", 404, None, method="GET", path=f"/image/{'0' * 64}"),
    Case("incomplete image", 404, None, method="GET", path=f"/image/{SHA256}"),
    Case("chunk of none", 404, CHUNK, path=f"/image/{'0' * 64}/chunks"),
    Case("short hash", 400, None, method="GET", path="/image/123"),
    Case("not text", 400, None, method="GET", path="/image/%ff%fe"),
    Case("odd hash", 400, CHUNK, path=f"/image/{'g' * 64}/chunks"),
    Case("wrong method", 405, None, method="DELETE", path="/image"),
    Case("no method", 501, None, method="BREW", path="/image"),
    Case("wrong method below", 405, None, method="PUT", path=f"/image/{SHA256}/chunks"),
]


class MalformedTests(DaemonTestCase):
    """A daemon under requests that break every rule about input."""

    async def check(self, daemon: Daemon, case: Case, path: str) -> None:
        """Send one and check that the answer is the right problem document."""
        answer = await self.request(
            case.method, daemon.url + (case.path or path), case.raw, case.content_type
        )
        self.assertEqual(answer.status, case.status, f"{case.what}: {answer.body!r}")
        self.assert_is_problem(case, answer)

    def assert_is_problem(self, case: Case, answer: Answer) -> None:
        """Check the members of RFC 9457 and the two beside them."""
        problem = answer.problem
        self.assertEqual(problem["status"], case.status)
        self.assertTrue(problem["code"].startswith(f"{case.status} "), case.what)
        self.assertEqual(problem["message"], problem["detail"])
        for member in ("type", "title", "detail"):
            self.assertIsInstance(problem[member], str)
            self.assertTrue(problem[member], case.what)
        self.assertEqual("allow" in answer.headers, case.status == 405)

    async def test_pile(self) -> None:
        """
        Each malformed request gets its problem document, and the
        upload that they aimed at continues unaffected.
        """
        daemon = self.daemon()
        self.assertEqual((await self.register(daemon, ART)).status, 201)
        chunks = f"/image/{SHA256}/chunks"
        for case in NOT_JSON + BAD_IMAGES:
            await self.check(daemon, case, "/image")
        for case in NOT_JSON + BAD_CHUNKS + BAD_PATHS:
            await self.check(daemon, case, chunks)
        for chunk_id in ART.ids:
            self.assertEqual((await self.upload(daemon, ART, chunk_id)).status, 201)
        await self.assert_downloads(daemon, ART)
        daemon.stop()

    async def test_characters_at_borders(self) -> None:
        """
        Chunks are cut by bytes: a text whose characters end where its chunks do
        is accepted; a chunk with half of one cannot be.
        """
        daemon = self.daemon()
        fitting = Art("\xe4\u2588\xf6", 7)
        self.assertEqual((await self.register(daemon, fitting)).status, 201)
        whole = {"id": 0, "size": 7, "data": fitting.text}
        url = f"{daemon.url}/image/{fitting.spec.sha256}/chunks"
        self.assertEqual((await self.post(url, whole)).status, 201)
        await self.assert_downloads(daemon, fitting)

        cut = Art("a\xe4", 2)  # the second byte is half of the second character
        self.assertEqual((await self.register(daemon, cut)).status, 201)
        url = f"{daemon.url}/image/{cut.spec.sha256}/chunks"
        for data in ("a", "a\xe4"):
            chunk = {"id": 0, "size": len(data.encode()), "data": data}
            answer = await self.post(url, chunk)
            self.assertEqual(answer.status, 400)
            self.assertEqual(answer.problem["type"], "/problems/chunk-size-mismatch")
        daemon.stop()
