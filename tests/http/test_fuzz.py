"""Bytes in any order and any pieces."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import Limits
from tests._thoroughness import examples
from tests.http._app import App
from tests.http._support import Site, get, post

CHUNKED = b"Transfer-Encoding: chunked"

REQUESTS = [
    get(b"/a"),
    get(b"/a", method=b"HEAD"),
    get(b"/user/jo?x=y", b"X: " + b"y" * 50),
    get(b"/nope"),
    post(b"/echo", b"hello"),
    post(b"/stream", b"hello", method=b"PUT"),
    post(b"/echo", b"", b"Expect: 100-continue"),
    get(b"/echo", CHUNKED, method=b"PUT") + b"5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n",
    get(b"/stream", CHUNKED, method=b"PUT") + b"5\r\nhello\r\n0\r\n\r\n",
    get(b"/raise/teapot"),
    get(b"/chunks"),
    b"\r\n" + get(b"/none"),
    b"GET http://example.org/a HTTP/1.1\r\nHost: x\r\n\r\n",
]
LAST = [
    b"",
    get(b"/a", b"Connection: close") + get(b"/a"),
    b"GET /a HTTP/1.0\r\n\r\n" + get(b"/a"),
    b"NONSENSE\r\n\r\n" + get(b"/a"),
    get(b"/echo", CHUNKED, method=b"PUT") + b"5\r\nhello\r\nx\r\n" + get(b"/a"),
    get(b"/echo", CHUNKED, b"Content-Length: 5", method=b"PUT") + b"0\r\n\r\n",
    get(b"/a", b"Content-Length: 5000", method=b"GET") + b"x" * 50,
]
PARTS = [
    b"GET ",
    b"POST /echo ",
    b"/a",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"Host: x\r\n",
    b"Content-Length: 5\r\n",
    CHUNKED + b"\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: x\r\nConnection: upgrade\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"hello",
    b"\x00",
    b"\xff",
    b":",
    b" ",
    get(b"/a"),
    get(b"/wait"),
    post(b"/stream", b"abc", method=b"PUT"),
]


class FuzzTests(SynchronousTestCase):
    """On any bytes, the HTTP server neither raises nor hangs nor leaks."""

    @examples(60)
    @given(
        st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6),
        st.sampled_from(LAST),
        st.integers(0, 2**32),
        st.sampled_from([1, 2, 7, 40, 200]),
    )
    def test_any_split(
        self, requests: list[bytes], last: bytes, seed: int, size: int
    ) -> None:
        """However a stream is cut into reads, the answers are the same."""
        data = b"".join(requests) + last
        methods = [request.split()[0] for request in requests]
        chance = random.Random(seed)
        outcomes = []
        for whole in (True, False):
            site = Site(App().app, Limits(body=1000))
            wire = site.connect()
            start = 0
            while start < len(data):
                step = len(data) if whole else chance.randint(1, size)
                wire.send(data[start : start + step])
                site.reactor.advance(0)
                start += step
            # An interim response depends on when the body arrives, and the first
            # error of a bad request on how much of it was received.
            answers = wire.answers(*methods)
            seen = [
                (a.status, a.body if a.status < 400 else a.fields.get("connection"))
                for a in answers
                if a.status >= 200
            ]
            outcomes.append((seen, wire.over))
        self.assertEqual(*outcomes)

    @examples(200)
    @given(
        st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=8)), max_size=25),
        st.sampled_from(["leave", "half close", "wait"]),
    )
    def test_random_bytes(self, pieces: list[bytes], end: str) -> None:
        """Any bytes end in answers, a close or a timeout, and nothing is left."""
        site = Site(App().app)
        wire = site.connect().send(*pieces)
        if end == "leave":
            wire.leave()
        elif end == "half close":
            wire.half_close()
        app = site.factory
        # As many requests may wait, one after the other, and then the connection.
        for _ in range(len(pieces) + 3):
            site.advance(70)
            request = wire.channel._request
            if request is not None and request.awaited is not None:
                request.awaited.callback(b"at last")
        self.assertTrue(wire.transport.closed)
        self.assertEqual(app._connections, set())
        self.assertEqual(self.flushLoggedErrors(), [])
        app.doStop()
        self.assertEqual(site.reactor.getDelayedCalls(), [])
