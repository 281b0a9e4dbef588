"""Completed images in the log."""

from __future__ import annotations

import io
import json

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import (
    FileLogObserver,
    capturedLogs,
    formatEvent,
    globalLogPublisher,
)
from twisted.trial.unittest import SynchronousTestCase

from asciid._assembly import make_front
from asciid.api import ImageAPI
from asciid.logs import CompletionLog
from asciid.logs._completions import DELAY, MOST
from asciid.logs._format import LineFormatter
from asciid.model import ImageSpec
from asciid.store import MemoryStore
from tests.api._support import CAT_BYTES, CAT_SHA256, Client

ONE = ImageSpec("1" * 64, 10, 5)
TWO = ImageSpec("2" * 64, 20, 5)


class CompletionLogTests(SynchronousTestCase):
    """One line an image."""

    def setUp(self) -> None:
        """Have a reactor, and a log that is written to."""
        self.reactor = MemoryReactorClock()
        self.now = 1000.0
        self.log = CompletionLog(self.reactor, lambda: self.now)

    def write(self, style: str) -> io.StringIO:
        """Have what is logged written to what is returned."""
        stream = io.StringIO()
        observer = FileLogObserver(stream, LineFormatter(style, "info"))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return stream

    def test_lines(self) -> None:
        """Images of a moment are one event of several lines, soon after."""
        text, objects = self.write("text"), self.write("json")
        with capturedLogs() as events:
            self.log.note(ONE)
            self.now += DELAY / 2
            self.log.note(TWO)
            self.assertEqual(events, [])
            self.reactor.advance(DELAY)
        (event,) = events
        messages = [
            f"Image {'1' * 64} is complete, 10 bytes",
            f"Image {'2' * 64} is complete, 20 bytes",
        ]
        self.assertEqual(formatEvent(event), "\n".join(messages))
        self.assertEqual(
            [line.split("] ")[1] for line in text.getvalue().splitlines()], messages
        )
        first, second = map(json.loads, objects.getvalue().splitlines())
        self.assertEqual(
            first,
            {
                "time": "1970-01-01T00:16:40.000Z",
                "level": "info",
                "logger": "asciid.logs._completions",
                "message": messages[0],
                "sha256": ONE.sha256,
                "size": 10,
            },
        )
        self.assertEqual(second["time"], "1970-01-01T00:16:40.050Z")

    def test_next_moment(self) -> None:
        """Each image is told of once; without any, no timer runs."""
        with capturedLogs() as events:
            self.log.note(ONE)
            self.reactor.advance(DELAY)
            self.log.note(TWO)
            self.reactor.advance(DELAY)
        self.assertEqual([len(event["log_each"]) for event in events], [1, 1])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_many(self) -> None:
        """No event grows without bound, and none is told of twice."""
        with capturedLogs() as events:
            for _ in range(2 * MOST + 1):
                self.log.note(ONE)
            self.assertEqual(len(events), 2)
            self.reactor.advance(DELAY)
        self.assertEqual([len(event["log_each"]) for event in events], [MOST, MOST, 1])

    def test_end(self) -> None:
        """What was not told yet can be told before its time, once."""
        with capturedLogs() as events:
            self.log.tell()
            self.log.note(ONE)
            self.log.tell()
            self.reactor.advance(DELAY)
        self.assertEqual(len(events), 1)

    def test_service(self) -> None:
        """An image that comes over HTTP is logged."""
        api = ImageAPI(MemoryStore(), max_image_size=1000, max_chunk_size=1000)
        client = Client(make_front(api, self.reactor))
        head = f"PUT /image/{CAT_SHA256} HTTP/1.1\r\nHost: a\r\n"
        body = CAT_BYTES.decode()
        client.raw(f"{head}Content-Length: {len(CAT_BYTES)}\r\n\r\n{body}")
        with capturedLogs() as events:
            self.reactor.advance(DELAY)
        (event,) = events
        self.assertIn(f"Image {CAT_SHA256} is complete, 21 bytes", formatEvent(event))

    def test_end_of_the_process(self) -> None:
        """Nothing that was to be told is lost at the end."""
        api = ImageAPI(MemoryStore(), max_image_size=1000, max_chunk_size=1000)
        make_front(api, self.reactor)
        api.store.on_complete(ONE)
        api.metrics.requests.told("store-busy")
        with capturedLogs() as events:
            api.metrics.requests.told("store-busy")
            for tell, _, _ in self.reactor.triggers["after"]["shutdown"]:
                tell()
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "1 more requests were refused within a minute: store-busy",
                f"Image {'1' * 64} is complete, 10 bytes",
            ],
        )
