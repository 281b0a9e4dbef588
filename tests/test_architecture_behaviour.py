"""The path of a request and the states of an image are as docs/architecture.md says."""

from __future__ import annotations

import json
import os
import re
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

import lmdb
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb._databases import Databases
from asciid.engines.lmdb._records import ImageRecord
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import Offload
from asciid.store import Lifetimes
from asciid.store.operations import Remove
from asciid.testing import ManualThreadPool
from tests.api._support import make_api, make_server
from tests.http._support import MemoryTransport
from tests.store._support import DrivenStore, chunk_of, spec_of
from tests.test_architecture import CODE, PAGE
from tests.workers._support import DrivenWorkers

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from twisted.internet.defer import Deferred

    from asciid.store import IImageStore

ResultT = TypeVar("ResultT")

NOT_SEEN = {"DirectOutput.send", "EventGroup.doRead", "IEngine.removals_known"}
"""Names in the path of a request that are of sockets, or of an interface."""


def calls_listed(begin: str, end: str) -> list[str]:
    """Return the methods that the page names between two texts, in order."""
    text = PAGE.partition(begin)[2].partition(end)[0]
    names = [
        name for name in CODE.findall(text) if re.fullmatch(r"[A-Z]\w+\.\w+", name)
    ]
    return [name for name in names if name not in NOT_SEEN]


class CallsCase(SynchronousTestCase):
    """Notes the calls of a piece of work."""

    calls: list[str]

    def note_calls(self, work: Callable[[], ResultT]) -> ResultT:
        """Do `work`; note the functions that are called, in order."""
        self.calls = []

        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                self.calls.append(frame.f_code.co_qualname)

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            return work()
        finally:
            sys.setprofile(before)

    def assert_called(self, expected: list[str]) -> None:
        """Check that the last piece of work took these calls, in this order."""
        self.assertGreater(len(expected), 1)
        calls = iter(self.calls)
        for name in expected:
            self.assertIn(name, calls, f"{name} of {expected}")


