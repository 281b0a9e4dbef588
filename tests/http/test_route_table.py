"""Tests of asciid.http._route_table: the cache, and the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from klein import Klein
from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from asciid.http import Limits
from asciid.http._route_table import _MAX_CACHED, _MAX_CACHED_PATH, RouteTable
from tests._thoroughness import examples
from tests.http._support import Site, get

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IAddress

    from asciid.http._route_table import IRouted, Route


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
    """Paths that are requested again."""

    def setUp(self) -> None:
        """Make a table, and record the paths that are looked up."""
        app = Klein()

        @app.route("/image/<name>", methods=["GET"])
        def image(request: object, name: str) -> bytes:
            raise NotImplementedError

        @app.route("/image/<name>/chunks", methods=["POST"])
        def chunks(request: object, name: str) -> bytes:
            raise NotImplementedError

        self.table = RouteTable(app, Limits())
        self.looked_up: list[bytes] = []
        find = self.table._find

        def counted(request: IRouted) -> tuple[Route, Mapping[str, Any]]:
            self.looked_up.append(request.path)
            return find(request)

        self.patch(self.table, "_find", counted)

    def find(
        self, path: bytes, method: bytes = b"GET"
    ) -> tuple[str | None, Mapping[str, Any]]:
        """Return the name of an endpoint, and the values in the path."""
        route, values = self.table.find(Routed(path, method))
        if route.error is not None:
            raise route.error
        return route.endpoint, values

    def test_again(self) -> None:
        """The same path leads to the same route, and is looked up once."""
        for _ in range(3):
            found = self.find(b"/image/c%61t/chunks", b"POST")
            self.assertEqual(found, ("chunks", {"name": "cat"}))
            self.assertEqual(self.find(b"/image/cat"), ("image", {"name": "cat"}))
        self.assertEqual(self.looked_up, [b"/image/c%61t/chunks", b"/image/cat"])

    def test_another_method(self) -> None:
        """A cached route is that of one method."""
        self.find(b"/image/cat")
        for _ in range(2):
            self.assertRaises(MethodNotAllowed, self.find, b"/image/cat", b"POST")

    def test_nothing_there(self) -> None:
        """Errors are not cached."""
        for _ in range(2):
            self.assertRaises(NotFound, self.find, b"/picture/cat")
        self.assertEqual(self.table._cache, {})

    def test_long_path(self) -> None:
        """A path that is longer than the bound is not matched, nor decoded."""
        limit = Limits().path
        name = b"%41" * 300
        path = b"/image/" + name + b"A" * (limit - len(name) - 7)
        self.find(path)
        self.patch(self.table, "mapper", None)
        self.assertRaises(NotFound, self.find, path + b"A")

    def test_bounded(self) -> None:
        """The number of cached paths and their size are bounded."""
        self.find(b"/image/" + b"x" * _MAX_CACHED_PATH)
        self.assertEqual(self.table._cache, {})
        for number in range(_MAX_CACHED + 1):
            self.find(b"/image/%d" % number)
        self.assertEqual(len(self.table._cache), 1)


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
        """Rules may be those of one host; then nothing is cached."""
        app = Klein()
        app._url_map.host_matching = True
        app.route("/x", host="one.example")(lambda _: b"1")
        app.route("/x", endpoint="two", host="two.example")(lambda _: b"2")
        site = Site(app)
        for host, body in (("one", b"1"), ("two", b"2"), ("one", b"1")):
            request = f"GET /x HTTP/1.1\r\nHost: {host}.example\r\n\r\n".encode()
            [answer] = site.ask(request)
            self.assertEqual(answer.body, body)
        self.assertEqual(site.factory.routes._cache, {})


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
        """The endpoint, the values and the errors are the same, cached or not."""
        app = Klein()
        for number, (parts, methods) in enumerate(rules):
            rule = "/" + "/".join(each.format(i) for i, each in enumerate(parts))
            app.route(rule, methods=methods, endpoint=str(number))(lambda _: b"")
        table = RouteTable(app, Limits())
        for parts, method in requests * 2:
            path = "/" + "/".join(parts)
            expected: object
            try:
                if "//" in path:
                    raise NotFound
                adapter = app.url_map.bind("localhost", url_scheme="http")
                expected = adapter.match(path.replace("%61", "a"), method)
            except HTTPException as error:
                expected = repr(error)
            route, values = table.find(Routed(path.encode(), method.encode()))
            found = route.endpoint, values
            self.assertEqual(repr(route.error) if route.error else found, expected)
