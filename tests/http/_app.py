"""A small Klein app that does what Klein apps do; served by both stacks."""

# ruff: noqa: ARG002 - Klein gives handlers the request, wanted or not
# ruff: noqa: D401 - what a handler does is what it answers

from __future__ import annotations

from typing import TYPE_CHECKING

from klein import Klein, Response
from klein.interfaces import IKleinRequest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPullProducer
from twisted.python.failure import Failure
from twisted.web.template import Element, TagLoader, tags
from werkzeug.exceptions import Gone, HTTPException, NotFound
from werkzeug.routing import BaseConverter, ValidationError
from zope.interface import implementer

from asciid.http import PreparedHead, body_of, read_body, streams_body

if TYPE_CHECKING:
    from asciid.http._request import Request

__all__ = ["App", "Even"]

PREPARED = PreparedHead(202, [(b"x-name", b"value"), (b"x-one", b"prepared")])


class TeapotError(Exception):
    """Handled by an error handler."""


class KettleError(Exception):
    """Handled by an error handler that fails itself."""


class Even(BaseConverter):
    """Even numbers."""

    regex = r"\d+"

    def to_python(self, value: str) -> int:
        """Refuse odd numbers."""
        if int(value) % 2:
            raise ValidationError
        return int(value)


@implementer(IPullProducer)
class Counter:
    """Writes a number each time it is resumed, and ends the response."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.count = 0

    def resumeProducing(self) -> None:
        """Write one."""
        self.request.write(b"%d," % self.count)
        self.count += 1
        if self.count == 5:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None:
        """See ``IProducer``."""


class App:
    """The app, bound to an instance as a service's is."""

    app = Klein()
    app.url_map.converters["even"] = Even

    def __init__(self) -> None:
        self.waiting: list[Deferred[bytes]] = []
        self.cancelled = 0
        self.notices: list[object] = []

    @app.route("/")
    def root(self, request: Request) -> str:
        """Text."""
        return "r\xf6\xf6t"

    @app.route("/a", methods=["GET"])
    def a(self, request: Request) -> bytes:
        """Bytes."""
        return b"A"

    @app.route("/none")
    def none(self, request: Request) -> None:
        """Nothing."""

    @app.route("/number")  # type: ignore[type-var]
    def number(self, request: Request) -> int:
        """Something that is no body."""
        return 1

    @app.route("/echo", methods=["GET", "POST", "PUT"])
    def echo(self, request: Request) -> bytes:
        """The body."""
        return body_of(request)

    @app.route("/content", methods=["POST"])
    def content(self, request: Request) -> bytes:
        """The body, in pieces."""
        first: bytes = request.content.read(2)
        rest: bytes = request.content.read()
        return rest + first

    @app.route("/stream", methods=["PUT"])
    @streams_body
    async def stream(self, request: Request) -> bytes:
        """The length of the body, read piece by piece."""
        size = 0

        def receive(piece: bytes) -> None:
            nonlocal size
            size += len(piece)

        await read_body(request, receive)
        return b"%d" % size

    @app.route("/args")
    def args(self, request: Request) -> bytes:
        """The query."""
        pairs = sorted(request.args.items())
        return b";".join(b"%b=%b" % (k, b",".join(v)) for k, v in pairs)

    @app.route("/form", methods=["POST"])
    def form(self, request: Request) -> bytes:
        """The query and the form."""
        return self.args(request)

    @app.route("/fields")
    def fields(self, request: Request) -> bytes:
        """The request as its handler sees it."""
        request.setHeader("x-name", "value")
        seen = [
            request.getHeader(b"x-one"),
            request.getHeader("x-one"),
            request.getHeader(b"X-Two"),
            request.getHeader(b"none"),
            request.requestHeaders.getRawHeaders(b"x-two"),
            sorted(request.getAllHeaders().items()),
            request.method,
            request.uri,
            request.path,
            request.prepath,
            request.postpath,
            request.clientproto,
            request.getRequestHostname(),
            request.isSecure(),
            request.getClientIP(),
            request.getClientAddress().host,  # type: ignore[attr-defined]
            request.getHost().host,  # type: ignore[attr-defined]
        ]
        return repr(seen).encode()

    @app.route("/user/<name>")
    def user(self, request: Request, name: str) -> bytes:
        """A segment."""
        return f"{name} {request.prepath} {request.postpath}".encode()

    @app.route("/user/me")
    def me(self, request: Request) -> bytes:
        """A word that a variable would match as well."""
        return b"me"

    @app.route("/user/<name>/item/<int:number>", methods=["GET", "DELETE"])
    def item(self, request: Request, name: str, number: int) -> bytes:
        """Two variables."""
        return f"{name!r} {number!r}".encode()

    @app.route("/even/<even:number>")
    def even(self, request: Request, number: int) -> bytes:
        """A converter that may refuse."""
        return b"%d" % number

    @app.route("/dir/")
    def directory(self, request: Request) -> bytes:
        """With a slash at its end."""
        return b"directory"

    @app.route("/url")
    def url(self, request: Request) -> str:
        """A URL of the app."""
        return IKleinRequest(request).url_for("item", {"name": "x", "number": 3})

    @app.route("/deferred")
    def deferred(self, request: Request) -> Deferred[bytes]:
        """A Deferred that has fired."""
        return succeed(b"deferred")

    @app.route("/wait")
    def wait(self, request: Request) -> Deferred[bytes]:
        """A Deferred that the test fires."""

        def cancel(_: object) -> None:
            self.cancelled += 1

        waiting: Deferred[bytes] = Deferred(cancel)
        self.waiting.append(waiting)
        request.notifyFinish().addBoth(self.notices.append)
        return waiting

    @app.route("/coroutine")
    async def coroutine(self, request: Request) -> str:
        """A coroutine."""
        await succeed(None)
        return "coroutine"

    @app.route("/response")  # type: ignore[type-var]
    def response(self, request: Request) -> Response:
        """Klein's own response object."""
        return Response(202, {"x-many": ["1", "2"], "x-one": b"1"}, "accepted")

    @app.route("/element")
    def element(self, request: Request) -> Element:
        """A template."""
        return Element(loader=TagLoader(tags.p("template")))

    @app.route("/chunks")
    def chunks(self, request: Request) -> None:
        """Several writes."""
        request.write(b"one ")
        request.write(b"")
        request.write(b"two")

    @app.route("/finish")
    def finish(self, request: Request) -> None:
        """Finishes by itself."""
        request.write(b"done")
        request.finish()

    @app.route("/sized")
    def sized(self, request: Request) -> None:
        """Says how long it is."""
        request.setHeader(b"content-length", b"6")
        request.setHeader(b"content-type", b"text/plain")
        request.write(b"abc")
        request.write(b"def")

    @app.route("/pull")
    def pull(self, request: Request) -> Deferred[None]:
        """A pull producer."""
        request.registerProducer(Counter(request), streaming=False)
        return request.notifyFinish()

    @app.route("/status/<int:code>")
    def status(self, request: Request, code: int) -> bytes:
        """Any status."""
        request.setResponseCode(code)
        return b"body"

    @app.route("/phrase")
    def phrase(self, request: Request) -> bytes:
        """A reason phrase."""
        request.setResponseCode(299, b"Fine")
        return b"fine"

    @app.route("/prepared/<kind>", methods=["GET"])
    def prepared(self, request: Request, kind: str) -> bytes:
        """A prepared head, with what else a handler may set."""
        if kind == "before":
            request.setHeader(b"x-one", b"before")
        PREPARED.apply(request)
        if kind == "after":
            request.setHeader(b"X-One", b"after")
        if kind == "status":
            request.setResponseCode(299, b"Fine")
        if kind == "close":
            request.setHeader(b"connection", b"close")
        if kind == "written":
            request.write(b"pre")
            return b"pared"
        return b"" if kind == "empty" else b"prepared"

    @app.route("/moved")
    def moved(self, request: Request) -> bytes:
        """A redirect."""
        request.redirect(b"/a")
        return b""

    @app.route("/raise/<kind>")  # type: ignore[type-var]
    def raises(self, request: Request, kind: str) -> object:
        """Every way to fail."""
        if kind == "deferred":
            return fail(TeapotError())
        if kind == "failure":
            return Failure(TeapotError())
        kinds: dict[str, type[Exception]] = {
            "teapot": TeapotError,
            "kettle": KettleError,
            "gone": Gone,
            "value": ValueError,
        }
        raise kinds[kind]

    @app.route("/raise-late")
    async def raise_late(self, request: Request) -> str:
        """Fails after a while."""
        await succeed(None)
        raise TeapotError

    @app.handle_errors(KettleError)  # type: ignore[arg-type]
    def kettle(self, request: Request, failure: Failure) -> str:
        """Fail again, as something that the next handler knows."""
        raise TeapotError

    @app.handle_errors(TeapotError)  # type: ignore[arg-type]
    def teapot(self, request: Request, failure: Failure) -> Deferred[str]:
        """Answer."""
        request.setResponseCode(418)
        return succeed("teapot")

    @app.handle_errors(NotFound)  # type: ignore[arg-type]
    def not_found(self, request: Request, failure: Failure) -> str:
        """Answer in the app's own way, or leave it to the defaults."""
        if request.path == b"/default":
            failure.raiseException()
        request.setResponseCode(404)
        return "nothing here"

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    def http_error(self, request: Request, failure: Failure) -> Failure:
        """Pass it on."""
        return failure
