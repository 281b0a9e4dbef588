"""Authorization of writes on both HTTP stacks, also before the body."""

from __future__ import annotations

import json
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import (
    MemoryReactorClock,
    StringTransportWithDisconnection,
)
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from asciid.api import ImageAPI
from asciid.api._authorization import READS, Access
from asciid.api._refusals import AuthorizationMalformedError
from asciid.errors import ImageGoneError
from asciid.testing import MemoryStore
from tests._thoroughness import examples
from tests.api._raw import OnAsciid, OnSite, RawAnswer, RawCase, parse_response
from tests.api._support import (
    CAT,
    CAT_BYTES,
    CAT_SHA256,
    BrokenStore,
    OneToken,
    make_api,
    make_server,
)
from tests.store._support import DrivenStore

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "good.token-~+/_=="
GOOD = f"Authorization: Bearer {TOKEN}"
IMAGE = f"/image/{CAT_SHA256}"
CHUNKS = f"{IMAGE}/chunks"
JSON = "Content-Type: application/json"
REGISTRATION = json.dumps(
    {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 30}
)
CHALLENGE = 'Bearer realm="asciid"'


def routes() -> Iterator[tuple[str, str]]:
    """Yield each method of each path."""
    for rule in ImageAPI.app.url_map.iter_rules():
        path = rule.rule.replace("<sha256>", CAT_SHA256).replace("<name>", "cat")
        path += "?url=cat" * (path == "/oembed")
        for method in rule.methods or ():
            yield method, path


