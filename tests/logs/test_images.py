"""Completed and deleted images in the log."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings
from asciid.daemon.assembly import make_image_service
from asciid.daemon.host import Host
from asciid.logs import ImageLog
from asciid.logs._images import INTERVAL, ONE_BY_ONE
from asciid.model import ImageSpec
from asciid.testing import MemoryStore
from tests.api._support import CAT_BYTES, CAT_SHA256, Client

ONE = ImageSpec("1" * 64, 10, 5)


class ImageLogTests(SynchronousTestCase):
    """A few lines, however many images."""

    def setUp(self) -> None:
        """Have a reactor and a log."""
        self.reactor = MemoryReactorClock()
        self.log = ImageLog(self.reactor)

    def test_few(self) -> None:
        """Few images are named one by one, at once; then no summary follows."""
        with capturedLogs() as events:
            self.log.completed(ONE)
            self.log.deleted("2" * 64)
            self.assertEqual(
                [formatEvent(event) for event in events],
                [
                    f"image {'1' * 64} is complete, 10 bytes",
                    f"deleted {'2' * 64} on request",
                ],
            )
            self.reactor.advance(INTERVAL)
        self.assertEqual(len(events), 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_load(self) -> None:
        """Under load, 60,000 images leave a few dozen lines that count them all."""
        with capturedLogs() as events:
            for _ in range(240):
                for _ in range(250):
                    self.log.completed(ONE)
                    self.log.deleted(ONE.sha256)
                self.reactor.advance(0.1)
            self.reactor.advance(INTERVAL)
        for named, counted in (
            ("image 1", "more images became"),
            ("on request", "more images or uploads were"),
        ):
            lines = [formatEvent(event) for event in events]
            single = sum(named in line for line in lines)
            self.assertEqual(single, 3 * ONE_BY_ONE)
            summaries = [
                event["count"] for event in events if counted in formatEvent(event)
            ]
            self.assertEqual(len(summaries), 3)
            self.assertEqual(single + sum(summaries), 60_000)
        size = sum(event.get("bytes", 0) for event in events)
        self.assertEqual(size, 10 * (60_000 - 3 * ONE_BY_ONE))

    def test_next_interval(self) -> None:
        """Images are named again after an interval."""
        with capturedLogs() as events:
            for _ in range(2):
                for _ in range(ONE_BY_ONE + 1):
                    self.log.completed(ONE)
                self.reactor.advance(INTERVAL)
        self.assertEqual(len(events), 2 * (ONE_BY_ONE + 1))
        self.assertEqual(
            formatEvent(events[-1]),
            "1 more images became complete within 10 s, 10 bytes",
        )

    def test_service(self) -> None:
        """An image that is uploaded over HTTP is logged, and so is its deletion."""
        engine = MemoryStore()._engine
        settings = Settings("tcp:0", None, 1000, 1000, sync=True)
        service: Any = make_image_service(settings, Host(self.reactor), engine)
        client = Client(service._server)
        head = f"PUT /image/{CAT_SHA256} HTTP/1.1\r\nHost: a\r\n"
        body = CAT_BYTES.decode()
        with capturedLogs() as events:
            client.raw(f"{head}Content-Length: {len(CAT_BYTES)}\r\n\r\n{body}")
            self.successResultOf(service._store.delete(CAT_SHA256))
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                f"image {CAT_SHA256} is complete, 21 bytes",
                f"deleted {CAT_SHA256} on request",
            ],
        )

    def test_end_of_the_process(self) -> None:
        """Nothing that was counted is lost at the end."""
        engine = MemoryStore()._engine
        settings = Settings("tcp:0", None, 1000, 1000, sync=True)
        service = make_image_service(settings, Host(self.reactor), engine)
        store = service._store
        for number in range(ONE_BY_ONE + 2):
            data = b"%010d" % number
            spec = ImageSpec(sha256(data).hexdigest(), 10, 10)
            self.successResultOf(store.register(spec))
            self.assertTrue(self.successResultOf(store.add_chunk(spec.sha256, 0, data)))
        service.metrics.requests.refuse("store-busy")
        with capturedLogs() as events:
            service.metrics.requests.refuse("store-busy")
            for trigger, _, _ in self.reactor.triggers["after"]["shutdown"]:
                trigger()
            self.reactor.advance(INTERVAL)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "1 more requests refused within a minute: store-busy",
                "2 more images became complete within 10 s, 20 bytes",
            ],
        )
