"""Tests of requests over real sockets."""

from __future__ import annotations

import io
import random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from asciid.client.agent import make_agent, make_pool, parse_base_url
from asciid.simulate._art import Gallery
from asciid.simulate._log import Log
from asciid.simulate._plan import Piece, Send
from asciid.simulate._requests import MAX_CONNECTIONS, Requests
from asciid.simulate._steps import StepError, Steps
from asciid.simulate._tally import Tally
from tests.client.fakes import StuckAgent

reactor: Any = _reactor
DOCUMENT = {"data": "x" * 2000}
BODY = 2011  # bytes of it as JSON


class Recorder(Protocol):
    """A server that records requests, and may respond too early."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Keep it; answer once."""
        self.received += data
        if self.answer and self.transport:
            self.transport.write(self.answer)
            self.answer = b""

    def connectionLost(self, *_: object) -> None:
        """Record the call."""
        self.lost.callback(None)


class HalfTests(TestCase):
    """Requests of which half is sent."""

    timeout = 60

    def serve(self, answer: bytes = b"") -> tuple[Requests, list[Recorder]]:
        """Serve recorders; return a client for them."""
        made: list[Recorder] = []

        def make() -> Recorder:
            made.append(Recorder(answer))
            return made[-1]

        factory: Any = Factory.forProtocol(make)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = parse_base_url(f"http://127.0.0.1:{port.getHost().port}")
        agent = make_agent(reactor, url, make_pool(reactor, 1))
        return Requests(reactor, agent, url), made

    async def test_cut(self) -> None:
        """The server gets the half and loses the connection."""
        requests, made = self.serve()
        reply = await requests.post_half(("image",), DOCUMENT)
        self.assertIsNone(reply)
        (recorder,) = made
        await recorder.lost
        head, _, body = recorder.received.partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % BODY, head)
        self.assertEqual(body, b'{"data":"%s' % (b"x" * 996))

    async def test_early_answer(self) -> None:
        """A response to half a request is returned, and nothing is left over."""
        answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
        requests, made = self.serve(answer)
        reply = await requests.post_half(("image",), DOCUMENT)
        assert reply is not None
        self.assertEqual(reply.status, 503)
        await made[0].lost

    async def test_early_answer_is_a_finding(self) -> None:
        """A simulation treats such a response as an error."""
        answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
        requests, _ = self.serve(answer)
        tally = Tally()
        steps = Steps(requests, Log(io.StringIO()), tally, 256)
        piece = Piece(Gallery(random.Random(1)).draw(), [Send(0, cut=True)])
        with self.assertRaises(StepError) as caught:
            await steps.upload(piece, piece.sends[0], set())
        self.assertIn("half a request got status 201", str(caught.exception))
        (results,) = tally.results
        self.assertEqual((results.ok, results.errors), (0, 1))

    async def test_cancel(self) -> None:
        """Cancelled, it drops the connection and leaves no timer."""
        requests, made = self.serve()
        half = Deferred.fromCoroutine(requests.post_half(("image",), DOCUMENT))
        while not made:
            await deferLater(reactor, 0.01)
        half.cancel()
        await made[0].lost
        self.assertIsNone(await half.addErrback(lambda _: None))


class BoundTests(SynchronousTestCase):
    """How many requests there are at a time."""

    def test_connections(self) -> None:
        """Requests beyond the bound wait for the end of another one."""
        agent = StuckAgent()
        requests = Requests(Clock(), agent, parse_base_url("http://localhost"))
        running = [
            Deferred.fromCoroutine(requests.get(("image",)))
            for _ in range(MAX_CONNECTIONS + 2)
        ]
        self.assertEqual(len(agent.requests), MAX_CONNECTIONS)
        running[0].cancel()
        self.assertEqual(len(agent.requests), MAX_CONNECTIONS + 1)
        for one in running:
            one.addErrback(lambda _: None).cancel()
        self.successResultOf(gatherResults(running))