class PathTests(CallsCase):
    """The path of a request that the page describes."""

    def setUp(self) -> None:
        """Serve a storage, whose threads and reactor are turned by hand."""
        self.driven = DrivenStore(self.mktemp())
        self.driven.start()
        self.addCleanup(self.stop)
        self.image = b"~" * 150_000
        self.path = f"/image/{sha256(self.image).hexdigest()}"

    def stop(self) -> None:
        """Stop the store."""
        self.driven.stop()

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request; return the answer, and note the calls that it took."""
        reactor, pool = self.driven.reactor, ManualThreadPool()
        offload = Offload(reactor, pool, scheduler=ClientScheduler(reactor))
        api = make_api(
            self.driven.store,
            max_image_size=1_000_000,
            max_chunk_size=1_000_000,
            offload=offload,
        )
        transport = MemoryTransport()
        protocol = make_server(api, reactor).buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: asciid.test\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )

        def receive() -> None:
            protocol.dataReceived(head.encode() + body)
            self.driven.settle()

        self.note_calls(receive)
        answer: bytes = transport.value()
        return answer

    def register(self) -> None:
        """Register the image."""
        document = {"sha256": self.path[7:], "size": 150_000, "chunk_size": 100_000}
        answer = self.ask("POST", "/image", json.dumps(document).encode())
        self.assertIn(b"HTTP/1.1 201 ", answer)

    def send_chunk(self, number: int) -> None:
        """Send a chunk."""
        data = self.image[number * 100_000 :][:100_000].decode()
        document = {"id": number, "size": len(data), "data": data}
        body = json.dumps(document).encode()
        answer = self.ask("POST", f"{self.path}/chunks", body)
        self.assertIn(b"HTTP/1.1 201 ", answer)

    def test_chunk(self) -> None:
        """A large chunk takes the calls that are listed, in order."""
        self.register()
        self.send_chunk(0)
        self.assert_called(calls_listed("**A chunk**", "An image of more than"))

    def test_get(self) -> None:
        """So do a download of a small image from the file, and one from memory."""
        self.image = b"~" * 100
        self.path = f"/image/{self.driven.upload(self.image, 100).sha256}"
        self.stop()
        self.driven = DrivenStore(str(self.driven.path))
        self.driven.start()
        self.assertIn(self.image, self.ask("GET", self.path))
        self.assert_called(
            [
                *calls_listed("**A hot GET**", "`Downloads.answer`"),
                *calls_listed("**A cold GET**", "## "),
            ]
        )
        self.assertIn(self.image, self.ask("GET", self.path))
        self.assert_called(calls_listed("**A hot GET**", "**A cold GET**"))
        self.assertNotIn("FileReads.ask", self.calls)


class WorkersPathTests(CallsCase):
    """The same with workers."""

    def setUp(self) -> None:
        """Start a writer and two workers, with an upload that lacks a chunk."""
        self.driven = DrivenWorkers(self.mktemp(), 2)
        self.driven.start()
        self.addCleanup(self.driven.stop)
        self.spec = spec_of(b"abc")
        self.driven.run(self.driven.stores[0].register(self.spec))

    def store_image(self, store: IImageStore) -> None:
        """Send the only chunk."""
        self.driven.run(store.add_chunk(self.spec.sha256, 0, b"abc"))

    def open_image(self, store: IImageStore) -> None:
        """Open the image."""
        self.driven.run(store.open(self.spec.sha256))

    def test_chunk(self) -> None:
        """A worker sends a chunk to the writer, and gets the outcome."""
        self.note_calls(lambda: self.store_image(self.driven.stores[0]))
        self.assert_called(calls_listed("- **A chunk**", "- **A hot GET**"))

    def test_hot(self) -> None:
        """A worker that has an image in memory asks whether it may use that."""
        self.store_image(self.driven.stores[0])
        self.note_calls(lambda: self.open_image(self.driven.stores[0]))
        self.assert_called(calls_listed("- **A hot GET**", "- **A cold GET**"))
        self.assertNotIn("LMDBReader.ask", self.calls)

    def test_cold(self) -> None:
        """A worker reads an image by itself."""
        self.store_image(self.driven.written)
        self.note_calls(lambda: self.open_image(self.driven.stores[1]))
        self.assert_called(calls_listed("- **A cold GET**", "- **The writer dies**"))


def stored_in(state: str) -> set[str]:
    """Return the names of the databases in which the page says that a state is."""
    section = PAGE.partition("## The states of an image")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| {state} \| ([^|]*) \|", section, re.MULTILINE)
    return set(re.findall(r"Databases\.(\w+)", row))


class StatesTests(SynchronousTestCase):
    """The states of an image that the page describes."""

    def setUp(self) -> None:
        """Open a storage with one image of two chunks registered."""
        self.driven = DrivenStore(self.mktemp(), lifetimes=Lifetimes(image=60.0))
        self.driven.start()
        self.spec = spec_of(b"abcdef")
        self.run_(self.driven.store.register(self.spec))

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn threads and reactor until `awaited` fires."""
        return self.driven.run(awaited)

    def add(self, chunk_id: int) -> None:
        """Send a chunk of the image."""
        data = chunk_of(b"abcdef", self.spec, chunk_id)
        self.run_(self.driven.store.add_chunk(self.spec.sha256, chunk_id, data))

    def assert_stored(self, state: str) -> None:
        """Stop; check which databases have records."""
        self.driven.stop()
        path = os.fsencode(self.driven.path)
        with lmdb.open(path, max_dbs=16, lock=False, readonly=True) as env:
            found = set()
            for name in Databases.__annotations__:
                database = env.open_db(name.encode(), create=False)
                with env.begin() as transaction:
                    if transaction.stat(database)["entries"]:
                        found.add(name)
        self.assertEqual(found, stored_in(state), state)

    def test_unknown(self) -> None:
        """A deleted image leaves nothing."""
        self.run_(self.driven.store.delete(self.spec.sha256))
        self.driven.settle()
        self.assert_stored("unknown")

    def test_pending(self) -> None:
        """An upload lacks a chunk."""
        self.add(1)
        self.assert_stored("pending")

    def test_complete(self) -> None:
        """All chunks are stored."""
        self.add(1)
        self.add(0)
        self.assert_stored("complete")

    def test_gone(self) -> None:
        """An image has expired."""
        self.add(1)
        self.add(0)
        self.driven.pass_time(61.0)
        self.run_(self.driven.store.expire())
        self.driven.settle()
        self.assert_stored("gone")

    def test_quarantined(self) -> None:
        """An image was put aside."""
        self.add(1)
        self.add(0)
        digest = bytes.fromhex(self.spec.sha256)
        record = ImageRecord(0, 6, 4, 4).pack()
        completed = int(self.driven.now * 1000)
        putting = self.driven.engine.put_aside(digest, record, completed)
        self.assertTrue(self.run_(putting))
        self.assert_stored("quarantined")

    def test_blocked(self) -> None:
        """The operator has blocked the hash."""
        self.run_(self.driven.store.block(self.spec.sha256, "spam"))
        self.driven.settle()
        self.assert_stored("blocked")

    def test_staged(self) -> None:
        """A large image is being received."""
        self.run_(self.driven.store.delete(self.spec.sha256))
        self.driven.settle()
        writer = self.run_(self.driven.store.create(self.spec.sha256))
        self.run_(writer.write(b"~" * 300_000))
        self.assert_stored("staged")

    def test_discarded(self) -> None:
        """An image was removed, and its chunks are not deleted yet."""
        self.add(1)
        self.run_(self.driven.engine.apply((Remove(self.spec.sha256),)))
        self.assert_stored("discarded")