class AccessContract(RawCase):
    """Required tokens, and responses to wrong ones."""

    def setUp(self) -> None:
        """Serve an empty store."""
        self.api_options = {"tokens": OneToken(TOKEN.encode())}
        self.serve(MemoryStore())

    def register(self, *lines: str) -> RawAnswer:
        """Register the cat."""
        return self.ask("POST", "/image", JSON, *lines, body=REGISTRATION)

    def put(self, *lines: str) -> RawAnswer:
        """Send the cat."""
        return self.ask("PUT", IMAGE, *lines, body=CAT)

    def assert_refused(
        self, answer: RawAnswer, name: str, error: str | None, status: int = 401
    ) -> None:
        """Check a refusal and its challenge."""
        self.assert_problem(answer, status, name)
        challenge = CHALLENGE if error is None else f'{CHALLENGE}, error="{error}"'
        self.assertEqual(answer.fields["www-authenticate"], challenge)

    def test_every_route(self) -> None:
        """Writes require a token; reads require none."""
        found = set()
        for method, path in routes():
            answer = self.ask(method, path)
            if method.encode() in READS:
                self.assertNotIn(answer.status, (400, 401), (method, path))
            else:
                self.assert_refused(answer, "token-missing", None)
                found.add(method)
        self.assertEqual(found, {"POST", "PUT", "DELETE"})

    def test_good(self) -> None:
        """With a good token everything can be done, and without one be read."""
        self.assertEqual(self.register(GOOD).status, 201)
        body = json.dumps({"id": 0, "size": len(CAT_BYTES), "data": CAT})
        self.assertEqual(self.ask("POST", CHUNKS, JSON, GOOD, body=body).status, 201)
        self.assertEqual(self.ask("GET", IMAGE).body, CAT_BYTES)
        self.assertEqual(self.ask("DELETE", IMAGE, GOOD).status, 204)
        self.assertEqual(self.put(GOOD).status, 201)

    def test_spelling(self) -> None:
        """The name of the scheme may be in any case, with any number of spaces."""
        for scheme in ("bearer", "BEARER", "Bearer  "):
            answer = self.put(f"Authorization: {scheme} {TOKEN}")
            self.assertIn(answer.status, (200, 201))

    def test_wrong_token(self) -> None:
        """A wrong token is called that; the answer does not hold it."""
        for token in ("bad", f"{TOKEN}=", TOKEN[:-1], TOKEN.upper()):
            for answer in (
                self.register(f"Authorization: Bearer {token}"),
                self.put(f"Authorization: Bearer {token}"),
            ):
                self.assert_refused(answer, "token-invalid", "invalid_token")
                self.assertNotIn(f" {token}".encode(), answer.body)
        self.assertEqual(self.ask("GET", CHUNKS).status, 404)

    def test_other_scheme(self) -> None:
        """A client without a token gets a challenge."""
        for line in ("Authorization: Basic Y2F0", "Authorization:", f"Cookie: {TOKEN}"):
            self.assert_refused(self.register(line), "token-missing", None)
        answer = self.ask("DELETE", f"{IMAGE}?access_token={TOKEN}")
        self.assert_refused(answer, "token-missing", None)

    def test_malformed(self) -> None:
        """A malformed or repeated token is a bad request."""
        for lines in (
            ["Authorization: Bearer"],
            [f"Authorization: Bearer {TOKEN}, Bearer {TOKEN}"],
            ["Authorization: Bearer =cat"],
            ["Authorization: Bearer c\xe4t"],
            [GOOD, GOOD],
            ["Authorization: Basic Y2F0", GOOD],
        ):
            for answer in (self.register(*lines), self.put(*lines)):
                self.assert_refused(
                    answer, "authorization-malformed", "invalid_request", 400
                )

    def test_before_anything_else(self) -> None:
        """Unauthorized clients learn nothing of stored images or other errors."""
        self.put(GOOD)
        for answer in (
            self.put(),
            self.put("If-None-Match: *"),
            self.ask("PUT", "/image/cat", body="x"),
            self.ask("POST", "/image", "Content-Type: text/plain", body="x"),
            self.ask("DELETE", IMAGE),
        ):
            self.assert_refused(answer, "token-missing", None)

    def test_delete(self) -> None:
        """A deleted image is not found, and can be uploaded again."""
        for begin in (self.put, self.register):
            self.assertEqual(begin(GOOD).status, 201)
            answer = self.ask("DELETE", IMAGE, GOOD)
            self.assertEqual((answer.status, answer.body), (204, b""))
            for method, path in (("GET", IMAGE), ("GET", CHUNKS), ("DELETE", IMAGE)):
                self.assert_problem(
                    self.ask(method, path, GOOD), 404, "image-not-found"
                )
        self.assertEqual(self.put(GOOD).status, 201)
        self.assertEqual(self.ask("GET", IMAGE).body, CAT_BYTES)

    def test_delete_on_a_condition(self) -> None:
        """Preconditions apply to the image; a pending upload has no representation."""
        etag = f'"{CAT_SHA256}"'
        self.register(GOOD)
        for line in ("If-Match: *", f"If-Match: {etag}"):
            answer = self.ask("DELETE", IMAGE, GOOD, line)
            self.assert_problem(answer, 412, "precondition-failed")
        self.put(GOOD)
        many = ", ".join(f'"{number:064}"' for number in range(80))
        for line in (
            'If-Match: "other"',
            f"If-Match: {many}, {etag}",
            "If-None-Match: *",
            f"If-None-Match: {many}, {etag}",
        ):
            answer = self.ask("DELETE", IMAGE, GOOD, line)
            self.assert_problem(answer, 412, "precondition-failed")
        answer = self.ask("DELETE", IMAGE, GOOD, f"If-Match: {etag}")
        self.assertEqual(answer.status, 204)

    def test_delete_unmodified_since(self) -> None:
        """Without If-Match, If-Unmodified-Since applies to images only."""
        early = "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"
        self.register(GOOD)
        self.assertEqual(self.ask("DELETE", IMAGE, GOOD, early).status, 204)
        self.put(GOOD)
        answer = self.ask("DELETE", IMAGE, GOOD, early)
        self.assert_problem(answer, 412, "precondition-failed")
        both = early, f'If-Match: "{CAT_SHA256}"'
        self.assertEqual(self.ask("DELETE", IMAGE, GOOD, *both).status, 204)
        self.put(GOOD)
        modified = self.ask("GET", IMAGE).fields["last-modified"]
        late = f"If-Unmodified-Since: {modified}"
        self.assertEqual(self.ask("DELETE", IMAGE, GOOD, late).status, 204)

    def test_delete_tags_of_codings(self) -> None:
        """A client that has the image in a coding may delete it by that tag."""
        art = "art\n" * 500
        name = sha256(art.encode()).hexdigest()
        path = f"/image/{name}"
        for coding in ("gzip", "zstd"):
            self.ask("PUT", path, GOOD, body=art)
            answer = self.ask("GET", path, f"Accept-Encoding: {coding}")
            tag = answer.fields["etag"]
            self.assertEqual(tag, f'"{name}-{coding}"')
            answer = self.ask("DELETE", path, GOOD, f"If-None-Match: {tag}")
            self.assert_problem(answer, 412, "precondition-failed")
            answer = self.ask("DELETE", path, GOOD, f"If-Match: {tag}")
            self.assertEqual(answer.status, 204)

    def test_delete_what_is_gone(self) -> None:
        """Deleting an expired image is 410."""
        self.serve(BrokenStore(ImageGoneError(CAT_SHA256)))
        self.assert_problem(self.ask("DELETE", IMAGE, GOOD), 410, "image-gone")

    def test_no_tokens(self) -> None:
        """Without tokens all clients may write, and edit with the edit key only."""
        self.api_options = {}
        self.serve(MemoryStore())
        key = self.put("Authorization: Bearer").fields["asciid-edit-key"]
        for line in (GOOD, "X-None: none"):
            for method, path in (("DELETE", IMAGE), ("PUT", f"{IMAGE}/about")):
                answer = self.ask(method, path, JSON, line, body="{}")
                self.assert_problem(answer, 403, "edit-key-missing")
        self.assertEqual(self.ask("GET", IMAGE).body, CAT_BYTES)
        line = f"Asciid-Edit-Key: {key}"
        self.assertEqual(self.ask("DELETE", IMAGE, GOOD, line).status, 204)

    def test_edit(self) -> None:
        """With tokens, an image is edited with a token or with its edit key."""
        key = f"Asciid-Edit-Key: {self.put(GOOD).fields['asciid-edit-key']}"
        about = f"{IMAGE}/about"
        for line in (GOOD, key):
            self.assertEqual(self.ask("PUT", about, JSON, line, body="{}").status, 204)
        answer = self.ask("PUT", about, JSON, body="{}")
        self.assert_refused(answer, "token-missing", None)
        bad = "Authorization: Bearer bad"
        answer = self.ask("PUT", about, JSON, key, bad, body="{}")
        self.assert_refused(answer, "token-invalid", "invalid_token")
        other = "Asciid-Edit-Key: aaaaaaaa-aaaaaaaa-aaaaaaaa-aaaaaaaa"
        for method, path in (("DELETE", IMAGE), ("PUT", about)):
            answer = self.ask(method, path, JSON, other, body="{}")
            self.assert_problem(answer, 403, "wrong-edit-key")
        self.assertEqual(self.ask("DELETE", IMAGE, key).status, 204)

    def test_edit_conditions(self) -> None:
        """What is said about an image is not replaced if a condition is false."""
        self.put(GOOD)
        about = f"{IMAGE}/about"
        answer = self.ask("GET", about)
        self.assertEqual(answer.fields["x-content-type-options"], "nosniff")
        etag = answer.fields["etag"]
        for line in (
            'If-Match: "other"',
            "If-None-Match: *",
            f"If-None-Match: {etag}",
            f'If-None-Match: "other", W/{etag}',
        ):
            answer = self.ask("PUT", about, JSON, GOOD, line, body="{}")
            self.assert_problem(answer, 412, "precondition-failed")
        for line in (f"If-Match: {etag}", 'If-None-Match: "other"', "If-Match: *"):
            answer = self.ask("PUT", about, JSON, GOOD, line, body="{}")
            self.assertEqual(answer.status, 204)


