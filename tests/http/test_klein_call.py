"""Handlers, as Klein calls them and as they are called without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from klein import Klein
from klein._decorators import bindable
from klein.interfaces import IKleinRequest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.http._klein_call import klein_call
from tests.http._support import Site, get

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.http._request import Request

REQUEST: Any = object()


class KleinCallTests(SynchronousTestCase):
    """The arguments and the result are those of Klein."""

    def assert_same(self, app: Klein, **values: object) -> None:
        """Call the only endpoint both ways."""
        [(name, handler)] = app.endpoints.items()
        expected = app.execute_endpoint(name, REQUEST, **values)
        found = klein_call(handler, app._instance)(REQUEST, **values)
        if isinstance(expected, Deferred):
            expected = self.successResultOf(expected)
            found = self.successResultOf(Deferred.fromCoroutine(found))
        self.assertEqual(found, expected)

    def test_function(self) -> None:
        """A function gets the request and the values of its path."""
        app = Klein()

        @app.route("/<name>")  # type: ignore[type-var]
        def handler(*args: object, **values: object) -> object:
            return args, values

        self.assert_same(app, name="x")

    def test_coroutine(self) -> None:
        """A coroutine function is called with the same."""
        app = Klein()

        @app.route("/<name>")  # type: ignore[type-var]
        async def handler(*args: object, **values: object) -> object:
            return args, values

        self.assert_same(app, name="x")

    def test_method(self) -> None:
        """A method gets its instance first."""

        class Service:
            app = Klein()

            @app.route("/<name>")  # type: ignore[type-var]
            def handler(*args: object, **values: object) -> object:
                return args, values

        self.assert_same(Service().app, name="x")

    def test_bindable(self) -> None:
        """A handler that always takes an instance gets None without one."""
        app = Klein()

        def handler(*args: object) -> object:
            return args

        app.route("/")(bindable(handler))  # type: ignore[type-var]
        self.assert_same(app)

    def test_error_handler(self) -> None:
        """An error handler gets the failure as well."""

        class Service:
            app = Klein()

            @app.handle_errors(ValueError)  # type: ignore[arg-type]
            def handler(*args: object) -> object:
                return args

        app = Service().app
        [(_, handler)] = app._error_handlers
        expected = app.execute_error_handler(handler, REQUEST, REQUEST)
        found = klein_call(handler, app._instance)(REQUEST, REQUEST)
        self.assertEqual(found, expected)

    def test_not_wrapped(self) -> None:
        """The handler itself is called, without a function of Klein around it."""

        def handler(_: object) -> bytes:
            return b""

        app = Klein()
        app.route("/")(handler)
        [wrapper] = app.endpoints.values()
        self.assertIs(klein_call(wrapper, None), handler)

    def test_branch(self) -> None:
        """The handler of a branch learns which segments follow."""
        app = Klein()

        @app.route("/tree", branch=True)
        def handler(request: Request) -> bytes:
            return repr(IKleinRequest(request).branch_segments).encode()

        [answer] = Site(app).ask(get(b"/tree/a/b"))
        self.assertEqual(answer.body, b"['a', 'b']")

    def test_wrapped_by_others(self) -> None:
        """A function that is no wrapper of Klein's is called with the instance."""

        def handler(*args: object) -> object:
            return args

        call: Callable[..., object] = klein_call(handler, self)
        self.assertEqual(call(REQUEST), (self, REQUEST))
