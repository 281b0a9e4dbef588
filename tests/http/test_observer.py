"""Notifications of observers, and the counters of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import KleinFactory, Limits, Observers
from tests.http._app import App
from tests.http._support import Site, get, post

if TYPE_CHECKING:
    from asciid.http import Refusal, Request


class Recorder:
    """An observer that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.sizes: list[int] = []

    def answered(self, request: Request, seconds: float) -> None:
        """Keep an answer."""
        entry = request.route.endpoint, request.method, request.code, seconds
        self.calls.append(entry)
        self.sizes.append(request.size)

    def refused(self, refusal: Refusal) -> None:
        """Keep a refusal."""
        self.calls.append(("refused", refusal.method, refusal.status))
        self.sizes.append(refusal.size)

    def abandoned(self, request: Request) -> None:
        """Keep that a client has left."""
        self.calls.append(("abandoned", request.route.endpoint, request.method))
        self.sizes.append(request.size)


class ObserverTests(SynchronousTestCase):
    """Observers are notified once of every request."""

    def setUp(self) -> None:
        """Serve the app, observed."""
        self.recorder = Recorder()
        self.site = Site(App().app, Limits(connections=3), observer=self.recorder)

    def calls(self) -> list[tuple[object, ...]]:
        """Return the calls since the last time."""
        calls, self.recorder.calls = self.recorder.calls, []
        return calls

    def test_given(self) -> None:
        """An observer is given to the factory, which needs none."""
        observed = KleinFactory(App().app, reactor=Clock(), observer=self.recorder)
        self.assertIs(observed.observer, self.recorder)
        self.assertIs(KleinFactory(App().app, reactor=Clock()).observer, None)

    def test_answered(self) -> None:
        """Endpoint, method and status of each of several requests in one read."""
        wire = self.site.connect()
        wire.send(get(b"/a") + post(b"/echo", b"cat") + get(b"/status/418"))
        wire.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(
            self.calls(),
            [
                ("a", b"GET", 200, 0.0),
                ("echo", b"POST", 200, 0.0),
                ("status", b"GET", 418, 0.0),
                ("a", b"HEAD", 200, 0.0),
            ],
        )

    def test_path_that_is_not_utf_8(self) -> None:
        """An observer finds no route at a request that has none."""
        routes = []

        def refused(refusal: Refusal) -> None:
            assert refusal.request is not None
            routes.append((refusal.request.route.endpoint, refusal.status))

        self.recorder.refused = refused  # type: ignore[method-assign]
        [answer] = self.site.ask(get(b"/%ff"))
        self.assertEqual(answer.status, 400)
        self.assertEqual(routes, [(None, 400)])

    def test_no_route(self) -> None:
        """Without a route there is no endpoint."""
        self.site.ask(get(b"/nowhere"))
        self.assertEqual(self.calls(), [(None, b"GET", 404, 0.0)])

    def test_seconds(self) -> None:
        """The time is from the head to the end of the answer, body included."""
        wire = self.site.connect()
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\n")
        self.site.advance(2)
        wire.send(b"Content-Length: 3\r\n\r\nca")
        self.site.advance(3)
        self.assertEqual(self.calls(), [])
        wire.send(b"t")
        self.assertEqual(self.calls(), [("echo", b"POST", 200, 3.0)])

    def test_written(self) -> None:
        """Of a response in pieces they are notified once."""
        self.site.ask(get(b"/chunks"))
        self.assertEqual(
            [entry[:3] for entry in self.calls()], [("chunks", b"GET", 200)]
        )

    def test_refused(self) -> None:
        """What the HTTP server answers itself is a refusal, and nothing else."""
        self.site.ask(b"nonsense\r\n\r\n")
        self.site.ask(get(b"/user/%ff"))
        wire = self.site.connect().send(b"GET")
        self.site.advance(12)
        wire.leave()
        self.assertEqual(
            self.calls(),
            [("refused", b"", 400), ("refused", b"GET", 400), ("refused", b"", 408)],
        )

    def test_too_many_connections(self) -> None:
        """One connection too many is a refusal."""
        wires = [self.site.connect() for _ in range(4)]
        self.assertTrue(wires[-1].over)
        self.assertEqual(self.calls(), [("refused", b"", 503)])

    def test_abandoned(self) -> None:
        """A client that disconnects before its response is reported once."""
        wire = self.site.connect().send(get(b"/wait"))
        wire.leave()
        self.assertEqual(self.calls(), [("abandoned", "wait", b"GET")])

    def test_left_after(self) -> None:
        """One that disconnects after its response is not reported."""
        wire = self.site.connect().send(get(b"/a"))
        self.calls()
        wire.leave()
        self.assertEqual(self.calls(), [])

    def test_sizes(self) -> None:
        """The bytes of the body that were sent, however it was sent."""
        wires = [
            self.site.connect().send(request)
            for request in (
                *(get(b"/a"), post(b"/echo", b"cats"), get(b"/a", method=b"HEAD")),
                *(
                    get(b"/chunks"),
                    get(b"/a", b"Connection: close"),
                    b"nonsense\r\n\r\n",
                ),
            )
        ]
        methods = [b"GET", b"POST", b"HEAD", b"GET", b"GET", b"GET"]
        sent = [
            len(wire.answers(method)[0].body)
            for wire, method in zip(wires, methods, strict=True)
        ]
        self.assertEqual(self.recorder.sizes, sent)
        self.assertEqual(sent[1:3], [4, 0])

    def test_several(self) -> None:
        """Several observers get the same calls."""
        recorders = [Recorder(), Recorder()]
        site = Site(App().app, observer=Observers(*recorders))
        site.ask(get(b"/a"))
        site.ask(b"nonsense\r\n\r\n")
        site.connect().send(get(b"/wait")).leave()
        for recorder in recorders:
            self.assertEqual(
                recorder.calls,
                [
                    ("a", b"GET", 200, 0.0),
                    ("refused", b"", 400),
                    ("abandoned", "wait", b"GET"),
                ],
            )


class CountTests(SynchronousTestCase):
    """Bytes and connections."""

    def test_bytes(self) -> None:
        """All bytes of requests and responses are counted."""
        site = Site(App().app)
        sent = received = 0
        for request in (get(b"/a"), post(b"/echo", b"cat"), b"nonsense\r\n\r\n"):
            wire = site.connect().send(request)
            sent += len(request)
            received += len(wire.take())
        self.assertEqual(
            (site.factory.bytes_in, site.factory.bytes_out), (sent, received)
        )

    def test_connections(self) -> None:
        """Connections are counted until they are closed."""
        site = Site(App().app)
        wires = [site.connect(), site.connect()]
        self.assertEqual(site.factory.connections, 2)
        for wire in wires:
            wire.leave()
        self.assertEqual(site.factory.connections, 0)
