"""Every metric changes with what it measures, on a store on disk."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb._answers import Answers
from asciid.engines.lmdb._quarantine import put_aside
from asciid.logs import LineWriter
from asciid.logs._append import AppendedFile
from asciid.metrics import WorkersState
from asciid.model import ImageSpec
from asciid.store import Lifetimes, PendingLimits
from asciid.store.queries import FindComplete
from asciid.web.jobs import Rendered
from asciid.web.renderings import Renderings
from tests.api._support import make_api, make_server
from tests.metrics._support import Samples, documented_metrics, samples_of
from tests.store._support import DrivenStore
from tests.web._in_process import InProcessRenderer

if TYPE_CHECKING:
    from asciid.engines.lmdb._batch import Batch

CONSTANT = {
    "asciid_build_info",
    "asciid_body_limit_bytes",
    "asciid_certificate_expiry_timestamp_seconds",
    "asciid_client_uploads_limit",
    "asciid_connections_limit",
    "asciid_file_limit_bytes",
    "asciid_queue_limit_bytes",
    "asciid_queue_operations_limit",
    "asciid_accept_pauses_total",
    "asciid_reads_limit",
    "asciid_renderings_limit",
    "asciid_storage_reserve_bytes",
    "asciid_uploads_pending_limit",
}
"""Metrics of the release and its settings."""


class MovesTests(SynchronousTestCase):
    """The documentation's list, against a daemon to which everything happens."""

    def setUp(self) -> None:
        """Serve an empty store."""
        lifetimes = Lifetimes(upload=10, image=100)
        pending = PendingLimits(total=9, per_client=9)
        self.driven = DrivenStore(self.mktemp(), lifetimes=lifetimes, pending=pending)
        self.driven.run(self.driven.store.start())
        self.processes = WorkersState()
        self.renderer = InProcessRenderer()
        self.renderings = Renderings(self.renderer)
        self.api = make_api(
            self.driven.store,
            max_image_size=10_000,
            max_chunk_size=1_000,
            workers=lambda: self.processes,
            renderings=self.renderings,
        )
        self.server = make_server(self.api, self.driven.reactor)
        self.moving: set[str] = set()
        self.last = self.scrape()

    def scrape(self) -> Samples:
        """Return the current samples by name and labels."""
        page = self.driven.run(self.api.metrics.page(""))
        return samples_of(text_string_to_metric_families(page.content.decode()))

    def look(self) -> None:
        """Note whatever differs from the last time."""
        self.note(self.scrape())

    def note(self, now: Samples) -> None:
        """Record the differences from the last samples."""
        for sample in self.last.keys() | now.keys():
            if self.last.get(sample, 0) != now.get(sample, 0):
                name = sample.partition("{")[0]
                for ending in ("_bucket", "_sum", "_count"):
                    name = name.removesuffix(ending)
                self.moving.add(name)
        self.last = now

    def connect(self) -> tuple[Any, Any]:
        """Return both ends of a new connection."""
        channel = self.server.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = channel
        channel.makeConnection(transport)
        return channel, transport

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> int:
        """Send a request on a connection of its own; return the status."""
        channel, transport = self.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n"
        if kind:
            head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        channel.dataReceived(head.encode() + b"\r\n" + body)
        answered: Deferred[None] = Deferred()
        transport.write_ = transport.write

        def write(data: bytes) -> None:
            transport.write_(data)
            if not answered.called:
                answered.callback(None)

        transport.write = write
        if not transport.value():
            self.driven.run(answered)
        self.look()
        transport.loseConnection()
        return int(transport.value().split()[1])

    def register(self, image: bytes) -> str:
        """Register an image of one chunk; return its path."""
        name = sha256(image).hexdigest()
        spec = {"sha256": name, "size": len(image), "chunk_size": len(image)}
        self.ask("POST", "/image", json.dumps(spec).encode(), "application/json")
        return f"/image/{name}"

    def damage(self, image: bytes) -> None:
        """Upload an image that cannot be read then, and is put in quarantine."""
        digest = sha256(image).digest()
        path = f"/image/{digest.hex()}"
        self.ask("PUT", path, image, "text/plain")
        self.driven.store._evict(None)

        def find_complete(*_: object) -> None:
            message = "mdb_get"
            raise lmdb.CorruptedError(message)

        patched = self.patch(
            Answers, "_BY_TYPE", {**Answers._BY_TYPE, FindComplete: find_complete}
        )
        self.assertEqual(self.ask("GET", path), 503)
        patched.restore()

        def put(batch: Batch) -> bool:
            record = batch.transaction.get(digest, b"", db=batch.databases.images)
            return put_aside(batch, digest, record, 0)

        self.assertTrue(self.driven.run(self.driven.engine._run(put)))
        self.look()

    def render(self) -> None:
        """Have the renderer do something of each kind."""
        stats = self.renderer.stats
        stats.seconds.add(0.1)
        stats.failures += 1
        stats.refused += 1
        stats.starts += 1
        stats.waiting += 1

        async def rendered() -> Rendered:
            return Rendered(body=b"page")

        for _ in range(2):
            getting = self.renderings.get("key", rendered, "client")
            self.driven.run(Deferred.fromCoroutine(getting))
        self.look()

    def test_every_one(self) -> None:
        """Each documented metric changes, except those of settings."""
        path = self.register(b"cat")
        chunk = json.dumps({"id": 0, "size": 3, "data": "cat"}).encode()
        self.ask("POST", f"{path}/chunks", chunk, "application/json")
        whole = f"/image/{sha256(b'dog').hexdigest()}"
        self.ask("PUT", whole, b"dog", "text/plain")
        for _ in range(2):
            self.assertEqual(self.ask("GET", whole), 200)
        self.driven.run(self.driven.store.delete(sha256(b"dog").hexdigest()))
        self.look()
        self.damage(b"hen")
        self.driven.run(self.driven.store.block("0" * 64, "spam"))
        channel, transport = self.connect()
        self.server.bodies.take("192.0.2.1", channel, 7)
        self.api._creations.held.take("192.0.2.1", channel, 7)
        self.server.slow_bodies += 1
        for image in (b"one", b"two"):
            self.driven.store.register(
                ImageSpec(sha256(image).hexdigest(), 3, 3), "client"
            )
            self.driven.store.add_chunk(sha256(image).hexdigest(), 0, image)
        # Queued writes are committed before a scrape ends.
        self.note(samples_of(self.api.metrics.collect()))
        self.assertEqual(self.ask("PUT", path[:-1] + "0", b"cow", "text/plain"), 422)
        self.register(b"cow")
        channel, transport = self.connect()
        path = f"/image/{64 * '1'}"
        channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        transport.loseConnection()
        self.look()
        self.render()
        full = Path("/dev/full")
        LineWriter("the access log", "access", AppendedFile(full).write).write("one\n")
        self.processes = WorkersState(3, 4, 1)
        self.look()
        self.driven.pass_time(50)
        self.driven.run(self.driven.store.expire())
        self.driven.pass_time(100)
        self.driven.run(self.driven.store.expire())
        nearly_full = os.statvfs_result((512, 512, 99, 9, 9, 0, 0, 0, 0, 255))
        self.patch(os, "statvfs", lambda _: nearly_full)
        self.look()
        self.driven.run(self.driven.store.stop())
        self.look()
        self.assertEqual(self.moving & CONSTANT, set())
        documented = {name for name, _ in documented_metrics()}
        self.assertEqual(documented - self.moving, CONSTANT)
