"""What is found in the fields of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein import Klein
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import cached_by_fields
from tests.http._support import Site, get, post
from tests.http.test_differential import StockSite

if TYPE_CHECKING:
    from asciid.http._request import Request


class CachedByFieldsTests(SynchronousTestCase):
    """Calls of a function of the fields."""

    def setUp(self) -> None:
        """Serve an app that answers with a field."""
        self.calls = 0
        app = Klein()

        @cached_by_fields
        def found(request: Request) -> bytes:
            self.calls += 1
            value = request.getHeader(b"x-one")
            if value is None:
                raise ValueError
            return value

        @app.route("/")
        def handler(request: Request) -> bytes:
            try:
                return found(request)
            except ValueError:
                return b"none"

        self.app = app
        self.site = Site(app)

    def ask(self, *lines: bytes) -> bytes:
        """Return what was found."""
        [answer] = self.site.ask(get(b"/", *lines))
        return answer.body

    def test_same_fields(self) -> None:
        """It is called once for the same fields, and again for others."""
        for _ in range(2):
            self.assertEqual(self.ask(b"X-One: 1"), b"1")
        self.assertEqual(self.calls, 1)
        self.assertEqual(self.ask(b"X-One: 2"), b"2")
        self.assertEqual(self.calls, 2)

    def test_other_lengths(self) -> None:
        """Fields are the same whatever Content-Length says."""
        for size in (5, 6, 700):
            request = post(b"/", b"x" * size, b"X-One: 1")
            self.assertEqual(self.site.ask(request)[0].body, b"1")
        self.assertEqual(self.calls, 1)

    def test_other_tags(self) -> None:
        """Nor does the value of If-None-Match make them others, in its usual form."""
        for tag in (b"a", b"b", b"c-gzip"):
            self.assertEqual(self.ask(b"X-One: 1", b'If-None-Match: "%b"' % tag), b"1")
        self.assertEqual(self.calls, 1)
        self.assertEqual(self.ask(b"X-One: 2", b'If-None-Match: "a"'), b"2")
        self.assertEqual(self.ask(b"X-One: 1"), b"1")
        self.assertEqual(self.calls, 3)

    def test_other_ids(self) -> None:
        """Nor does the id of a request."""
        for name in (b"a", b"b"):
            self.assertEqual(self.ask(b"X-One: 1", b"X-Request-Id: " + name), b"1")
        self.assertEqual(self.calls, 1)

    def test_failures(self) -> None:
        """What it raises is not cached."""
        for _ in range(2):
            self.assertEqual(self.ask(), b"none")
        self.assertEqual(self.calls, 2)

    def test_stock(self) -> None:
        """On twisted.web it is called for each request."""
        stock = StockSite(self.app)
        for _ in range(2):
            self.assertEqual(stock.ask(get(b"/", b"X-One: 1"))[0].body, b"1")
        self.assertEqual(self.calls, 2)
