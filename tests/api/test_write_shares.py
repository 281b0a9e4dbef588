"""Tests of asciid.api._write_shares."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid.api._write_shares import WriteShares
from asciid.errors import StoreBusyError
from asciid.store import IImageStore
from asciid.testing import MemoryStore
from tests.api._support import Answer, Client, make_api, make_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Network

CAPACITY = 100_000


@implementer(IImageStore)
class HeldStore(MemoryStore):
    """A store whose writes the test completes."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[bool]] = []

    def add_chunk(
        self,
        sha256: str,
        chunk_id: int,
        data: bytes,
        then: Callable[[bool], Any] = bool,
    ) -> Deferred[Any]:
        """Wait, then add."""
        waiting: Deferred[bool] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(
            lambda _: super(HeldStore, self).add_chunk(sha256, chunk_id, data, then)
        )


class WriteSharesTests(SynchronousTestCase):
    """The parts of the queue."""

    def setUp(self) -> None:
        """Make them."""
        self.shares = WriteShares(CAPACITY)
        self.writes: list[Deferred[int]] = []

    def write(self, client: str, size: int) -> Deferred[int]:
        """Write as a client."""

        def begin() -> Deferred[int]:
            self.writes.append(Deferred())
            return self.writes[-1]

        return self.shares.run(client, size, begin)

    def fill(self, client: str, size: int = 1000) -> int:
        """Write until that is refused; return how many bytes were taken."""
        count = 0
        while not self.write(client, size).called:
            count += 1
        self.flushLoggedErrors(StoreBusyError)
        return count * size

    def test_room_is_left(self) -> None:
        """Each client leaves as much free as it uses."""
        self.assertEqual(self.fill("a"), CAPACITY // 2)
        self.assertEqual(self.fill("b"), CAPACITY // 4)
        self.assertEqual(self.fill("c"), 13_000)
        self.assertEqual(self.fill("a"), 0)

    def test_released(self) -> None:
        """Finished and failed writes are no longer counted."""
        self.fill("a")
        self.writes.pop().callback(1)
        self.writes.pop().errback(StoreBusyError())
        self.assertEqual(self.fill("a"), 2000)
        self.assertEqual(self.shares._clients, {"a": CAPACITY // 2})
        for write in self.writes:
            if not write.called:
                write.callback(1)
        self.assertEqual((self.shares._clients, self.shares._used), ({}, 0))

    def test_outcome(self) -> None:
        """The outcome of the write is that of the call."""
        first, second = self.write("a", 1), self.write("a", 1)
        self.writes[0].callback(7)
        self.assertEqual(self.successResultOf(first), 7)
        self.writes[1].errback(ZeroDivisionError())
        self.failureResultOf(second, ZeroDivisionError)

    def test_cancelled(self) -> None:
        """After a disconnect the write is counted until its end."""
        leaving = self.write("a", 1000)
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.assertEqual(self.shares._used, 1000)
        self.writes[0].callback(1)
        self.assertEqual(self.shares._used, 0)

    def test_one_large_write(self) -> None:
        """A single write larger than the queue is passed to the store."""
        self.assertNoResult(self.write("a", 2 * CAPACITY))
        self.failureResultOf(self.write("a", 1), StoreBusyError)
        self.assertNoResult(self.write("b", 1))


class QueueTests(SynchronousTestCase):
    """Two clients of the service."""

    def setUp(self) -> None:
        """Serve a store that is slow."""
        self.store = HeldStore()
        trusted: list[IPv4Network] = []
        self.api = make_api(
            self.store,
            max_image_size=CAPACITY,
            max_chunk_size=CAPACITY,
            trusted_proxies=trusted,
            max_queue=CAPACITY,
        )
        self.client = Client(make_server(self.api, Clock()))
        self.clients: dict[str, str] = {}
        self.address = "192.0.2.1"
        self.patch(self.api.clients, "key_of", lambda _: self.address)

    def add(self, number: int, size: int = 10_000) -> Deferred[Answer]:
        """Register an image of one chunk, and add that."""
        image = f"{number:0{size}d}"
        name = sha256(image.encode()).hexdigest()
        spec = {"sha256": name, "size": size, "chunk_size": size}
        registered = self.client.begin("POST", "/image", spec)
        self.client.treq.flush()
        self.assertEqual(self.successResultOf(registered).status, 201)
        chunk = {"id": 0, "size": size, "data": image}
        adding = self.client.begin(
            "POST", f"/image/{name}/chunks", json.dumps(chunk).encode()
        )
        self.client.treq.flush()
        return adding

    def test_chunks(self) -> None:
        """A client that fills its part is refused, and another is not."""
        adding = [self.add(number) for number in range(8)]
        refused = [self.successResultOf(one) for one in adding[5:]]
        for answer in refused:
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.problem["type"], "/problems/store-busy")
            self.assertEqual(answer.header("Retry-After"), "1")
        self.address = "192.0.2.2"
        polite = self.add(9)
        for waiting in self.store.waiting:
            waiting.callback(True)  # noqa: FBT003 - the store's result
        self.client.treq.flush()
        for one in [*adding[:5], polite]:
            self.assertEqual(self.successResultOf(one).status, 201)

    def test_images(self) -> None:
        """The same applies to uploads in one request."""
        adding = [self.add(number) for number in range(5)]
        image = b"x" * 10_000
        path = f"/image/{sha256(image).hexdigest()}"
        for address, status in (("192.0.2.1", 503), ("192.0.2.2", 201)):
            self.address = address
            putting = self.client.begin("PUT", path, image, "text/plain")
            self.client.treq.flush()
            self.assertEqual(self.successResultOf(putting).status, status)
        for waiting in self.store.waiting:
            waiting.callback(True)  # noqa: FBT003 - the store's result
        self.client.treq.flush()
        for one in adding:
            self.assertEqual(self.successResultOf(one).status, 201)
