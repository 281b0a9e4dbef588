"""Heads of responses that are encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein import Klein
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import PreparedHead, encode_fields
from tests.http._support import Site, get

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.http._request import Request

TEXT = [(b"content-type", b"text/plain"), (b"x-name", b"value")]


class PreparedHeadTests(SynchronousTestCase):
    """Responses with a prepared head."""

    def site(self, handler: Callable[[Request], bytes]) -> Site:
        """Serve one handler."""
        app = Klein()
        app.route("/")(handler)
        return Site(app, request_ids=iter([b"1", b"2", b"3", b"4"]))

    def serve(self, head: PreparedHead, body: bytes = b"body") -> Site:
        """Serve a body with a prepared head."""

        def handler(request: Request) -> bytes:
            head.apply(request)
            return body

        return self.site(handler)

    def test_bytes(self) -> None:
        """What each response has of its own follows what was prepared."""
        wire = self.serve(PreparedHead(202, TEXT)).connect()
        for number in (b"1", b"2"):
            self.assertEqual(
                wire.send(get(b"/")).take(),
                b"HTTP/1.1 202 Accepted\r\n"
                b"Content-Type: text/plain\r\n"
                b"X-Name: value\r\n"
                b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                b"X-Request-Id: %b\r\n"
                b"Content-Length: 4\r\n"
                b"\r\n"
                b"body" % number,
            )

    def test_date(self) -> None:
        """Date is that of the response."""
        site = self.serve(PreparedHead(200, TEXT))
        [before] = site.ask(get(b"/"))
        site.factory.heads._wall_clock = lambda: 784111778.0
        site.time.now += 1
        [after] = site.ask(get(b"/"))
        self.assertEqual(before.fields["date"], "Sun, 06 Nov 1994 08:49:37 GMT")
        self.assertEqual(after.fields["date"], "Sun, 06 Nov 1994 08:49:38 GMT")

    def test_framing(self) -> None:
        """Persistence and framing are those of the request."""
        site = self.serve(PreparedHead(200, TEXT))
        [answer] = site.ask(get(b"/", b"Connection: close"))
        self.assertEqual(answer.fields["connection"], "close")
        old = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        [answer] = site.ask(old)
        self.assertEqual(answer.fields["connection"], "keep-alive")
        site.factory.draining = True
        [answer] = site.ask(get(b"/"))
        self.assertEqual(answer.fields["connection"], "close")

    def test_head(self) -> None:
        """A response to HEAD has the prepared Content-Length, and no body."""
        head = PreparedHead(200, [*TEXT, (b"Content-Length", b"4")])
        for body in (b"body", b""):
            [answer] = self.serve(head, body).ask(get(b"/", method=b"HEAD"), b"HEAD")
            self.assertEqual(answer.fields["content-length"], "4")
        empty = PreparedHead(200, [*TEXT, (b"Content-Length", b"0")])
        [answer] = self.serve(empty, b"").ask(get(b"/", method=b"HEAD"), b"HEAD")
        self.assertEqual(answer.fields["content-length"], "0")

    def test_without_a_body(self) -> None:
        """A 304 has neither body nor type."""
        [answer] = self.serve(PreparedHead(304, [(b"ETag", b'"a"')]), b"").ask(
            get(b"/")
        )
        self.assertEqual(answer.status, 304)
        self.assertEqual(set(answer.fields), {"date", "etag", "x-request-id"})

    def test_default_type(self) -> None:
        """A body without a type gets the default one."""
        [answer] = self.serve(PreparedHead(200, [(b"x-name", b"value")])).ask(get(b"/"))
        self.assertEqual(answer.fields["content-type"], "text/html")
        self.assertEqual(answer.fields["x-name"], "value")

    def test_fields(self) -> None:
        """Fields in responseHeaders include those that were prepared."""

        def handler(request: Request) -> bytes:
            PreparedHead(200, TEXT).apply(request)
            return repr(request.responseHeaders.getRawHeaders(b"x-name")).encode()

        [answer] = self.site(handler).ask(get(b"/"))
        self.assertEqual(answer.body, b"[b'value']")
        self.assertEqual(answer.fields["x-name"], "value")

    def test_replaces(self) -> None:
        """The response to an error has none of the same fields that were set before."""

        def handler(request: Request) -> bytes:
            request.setHeader(b"content-type", b"text/html")
            request.setHeader(b"link", b"</old>")
            request.setHeader(b"content-length", b"99")
            request.setHeader(b"x-other", b"kept")
            link = encode_fields([(b"link", b"</new>")])
            PreparedHead(404, TEXT).apply(request, link, 4, replaces=True)
            return b"body"

        [answer] = self.site(handler).ask(get(b"/"))
        self.assertEqual(answer.body, b"body")
        self.assertEqual(answer.fields["content-length"], "4")
        self.assertEqual(answer.fields["content-type"], "text/plain")
        self.assertEqual(answer.fields["link"], "</new>")
        self.assertEqual(answer.fields["x-other"], "kept")

    def test_header_injection(self) -> None:
        """Control characters in values are spaces."""
        head = PreparedHead(200, [(b"x-name", b"a\r\nX-Evil: b")])
        [answer] = self.serve(head).ask(get(b"/"))
        self.assertEqual(answer.fields["x-name"], "a X-Evil: b")

    def test_refused(self) -> None:
        """A name that is no token is refused, and what only the server sends."""
        for name in (b"a b", b"Connection", b"date", b"transfer-encoding"):
            with self.assertRaises(ValueError):
                PreparedHead(200, [(name, b"x")])
