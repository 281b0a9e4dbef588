"""Clients that are slow, on a clock that is set by hand."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.http import Limits
from tests.http._app import App
from tests.http._support import Site, Wire, get, post

CHUNKED = b"Transfer-Encoding: chunked"


class TimeoutTests(SynchronousTestCase):
    """The default timeouts: 10 s for a head, 20 s for progress, 60 s idle."""

    def setUp(self) -> None:
        """Serve the app."""
        self.app = App()
        self.site = Site(self.app.app, Limits(endpoint_bodies={"stream": 10**8}))
        self.addCleanup(self.site.factory.doStop)

    def drip(self, wire: Wire, data: bytes, interval: float) -> float:
        """Send a byte at a time; return the time when the server had enough."""
        start = self.site.time.now
        for byte in data:
            if wire.over:
                break
            wire.send(bytes([byte]))
            self.site.advance(interval)
        return self.site.time.now - start

    def test_no_request(self) -> None:
        """A connection on which nothing arrives is closed, without a response."""
        wire = self.site.connect()
        self.site.advance(9)
        self.assertFalse(wire.transport.closed)
        self.site.advance(3)
        self.assertTrue(wire.transport.closed)
        self.assertEqual(wire.take(), b"")

    def test_slow_head(self) -> None:
        """A head that drips in is 408 after ten seconds, however it drips."""
        for interval in (0.5, 2, 9):
            wire = self.site.connect()
            taken = self.drip(wire, get(b"/a", b"X: " + b"x" * 100), interval)
            self.assertLess(taken, 21)
            self.assertEqual(wire.answers()[0].status, 408)

    def test_slow_head_of_a_head(self) -> None:
        """The method shows already that the 408 must have no body."""
        wire = self.site.connect().send(get(b"/a", method=b"HEAD")[:-5])
        self.site.advance(12)
        [answer] = wire.answers(b"HEAD")
        self.assertEqual(answer.status, 408)

    def test_head_in_time(self) -> None:
        """A head that takes nine seconds is served."""
        request = get(b"/a")
        wire = self.site.connect().send(request[:5])
        self.site.advance(9)
        self.assertEqual(wire.send(request[5:]).answers()[0].status, 200)

    def test_second_head(self) -> None:
        """The time of a head begins with its first byte."""
        wire = self.site.connect().send(get(b"/a"))
        self.site.advance(50)
        wire.send(b"GET")
        self.site.advance(9)
        self.assertFalse(wire.over)
        self.site.advance(3)
        self.assertEqual([a.status for a in wire.answers()], [200, 408])

    def test_idle(self) -> None:
        """An idle connection is closed after a minute, without an answer."""
        wire = self.site.connect().send(get(b"/a"))
        wire.take()
        self.site.advance(59)
        self.assertFalse(wire.transport.closed)
        self.site.advance(3)
        self.assertTrue(wire.transport.closed)
        self.assertEqual(wire.take(), b"")

    def test_empty_lines(self) -> None:
        """Empty lines keep a connection no longer than silence does."""
        for first in (b"", get(b"/a")):
            wire = self.site.connect().send(first)
            self.assertLess(self.drip(wire, b"\r\n" * 100, 2), 65)
            self.assertTrue(wire.transport.closed)

    def test_slow_handler(self) -> None:
        """A handler may take its time, and the idle time begins after it."""
        wire = self.site.connect().send(get(b"/wait"))
        self.site.advance(1000)
        self.app.waiting[0].callback(b"")
        self.site.advance(59)
        self.assertFalse(wire.transport.closed)

    def test_stalled_body(self) -> None:
        """A body without progress is 408 after twenty seconds."""
        for start in (post(b"/echo", b"hello")[:-1], get(b"/echo", CHUNKED)):
            wire = self.site.connect().send(start)
            self.site.advance(19)
            self.assertFalse(wire.over)
            self.site.advance(3)
            self.assertEqual(wire.answers()[0].status, 408)

    def test_dripping_body(self) -> None:
        """A body that drips is too slow on the whole."""
        wire = self.site.connect().send(post(b"/echo", b"x" * 1000)[:-1000])
        self.assertLess(self.drip(wire, b"x" * 1000, 2), 30)
        self.assertEqual(wire.answers()[0].status, 408)

    def test_dripping_chunk_size(self) -> None:
        """Only content counts as progress."""
        wire = self.site.connect().send(get(b"/echo", CHUNKED))
        self.assertLess(self.drip(wire, b"0" * 1000, 2), 30)
        self.assertEqual(wire.answers()[0].status, 408)

    def test_slow_upload(self) -> None:
        """A long upload may take hours if it is fast enough."""
        size = 600 * 3000
        wire = self.site.connect().send(post(b"/stream", b"", method=b"PUT")[:-21])
        wire.send(b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(3000):
            self.site.advance(1)
            wire.send(b"x" * 600)
        self.assertEqual(wire.answers()[0].body, b"%d" % size)

    def test_stalled_reader(self) -> None:
        """A client that reads nothing for a minute is cut off."""
        wire = self.site.connect()
        wire.transport.stuck = True
        wire.send(post(b"/echo", b"x" * 100_000))
        wire.send(get(b"/a"))
        self.site.advance(59)
        self.assertFalse(wire.transport.aborted)
        self.site.advance(3)
        self.assertTrue(wire.transport.aborted)

    def test_slow_reader(self) -> None:
        """A client that reads some now and then is not."""
        wire = self.site.connect()
        wire.transport.stuck = True
        wire.send(post(b"/echo", b"x" * 500_000) + get(b"/a"))
        for _ in range(10):
            self.site.advance(50)
            wire.transport.catch_up()
        self.assertEqual([len(a.body) for a in wire.answers()], [500_000, 1])

    def test_stalled_at_the_end(self) -> None:
        """A client that does not read the last answer is cut off as well."""
        wire = self.site.connect()
        wire.transport.stuck = True
        wire.send(post(b"/echo", b"x" * 500_000, b"Connection: close"))
        wire.send(b"more")
        self.assertTrue(wire.paused)
        self.assertFalse(wire.over)
        self.site.advance(62)
        self.assertTrue(wire.transport.aborted)

    def test_closing_reader(self) -> None:
        """The connection is closed when the last answer has been read."""
        wire = self.site.connect()
        wire.transport.stuck = True
        wire.send(post(b"/echo", b"x" * 200_000, b"Connection: close"))
        for _ in range(4):
            self.assertFalse(wire.over)
            wire.transport.catch_up()
            self.site.advance(1)
            if wire.over:
                break
        self.assertTrue(wire.transport.half_closed)
        self.assertEqual(len(wire.answers()[0].body), 200_000)

    def test_client_that_never_closes(self) -> None:
        """A close that the client does not answer ends by force."""
        wire = self.site.connect()
        wire.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        wire.send(get(b"/a", b"Connection: close"))
        self.site.advance(10)
        self.assertTrue(wire.transport.aborted)


class ClockTests(SynchronousTestCase):
    """The wall clock, and with it the reactor's, may jump."""

    def setUp(self) -> None:
        """Serve the app."""
        self.site = Site(App().app, Limits(endpoint_bodies={"stream": 10**8}))
        self.addCleanup(self.site.factory.doStop)

    def test_forward(self) -> None:
        """An hour that did not pass ends no connection."""
        wire = self.site.connect().send(post(b"/echo", b"hello")[:-1])
        self.site.reactor.advance(3600)
        self.assertEqual(wire.send(b"o").answers()[0].status, 200)

    def test_backward(self) -> None:
        """With the timers an hour behind, what clients send drives the sweep."""
        site = self.site
        dead = site.connect().send(get(b"/a")[:-1])
        live = site.connect().send(get(b"/a"))
        site.advance(5)
        site.reactor.rightNow -= 3600
        for _ in range(10):
            site.time.now += 1
            site.reactor.advance(1)
            live.send(get(b"/a"))
        self.assertEqual(dead.answers()[0].status, 408)
        # From there the timers continue by themselves.
        site.advance(62)
        self.assertTrue(live.transport.closed)
