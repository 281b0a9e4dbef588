"""Tests of asciid.http._route_table: what is kept, and the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from klein import Klein
from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import HTTPException, NotFound

from asciid.http import Limits
from asciid.http._request_line import RequestLine
from asciid.http._route_table import RouteTable
from tests._thoroughness import examples
from tests.http._support import Site, get

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from asciid.http._route import Found
    from asciid.http._route_table import IRouted


@define
class Routed:
    """The part of a request that decides on its route."""

    path: bytes
    method: bytes = b"GET"

    def getRequestHostname(self) -> bytes:
        """Return a name."""
        return b"localhost"

    def getHost(self) -> IAddress:
        """Return an address without a port."""
        return UNIXAddress("/run/x")

    def isSecure(self) -> bool:
        """Return that it is not encrypted."""
        return False


class RecentTests(SynchronousTestCase):
    """Request lines that are sent again."""

    def setUp(self) -> None:
        """Serve an app, and record the paths that are looked up."""
        app = Klein()

        @app.route("/image/<name>", methods=["GET"])
        def image(_: object, name: str) -> bytes:
            return b"image " + name.encode()

        @app.route("/image/<name>/chunks", methods=["POST"])
        def chunks(_: object, name: str) -> bytes:
            return b"chunks " + name.encode()

        self.site = Site(app)
        self.table = self.site.factory.routes
        self.looked_up: list[bytes] = []
        find = self.table.find

        def counted(line: RequestLine, request: IRouted) -> Found:
            self.looked_up.append(line.path)
            return find(line, request)

        self.patch(self.table, "find", counted)

    def ask(self, path: bytes, method: bytes = b"GET") -> tuple[int, bytes]:
        """Return the status and the body of a response."""
        [answer] = self.site.ask(get(path, b"Content-Length: 0", method=method))
        return answer.status, answer.body

    def test_again(self) -> None:
        """The same line leads to the same route, and its path is looked up once."""
        # The first with these fields is checked as a whole.
        self.ask(b"/image/first")
        self.ask(b"/image/first/chunks", b"POST")
        self.looked_up.clear()
        for _ in range(3):
            found = self.ask(b"/image/c%61t/chunks", b"POST")
            self.assertEqual(found, (200, b"chunks cat"))
            self.assertEqual(self.ask(b"/image/cat"), (200, b"image cat"))
        self.assertEqual(self.looked_up, [b"/image/c%61t/chunks", b"/image/cat"])

    def test_query(self) -> None:
        """A query is no part of the path."""
        for _ in range(3):
            self.assertEqual(self.ask(b"/image/cat?/chunks"), (200, b"image cat"))
        self.assertEqual(set(self.looked_up), {b"/image/cat"})

    def test_another_method(self) -> None:
        """A route is that of one method."""
        for _ in range(3):
            self.assertEqual(self.ask(b"/image/cat")[0], 200)
            self.assertEqual(self.ask(b"/image/cat", b"POST")[0], 405)

    def test_nothing_there(self) -> None:
        """Errors are not kept."""
        for _ in range(3):
            self.assertEqual(self.ask(b"/picture/cat")[0], 404)
        self.assertEqual(len(self.looked_up), 3)

    def test_long_path(self) -> None:
        """A path that is longer than the bound is not matched, nor decoded."""
        limit = Limits().path
        name = b"%41" * 300
        path = b"/image/" + name + b"A" * (limit - len(name) - 7)
        self.assertEqual(self.ask(path)[0], 200)
        self.patch(self.table, "mapper", None)
        self.assertEqual(self.ask(path + b"A")[0], 404)


class HostTests(SynchronousTestCase):
    """Paths for which werkzeug needs the host."""

    def test_long_label(self) -> None:
        """A host that no DNS can have is refused where it matters."""
        app = Klein()
        app.route("/x/")(lambda _: b"")
        site = Site(app)
        for path, status in (("/x", 308), ("/y", 404)):
            for size, expected in ((64, 400), (63, status)):
                host = "a" * size
                request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
                [answer] = site.ask(request)
                self.assertEqual(answer.status, expected)
        [answer] = site.ask(get(b"/x"))
        self.assertEqual(answer.fields["location"], "http://localhost/x/")

    def test_host_matching(self) -> None:
        """Rules may be those of one host; then no route is kept with a line."""
        app = Klein()
        app._url_map.host_matching = True
        app.route("/x", host="one.example")(lambda _: b"1")
        app.route("/x", endpoint="two", host="two.example")(lambda _: b"2")
        site = Site(app)
        for host, body in (("one", b"1"), ("two", b"2")) * 3:
            request = f"GET /x HTTP/1.1\r\nHost: {host}.example\r\n\r\n".encode()
            [answer] = site.ask(request)
            self.assertEqual(answer.body, body)


STRINGS = st.lists(st.sampled_from(["a", "<v{}>", ""]), max_size=2)
ALL_KINDS = st.lists(st.sampled_from(["a", "<v{}>", "<int:n{}>", ""]), max_size=2)
METHODS = st.sampled_from([None, ["GET"], ["PUT"]])
RULES = st.lists(st.tuples(STRINGS, METHODS), max_size=4) | st.lists(
    st.tuples(ALL_KINDS, METHODS), max_size=4
)
PATHS = st.lists(st.sampled_from(["a", "7", "%61", ""]), max_size=2)
REQUESTS = st.lists(
    st.tuples(PATHS, st.sampled_from(["GET", "HEAD", "PUT"])), min_size=3
)


class AgreementTests(SynchronousTestCase):
    """Any routes and paths, as werkzeug alone understands them."""

    def test_fixed_and_variable(self) -> None:
        """A fixed segment is preferred to a variable, whatever their order."""
        app = Klein()
        app.route("/<name>", methods=["GET"])(lambda _, **__: b"variable")
        app.route("/x", methods=["GET"], endpoint="fixed")(lambda _: b"fixed")
        app.route("/x", methods=["PUT"], endpoint="put")(lambda _: b"put")
        site = Site(app)
        for method, path, body in (
            (b"GET", b"/x", b"fixed"),
            (b"GET", b"/y", b"variable"),
            (b"PUT", b"/x", b"put"),
        ):
            [answer] = site.ask(get(path, b"Content-Length: 0", method=method))
            self.assertEqual(answer.body, body)

    def test_parameters(self) -> None:
        """A handler gets each value by its name, wherever that parameter is."""

        def first(_: object, name: str) -> bytes:
            return name.encode()

        def second(_: object, other: str = "other", name: str = "") -> bytes:
            return f"{other} {name}".encode()

        def keyword(_: object, *, name: str) -> bytes:
            return name.encode()

        def any_name(_: object, **values: str) -> bytes:
            return str(values).encode()

        app = Klein()
        for handler in (first, second, keyword, any_name):
            app.route(f"/{handler.__name__}/<name>")(handler)
        app.route("/second/<other>/<name>", endpoint="both")(second)
        site = Site(app)
        for path, body in (
            (b"/first/x", b"x"),
            (b"/second/x", b"other x"),
            (b"/second/x/y", b"x y"),
            (b"/keyword/x", b"x"),
            (b"/any_name/x", b"{'name': 'x'}"),
        ):
            [answer] = site.ask(get(path))
            self.assertEqual((path, answer.body), (path, body))

    def test_slash_at_the_end(self) -> None:
        """A fixed segment whose slash is missing is preferred to a variable, too."""
        app = Klein()
        app.route("/<name>", methods=["GET"])(lambda _, **__: b"variable")
        app.route("/x/", methods=["GET"], endpoint="fixed")(lambda _: b"fixed")
        site = Site(app)
        for path, status in ((b"/x", 308), (b"/x/", 200), (b"/y", 200)):
            [answer] = site.ask(get(path))
            self.assertEqual((path, answer.status), (path, status))

    @examples(100)
    @given(RULES, REQUESTS)
    def test_any(
        self,
        rules: list[tuple[list[str], list[str] | None]],
        requests: list[tuple[list[str], str]],
    ) -> None:
        """The endpoint, the values and the errors are the same."""
        app = Klein()
        for number, (parts, methods) in enumerate(rules):
            rule = "/" + "/".join(each.format(i) for i, each in enumerate(parts))
            app.route(rule, methods=methods, endpoint=str(number))(lambda _: b"")
        table = RouteTable(app, Limits())
        for parts, method in requests:
            path = "/" + "/".join(parts)
            expected: object
            try:
                if "//" in path:
                    raise NotFound
                adapter = app.url_map.bind("localhost", url_scheme="http")
                expected = adapter.match(path.replace("%61", "a"), method)
            except HTTPException as error:
                expected = repr(error)
            request = Routed(path.encode(), method.encode())
            line = RequestLine(request.method, request.path, request.path)
            route, values = table.find(line, request)
            found = route.endpoint, values
            self.assertEqual(repr(route.error) if route.error else found, expected)
