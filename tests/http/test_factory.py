"""The factory: starting, stopping, draining, and what it takes."""

# ruff: noqa: ARG001 - Klein gives handlers the request, wanted or not

from __future__ import annotations

from typing import TYPE_CHECKING

from klein import Klein
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import KleinFactory, Limits
from asciid.http._problem import default_problem, reason_phrase
from tests.http._app import App
from tests.http._support import Site, get, post

if TYPE_CHECKING:
    from asciid.http._request import Request


class SweepTests(SynchronousTestCase):
    """The one timer."""

    def test_start_and_stop(self) -> None:
        """The sweep runs from start to stop, and a factory can start again."""
        reactor = Clock()
        factory = KleinFactory(App().app, reactor=reactor)
        self.assertEqual(reactor.getDelayedCalls(), [])
        for _ in range(2):
            factory.doStart()
            self.assertEqual(len(reactor.getDelayedCalls()), 1)
            factory.doStop()
            self.assertEqual(reactor.getDelayedCalls(), [])

    def test_stop_with_connections(self) -> None:
        """Timeouts hold until the last connection is closed."""
        site = Site(App().app)
        wire = site.connect().send(b"GET")
        site.factory.doStop()
        site.advance(12)
        self.assertTrue(wire.over)
        wire.leave()
        self.assertEqual(site.reactor.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        """Connections have no timers of their own."""
        site = Site(App().app)
        for _ in range(10):
            site.connect().send(get(b"/wait"))
        self.assertEqual(len(site.reactor.getDelayedCalls()), 1)


class DrainTests(SynchronousTestCase):
    """``drain``."""

    def setUp(self) -> None:
        """Serve the app."""
        self.app = App()
        self.site = Site(self.app.app)

    def test_nothing_to_do(self) -> None:
        """Without connections it is done at once."""
        self.successResultOf(self.site.factory.drain())

    def test_idle(self) -> None:
        """Idle connections are closed at once."""
        wires = [self.site.connect(), self.site.connect().send(get(b"/a"))]
        self.successResultOf(self.site.factory.drain())
        self.assertTrue(all(wire.transport.closed for wire in wires))

    def test_retire(self) -> None:
        """An idle connection ends with the answer to its next request."""
        self.successResultOf(self.site.factory.retire())
        wire = self.site.connect()
        retired = self.site.factory.retire()
        self.assertFalse(wire.transport.closed)
        self.assertNoResult(retired)
        wire.send(get(b"/a"))
        (answer,) = wire.answers()
        self.assertEqual(answer.fields["connection"], "close")
        wire.leave()
        self.successResultOf(retired)

    def test_busy(self) -> None:
        """The request in progress gets Connection: close, the next no response."""
        wire = self.site.connect().send(get(b"/wait") + get(b"/a"))
        drained = self.site.factory.drain()
        again = self.site.factory.drain()
        self.assertNoResult(drained)
        self.app.waiting[0].callback(b"last")
        [answer] = wire.answers()
        self.assertEqual(answer.body, b"last")
        self.assertEqual(answer.fields["connection"], "close")
        wire.half_close()
        self.successResultOf(drained)
        self.successResultOf(again)

    def test_started(self) -> None:
        """A response that has begun to be sent with keep-alive is the last too."""
        app = Klein()
        requests: list[Request] = []

        @app.route("/")
        async def handler(request: Request) -> None:
            requests.append(request)
            request.write(b"one")
            await request.notifyFinish()

        site = Site(app)
        wire = site.connect().send(get(b"/"))
        drained = site.factory.drain()
        requests[0].finish()
        self.assertEqual(wire.answers()[0].body, b"one")
        self.successResultOf(drained)
        self.assertTrue(wire.transport.closed)

    def test_half_a_request(self) -> None:
        """A request that has begun to come is still served."""
        request = post(b"/echo", b"hello")
        wires = [self.site.connect().send(request[:n]) for n in (5, len(request) - 2)]
        drained = self.site.factory.drain()
        for wire, sent in zip(wires, (5, len(request) - 2), strict=True):
            self.assertFalse(wire.over)
            [answer] = wire.send(request[sent:]).answers()
            self.assertEqual(answer.fields["connection"], "close")
            wire.half_close()
        self.successResultOf(drained)

    def test_new_connection(self) -> None:
        """A connection that was accepted later is served once."""
        waiting = self.site.connect().send(get(b"/wait"))
        self.site.factory.drain()
        wire = self.site.connect().send(get(b"/a") + get(b"/a"))
        [answer] = wire.answers()
        self.assertEqual(answer.fields["connection"], "close")
        self.assertFalse(waiting.over)


class Acceptor:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        """Record it."""
        self.calls.append("pause")

    def resume(self) -> None:
        """Record it."""
        self.calls.append("resume")


class AcceptingTests(SynchronousTestCase):
    """No more connections than there are file descriptors."""

    def test_pause(self) -> None:
        """At the bound others wait, until one of those that are open ends."""
        for acceptor in (Acceptor(), None):
            limits = Limits(connections=1, accepted=2)
            site = Site(App().app, limits, acceptor=acceptor)
            site.connect()
            with capturedLogs() as events:
                refused, another = site.connect(), site.connect()
            self.assertEqual(len(events), 1)
            self.assertIn("of 2 closes", formatEvent(events[0]))
            self.assertEqual(site.factory.pauses, 1)
            for wire in (another, refused):
                wire.leave()
            if acceptor is not None:
                self.assertEqual(acceptor.calls, ["pause", "resume"])


class ValueTests(SynchronousTestCase):
    """Limits and problem documents."""

    def test_limits(self) -> None:
        """Limits must be positive, and cannot be changed."""
        bodies = {"a": 1}
        limits = Limits(endpoint_bodies=bodies)
        bodies["a"] = 2
        self.assertEqual(limits.endpoint_bodies["a"], 1)
        for name in ("body", "idle_timeout", "time_slice"):
            with self.assertRaisesRegex(ValueError, name):
                Limits(**{name: 0})  # type: ignore[arg-type]
        with self.assertRaises(AttributeError):
            limits.body = 5  # type: ignore[misc]

    def test_unknown_status(self) -> None:
        """A status without a name has an empty title."""
        self.assertEqual(reason_phrase(299), "")
        self.assertIn(b'"title": "Not Found"', default_problem(404, "x"))


class RouteTests(SynchronousTestCase):
    """URL maps that are out of the ordinary."""

    def test_unusual_rules(self) -> None:
        """With them, werkzeug alone decides."""
        app = Klein()

        @app.route("/<path:rest>")
        def rest(request: Request, rest: str) -> str:
            return f"rest {rest}"

        @app.route("/x/<int:number>")
        def number(request: Request, number: int) -> str:
            return f"number {number}"

        @app.route("/built/<name>", build_only=True)
        def built(request: Request, name: str) -> str:
            return name

        site = Site(app)
        bodies = [site.ask(get(path))[0].body for path in (b"/x/1", b"/x/y/z", b"/x/1")]
        self.assertEqual(bodies, [b"number 1", b"rest x/y/z", b"number 1"])

    def test_ambiguous_rules(self) -> None:
        """Where two rules may fit, the one that werkzeug prefers is taken."""
        app = Klein()

        @app.route("/<int:number>/a")
        def number(request: Request, number: int) -> str:
            return f"number {number}"

        @app.route("/<name>/a")
        def name(request: Request, name: str) -> str:
            return f"name {name}"

        @app.route("/m/<name>", methods=["GET"])
        def read(request: Request, name: str) -> str:
            return f"read {name}"

        @app.route("/m/<name>", methods=["PUT"])
        def write(request: Request, name: str) -> str:
            return f"write {name}"

        @app.route("/w/<name>", methods=["GET"])
        def first(request: Request, name: str) -> str:
            return f"first {name}"

        @app.route("/w/<name>")
        def second(request: Request, name: str) -> str:
            return f"second {name}"

        site = Site(app)
        for method, path, body in (
            (b"GET", b"/1/a", b"number 1"),
            (b"GET", b"/x/a", b"name x"),
            (b"GET", b"/m/x", b"read x"),
            (b"PUT", b"/m/x", b"write x"),
            (b"GET", b"/w/x", b"first x"),
            (b"PUT", b"/w/x", b"second x"),
        ):
            [answer] = site.ask(get(path, b"Content-Length: 0", method=method))
            self.assertEqual(answer.body, body)
