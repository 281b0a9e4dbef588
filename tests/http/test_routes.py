"""Tests of asciid.http._routes: what is remembered of paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from klein import Klein
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import MethodNotAllowed, NotFound

from asciid.http import Limits
from asciid.http._routes import _MOST, _SHORT, RouteTable
from tests.http._support import Site

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Asked:
    """As much of a request as is looked at."""

    path: bytes
    method: bytes = b"GET"

    def getRequestHostname(self) -> bytes:
        """Return what the client asked for."""
        return b"localhost"

    def getHost(self) -> None:
        """Know nothing."""

    def isSecure(self) -> bool:
        """Return whether it came by TLS."""
        return False


class RecentTests(SynchronousTestCase):
    """Paths that are asked for again."""

    def setUp(self) -> None:
        """Make a table, and count how often it is walked through."""
        app = Klein()

        @app.route("/image/<name>", methods=["GET"])
        def image(request: object, name: str) -> bytes:
            raise NotImplementedError

        @app.route("/image/<name>/chunks", methods=["POST"])
        def chunks(request: object, name: str) -> bytes:
            raise NotImplementedError

        self.table = RouteTable(app, Limits())
        self.walked: list[str] = []
        walk = self.table._walk

        def counted(path: str, method: str) -> Any:  # noqa: ANN401 - as it is
            self.walked.append(path)
            return walk(path, method)

        self.patch(self.table, "_walk", counted)

    def find(
        self, path: bytes, method: bytes = b"GET"
    ) -> tuple[Any, Mapping[str, Any]]:
        """Return the name of a route, and the values in the path."""
        route, values = self.table.find(Asked(path, method))  # type: ignore[arg-type] # enough of one
        return route.endpoint, values

    def test_again(self) -> None:
        """The same path leads to the same route, and is looked up once."""
        for _ in range(3):
            found = self.find(b"/image/c%61t/chunks", b"POST")
            self.assertEqual(found, ("chunks", {"name": "cat"}))
            self.assertEqual(self.find(b"/image/cat"), ("image", {"name": "cat"}))
        self.assertEqual(self.walked, ["/image/cat/chunks", "/image/cat"])

    def test_another_method(self) -> None:
        """What is remembered of one method says nothing of others."""
        self.find(b"/image/cat")
        for _ in range(2):
            self.assertRaises(MethodNotAllowed, self.find, b"/image/cat", b"POST")

    def test_nothing_there(self) -> None:
        """What is not found is not remembered."""
        for _ in range(2):
            self.assertRaises(NotFound, self.find, b"/picture/cat")
        self.assertEqual(self.table._recent, {})

    def test_long_path(self) -> None:
        """A path that is longer than the bound is not walked, nor decoded."""
        limit = Limits().path
        name = b"%41" * 300
        path = b"/image/" + name + b"A" * (limit - len(name) - 7)
        self.find(path)
        self.assertEqual(len(self.walked), 1)
        self.assertRaises(NotFound, self.find, path + b"A")
        self.assertEqual(len(self.walked), 1)

    def test_bounded(self) -> None:
        """However many paths there are, and however long, so many are remembered."""
        self.find(b"/image/" + b"x" * _SHORT)
        self.assertEqual(self.table._recent, {})
        for number in range(_MOST + 1):
            self.find(b"/image/%d" % number)
        self.assertEqual(len(self.table._recent), 1)


class HostTests(SynchronousTestCase):
    """Paths without a route, for which werkzeug gets the host."""

    def test_long_label(self) -> None:
        """A host that no DNS can have is refused where it matters."""
        site = Site(Klein())
        [answer] = site.ask(b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * 64))
        self.assertEqual(answer.status, 400)
        [answer] = site.ask(b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * 63))
        self.assertEqual(answer.status, 404)
