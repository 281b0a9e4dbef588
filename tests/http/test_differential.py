"""The HTTP server against stock twisted.web: one app, one behaviour."""

# ruff: noqa: ARG001 - Klein gives handlers the request, wanted or not

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import server
from werkzeug.exceptions import MethodNotAllowed

from tests.http._app import App
from tests.http._support import MemoryTransport, Site, get, parse_answers, post

if TYPE_CHECKING:
    from tests.http._support import Answer

MATTERING = ("content-type", "location", "allow", "x-name", "x-many", "x-one")
"""Fields that must be the same; framing and Server may differ."""


class StockSite:
    """The same app behind ``twisted.web``."""

    def __init__(self, app: Klein) -> None:
        self.reactor = Clock()
        self.site = server.Site(app.resource(), reactor=self.reactor)

    def ask(self, request: bytes, *methods: bytes) -> list[Answer]:
        """Send a request on a connection of its own; return the responses."""
        channel: Any = self.site.buildProtocol(None)
        transport = MemoryTransport()
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(request)
        self.reactor.advance(0)
        # Its version is the client's; ours is always the one we speak.
        data = transport.value().replace(b"HTTP/1.0 ", b"HTTP/1.1 ")
        return parse_answers(data, *methods)


class DifferentialTests(SynchronousTestCase):
    """Both stacks answer a request with the same status, fields and body."""

    def setUp(self) -> None:
        """Serve the app twice."""
        self.app = App()
        self.ours = Site(self.app.app)
        self.stock = StockSite(self.app.app)

    def same(self, request: bytes, *methods: bytes) -> Answer:
        """Send a request to both; return the response if they agree."""
        [ours] = self.ours.ask(request, *methods)
        [stock] = self.stock.ask(request, *methods)
        self.assertEqual(ours.status, stock.status, request)
        self.assertEqual(ours.body, stock.body, request)
        for name in MATTERING:
            if name != "content-type" or (ours.body and stock.body):
                self.assertEqual(ours.fields.get(name), stock.fields.get(name), request)
        self.flushLoggedErrors()
        return ours

    def test_results(self) -> None:
        """Whatever Klein takes for a response is one on both stacks."""
        bodies = {
            path: self.same(get(path)).body
            for path in (
                b"/",
                b"/a",
                b"/none",
                b"/number",
                b"/deferred",
                b"/coroutine",
                b"/element",
                b"/chunks",
                b"/finish",
                b"/sized",
                b"/phrase",
                b"/moved",
            )
        }
        self.assertEqual(bodies[b"/"], "r\xf6\xf6t".encode())

    def test_response_object(self) -> None:
        """A Response of Klein sets status and fields, more than one of a name too."""
        wire = self.ours.connect().send(get(b"/response"))
        data = wire.take()
        self.assertTrue(data.startswith(b"HTTP/1.1 202 Accepted\r\n"), data)
        self.assertIn(b"\r\nX-Many: 1\r\nX-Many: 2\r\n", data)
        self.assertIn(b"\r\nX-One: 1\r\n", data)
        self.assertTrue(data.endswith(b"\r\n\r\naccepted"), data)

    def test_prepared_head(self) -> None:
        """A prepared head is the status and the fields that it has, unless changed."""
        for kind in (b"plain", b"before", b"after", b"status", b"empty", b"written"):
            answer = self.same(get(b"/prepared/" + kind))
            self.assertEqual(answer.fields["x-name"], "value")
        self.same(get(b"/prepared/plain", method=b"HEAD"), b"HEAD")
        [closing] = self.ours.ask(get(b"/prepared/close"))
        self.assertEqual(closing.fields["connection"], "close")

    def test_routes(self) -> None:
        """A path leads to the same handler, with the same values."""
        for path in (
            b"/user/jo",
            b"/user/me",
            b"/user/j%20o%2",
            b"/user/%C3%B6",
            b"/user/jo/",
            b"/user/",
            b"/user/jo/item/12",
            b"/user/me/item/12",
            b"/user/jo/item/x",
            b"/user/jo/item/12/",
            b"/even/4",
            b"/even/5",
            b"/dir/",
            b"/dir",
            b"/dir?x=1",
            b"/%61",
            b"/nope",
            b"/default",
            b"/url",
            b"/a/b/c/d/e",
            b"/%00",
            b"/user/%zz",
        ):
            self.same(get(path))

    def test_methods(self) -> None:
        """Methods are allowed, refused with Allow, and HEAD is derived from GET."""
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS"):
            for path in (b"/", b"/a", b"/dir/", b"/user/jo/item/12", b"/nope"):
                request = get(path, b"Content-Length: 0", method=method)
                stock = self.stock.ask(request, method)[0]
                allow = stock.fields.pop("allow", None)
                [ours] = self.ours.ask(request, method)
                mine = ours.fields.pop("allow", None)
                self.assertEqual(
                    (ours.status, sorted((mine or "").split(", "))),
                    (stock.status, sorted((allow or "").split(", "))),
                )
                if ours.status != MethodNotAllowed.code:
                    self.same(request, method)

    def test_fields(self) -> None:
        """The handler sees the same request."""
        request = get(
            b"/fields?q=1", b"X-One: 1", b"X-Two: a", b"x-two:b  ", b"X-Empty:"
        )
        self.same(request)
        self.same(request.replace(b"Host: localhost", b"Host: example.org:8080"))
        self.same(request.replace(b"HTTP/1.1", b"HTTP/1.0"))

    def test_arguments(self) -> None:
        """Queries and forms are decoded in the same way."""
        for query in (b"a=1&b=2&a=3", b"a=&b", b"a=%20+%zz", b"", b"a=1;b=2", b"&&=&"):
            self.same(get(b"/args?" + query))
        form = b"Content-Type: application/x-www-form-urlencoded; charset=utf-8"
        self.same(post(b"/form?a=0&c=9", b"a=1&b=%41", form))
        self.same(post(b"/form?a=0", b"a=1", b"Content-Type: text/plain"))

    def test_bodies(self) -> None:
        """Bodies arrive the same, however they are framed."""
        self.same(post(b"/echo", b"hello"))
        self.same(post(b"/content", b"hello"))
        chunked = get(b"/echo", b"Transfer-Encoding: chunked", method=b"PUT")
        self.same(chunked + b"5\r\nhello\r\n0\r\n\r\n")
        self.same(post(b"/stream", b"x" * 1000, method=b"PUT"))

    def test_statuses(self) -> None:
        """Statuses with and without a body are sent the same."""
        for code in (200, 201, 204, 304, 400, 418, 500):
            self.same(get(b"/status/%d" % code))
            self.same(get(b"/status/%d" % code, method=b"HEAD"), b"HEAD")

    def test_errors(self) -> None:
        """Error handlers are called in the same order, then the defaults."""
        for path in (
            b"/raise/teapot",
            b"/raise/kettle",
            b"/raise/deferred",
            b"/raise/failure",
            b"/raise/gone",
            b"/raise-late",
        ):
            self.same(get(path))

    def test_failure(self) -> None:
        """A failure without a handler is a 500, here with a problem document."""
        request = get(b"/raise/value")
        [ours] = self.ours.ask(request)
        [stock] = self.stock.ask(request)
        self.assertEqual((ours.status, stock.status), (500, 500))
        self.assertEqual(ours.fields["content-type"], "application/problem+json")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_unbound_app(self) -> None:
        """An app that is bound to no instance is served as well."""
        app = Klein()

        @app.route("/x/<int:number>")
        def handler(request: object, number: int) -> str:
            return f"{number + 1}"

        request = get(b"/x/41")
        [ours], [stock] = Site(app).ask(request), StockSite(app).ask(request)
        self.assertEqual((ours.body, stock.body), (b"42", b"42"))