class SiteTests(OnSite, AccessContract, SynchronousTestCase):
    """Access under stock `twisted.web.server.Site`."""


class ServerTests(OnAsciid, AccessContract, SynchronousTestCase):
    """Access on asciid's HTTP server."""

    def begin(self, method: str, path: str, *lines: str) -> Any:  # noqa: ANN401 - a transport
        """Send the head of a request, and nothing of its body."""
        api = make_api(
            MemoryStore(),
            max_image_size=1_000,
            max_chunk_size=1_000,
            **self.api_options,
        )
        self.server = make_server(api, MemoryReactorClock())
        protocol = self.server.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        head = [f"{method} {path} HTTP/1.1", "Host: a", *lines, "", ""]
        protocol.dataReceived("\r\n".join(head).encode())
        return transport

    def test_body_is_not_waited_for(self) -> None:
        """Unauthorized writes are refused at once, whatever the body."""
        for framing in (
            ["Content-Length: 20"],
            ["Content-Length: 20", "Expect: 100-continue"],
            ["Content-Length: 9999999999"],
            ["Transfer-Encoding: chunked"],
        ):
            for method, path in (("POST", "/image"), ("POST", CHUNKS), ("PUT", IMAGE)):
                transport = self.begin(method, path, JSON, *framing)
                answer = parse_response(transport.value())
                self.assert_refused(answer, "token-missing", None)
                self.assertEqual(answer.fields["connection"], "close")
                self.assertEqual(self.server.bodies.used, 0)

    def test_type_before_size(self) -> None:
        """A form or an encoded body is refused as such, whatever its size."""
        form = "Content-Type: multipart/form-data; boundary=x"
        coded = "Content-Encoding: gzip"
        for method, path, lines, name in (
            ("POST", "/image", (form,), "not-json"),
            ("POST", CHUNKS, (form,), "not-json"),
            ("PUT", IMAGE, (form,), "multipart-body"),
            ("POST", "/image", (JSON, coded), "encoded-body"),
            ("PUT", IMAGE, (JSON, coded), "encoded-body"),
        ):
            for framing in ("Content-Length: 99999999", "Transfer-Encoding: chunked"):
                transport = self.begin(method, path, GOOD, framing, *lines)
                answer = parse_response(transport.value())
                self.assertEqual(answer.status, 415)
                self.assertEqual(json.loads(answer.body)["type"], f"/problems/{name}")
                self.assertEqual(self.server.bodies.used, 0)

    def test_body_of_who_may(self) -> None:
        """An authorized client gets 100-continue; a too large body is refused."""
        line = "Expect: 100-continue"
        transport = self.begin("POST", "/image", JSON, GOOD, "Content-Length: 20", line)
        self.assertEqual(transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
        transport = self.begin("POST", "/image", JSON, GOOD, "Content-Length: 99999999")
        self.assertEqual(parse_response(transport.value()).status, 413)
        transport = self.begin("POST", "/no/where", JSON, "Content-Length: 20", line)
        self.assertEqual(parse_response(transport.value()).status, 404)

    def test_body_of_a_read(self) -> None:
        """Reads require no token, even with a body."""
        transport = self.begin("GET", IMAGE, "Content-Length: 3")
        self.assertEqual(transport.value(), b"")
        transport.protocol.dataReceived(b"cat")
        self.assertEqual(parse_response(transport.value()).status, 404)

    def test_connection_goes_on(self) -> None:
        """A refused request whose body was received keeps the connection."""
        request = f"PUT {IMAGE} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ncat"
        get = f"GET {IMAGE} HTTP/1.1\r\nHost: a\r\n\r\n"
        register = request.replace(f"PUT {IMAGE}", "POST /image")
        answers = self.client.raw(register + get)
        self.assertEqual(answers.count(b"HTTP/1.1 401"), 1)
        self.assertEqual(answers.count(b"HTTP/1.1 404"), 1)


class DeletionUnderWayTests(SynchronousTestCase):
    """Deletion during a download, with a store on disk."""

    def test_download_is_cut_off(self) -> None:
        """The client gets the first of the bytes, then the end of the connection."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        self.addCleanup(driven.stop)
        data = b"".join(b"%07d\n" % number for number in range(200_000))
        spec = driven.upload(data, 10_000)
        api = make_api(driven.store, max_image_size=2**22, max_chunk_size=2**20)
        protocol = make_server(api, driven.reactor).buildProtocol(None)
        transport: Any = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        request = f"GET /image/{spec.sha256} HTTP/1.1\r\nHost: a\r\n\r\n"
        protocol.dataReceived(request.encode())
        while len(transport.value()) < len(data) // 10:
            driven.reactor.advance(0)
            driven.read_pool.step()
        driven.store.delete(spec.sha256)
        while driven.writer_pool.step() or driven.writer_pool.work:
            driven.reactor.advance(0)
        driven.settle()
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % len(data), head)
        self.assertLess(len(body), len(data))
        self.assertTrue(data.startswith(body))
        self.assertFalse(transport.connected)


class TokenSyntaxTests(SynchronousTestCase):
    """The syntax of tokens."""

    @examples(100)
    @given(st.binary(max_size=12).filter(lambda sent: not {*b"\r\n"} & {*sent}))
    def test_anything(self, sent: bytes) -> None:
        """Whatever follows Bearer, it is refused, or is the whole of one token."""
        asked: list[bytes] = []

        class Listening:
            def accepts(self, token: bytes) -> bool:
                asked.append(token)
                return True

        request: Any = SimpleNamespace(requestHeaders=Headers())
        request.requestHeaders.addRawHeader(b"Authorization", b"Bearer " + sent)
        try:
            Access(Listening()).check(request)
        except AuthorizationMalformedError:
            self.assertEqual(asked, [])
        else:
            self.assertEqual(asked, [sent.lstrip(b" ")])
            self.assertRegex(asked[0], rb"\A[A-Za-z0-9._~+/-]+=*\Z")
