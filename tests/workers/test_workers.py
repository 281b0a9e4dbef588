"""Tests of workers and the process that writes: asciid.engines.remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import lmdb
import msgspec
from attrs import frozen
from twisted.internet.error import ConnectionDone
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._engine_probe import PROBE_EVERY
from asciid.engines._fault_log import SETTLED
from asciid.engines.lmdb._quarantine import put_aside
from asciid.engines.lmdb._reserve import CHECK_EVERY
from asciid.engines.lmdb._sweeping import remove_expired
from asciid.engines.remote import _collecting, _pending_requests, _writer_server
from asciid.engines.remote._batch_delay import PAUSE
from asciid.engines.remote._framing import MessageProtocol
from asciid.engines.remote._messages import (
    VERSION,
    Collected,
    FromWriter,
    Gather,
    Hello,
    Submit,
    Welcome,
)
from asciid.engines.remote._writer_client import (
    MESSAGE_BYTES,
    UNANSWERED_BYTES,
    WRITER_TIMEOUT,
)
from asciid.engines.remote._writer_server import FRESH_IMAGE, WriterServer
from asciid.errors import (
    HashMismatchError,
    ImageExistsError,
    ImageGoneError,
    ImageNotFoundError,
    StorageFullError,
    StoreBusyError,
    StoreClosedError,
    WriterGoneError,
    WriterUnavailableError,
)
from asciid.metrics import merge
from asciid.store import Lifetimes
from asciid.store.engine import StorageInUseError
from asciid.store.operations import Expired, Remove, RemoveExpired
from tests.store._support import chunk_of, registered, spec_of
from tests.workers._support import DrivenWorkers, WireTransport, snapshot_of

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.engines.lmdb._batch import Batch
    from asciid.model import ImageSpec

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
DOG = b"/^ ^\\\n/ 0 0 \\\nV\\ Y /V\n"
LARGE = bytes(100_000)


class WorkersCase(SynchronousTestCase):
    """Workers on one storage."""

    workers = 2
    options: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        """Start them."""
        self.driven = DrivenWorkers(self.mktemp(), self.workers, **self.options)
        self.driven.start()
        self.stopped = False
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop them, unless the test has."""
        if not self.stopped:
            self.driven.stop()

    @property
    def wires(self) -> list[WireTransport]:
        """The workers' ends of the connections, the last one last."""
        return self.driven.reactor.wires

    def pass_time(self, seconds: float) -> None:
        """Let time go by for the reactor."""
        self.driven.reactor.advance(seconds)
        self.driven.settle()

    def upload(self, data: bytes, worker: int = 0, chunk_size: int = 4) -> ImageSpec:
        """Upload an image through a worker."""
        store, spec = self.driven.stores[worker], spec_of(data, chunk_size)
        self.driven.run(store.register(spec))
        for chunk_id in range(spec.chunks):
            chunk = chunk_of(data, spec, chunk_id)
            self.driven.run(store.add_chunk(spec.sha256, chunk_id, chunk))
        return spec

    def download(self, spec: ImageSpec, worker: int) -> bytes:
        """Download an image from a worker."""
        reader = self.driven.run(self.driven.stores[worker].open(spec.sha256))
        return self.driven.run(reader.read(0, spec.size))

    def another_server(self, expected: int = 1) -> WriterServer:
        """Make a server for the process that takes the writer's place."""
        driven = self.driven
        return WriterServer(
            driven, driven.reactor, driven.generations, expected=expected
        )

    def register(self, data: bytes, worker: int = 0) -> Deferred[None]:
        """Begin to register an image."""
        return self.driven.stores[worker].register(spec_of(data))


class ClientTests(WorkersCase):
    """Operations on their way to the writer."""

    def test_one_message_a_turn(self) -> None:
        """Operations of one turn share a message, a batch and an answer."""
        counts = []
        apply = self.driven.writer.engine.apply

        def counted(operations: Any) -> Any:  # noqa: ANN401 - as the engine
            counts.append(len(operations))
            return apply(operations)

        self.patch(self.driven.writer.engine, "apply", counted)
        registering = [self.register(b"%d" % number) for number in range(5)]
        self.driven.settle()
        for done in registering:
            self.successResultOf(done)
        self.assertEqual(counts, [5])

    def test_large_messages(self) -> None:
        """Much is sent in several messages."""
        size = MESSAGE_BYTES // 2 + 1
        data = [bytes([number]) * size for number in range(3)]
        spec = spec_of(b"".join(data), size)
        self.driven.run(self.driven.stores[0].register(spec))
        adding = [
            self.driven.stores[0].add_chunk(spec.sha256, number, chunk)
            for number, chunk in enumerate(data)
        ]
        self.driven.settle()
        self.assertEqual(
            [self.successResultOf(one) for one in adding], [False, False, True]
        )
        self.assertEqual(self.download(spec, 1), b"".join(data))

    def test_unanswered(self) -> None:
        """No more is sent than the process that writes may have to answer."""
        client = self.driven.clients[0]
        sent: list[int] = []
        size = MESSAGE_BYTES
        count = 3 * UNANSWERED_BYTES // size
        spec = spec_of(bytes(count * size), size)
        store = self.driven.stores[0]
        self.driven.run(store.register(spec))
        connection = client._connection
        assert connection is not None
        send = connection.send

        def note(message: Any) -> None:  # noqa: ANN401 - any message
            if isinstance(message, Submit):
                sent.append(sum(one.size for one in message.operations))
            send(message)

        self.patch(connection, "send", note)
        adding = [store.add_chunk(spec.sha256, i, bytes(size)) for i in range(count)]
        for _ in range(3):
            self.driven.reactor.advance(0)
        self.assertEqual(sum(sent), UNANSWERED_BYTES)
        self.assertEqual(
            (client.queue.operations, client.queue.bytes), (count, count * size)
        )
        self.driven.settle()
        self.assertGreaterEqual(sum(sent), count * size)
        for one in adding:
            self.successResultOf(one)

    def test_bounded(self) -> None:
        """Past a limit, operations are refused at once."""
        client = self.driven.clients[0]
        client.queue.max_operations = 1
        first = self.register(b"one")
        self.failureResultOf(self.register(b"two"), StoreBusyError)
        self.assertEqual((client.queue.operations, client.queue.bytes), (1, 0))
        self.driven.settle()
        self.successResultOf(first)
        self.assertEqual((client.queue.operations, client.queue.bytes), (0, 0))

    def test_bounded_by_bytes(self) -> None:
        """The same past the bytes; a single operation past them is accepted alone."""
        self.driven.clients[0].queue.max_bytes = 3
        spec = spec_of(b"fourfive", 4)
        store = self.driven.stores[0]
        self.driven.run(store.register(spec))
        first = store.add_chunk(spec.sha256, 0, b"four")
        busy = store.add_chunk(spec.sha256, 1, b"five")
        self.failureResultOf(busy, StoreBusyError)
        without_bytes = self.register(b"three")
        self.driven.settle()
        self.assertFalse(self.successResultOf(first))
        self.successResultOf(without_bytes)
        last = store.add_chunk(spec.sha256, 1, b"five")
        self.assertTrue(self.driven.run(last))

    def test_cancelled(self) -> None:
        """Cancelled operations are carried out all the same."""
        registering = self.register(CAT)
        registering.addErrback(lambda _: None)
        registering.cancel()
        self.driven.settle()
        self.assertEqual(self.driven.run(registered(self.driven.stores[1])), 1)

    def test_refused_together(self) -> None:
        """If the writer's queue is full, each operation fails so."""
        self.driven.writer.engine._writer.queue.max_operations = 1
        registering = [self.register(b"%d" % number) for number in range(2)]
        self.driven.settle()
        for refused in registering:
            self.failureResultOf(refused, StoreBusyError)

    def test_stopped(self) -> None:
        """After the stop nothing is accepted, and accepted operations are answered."""
        registering = self.register(CAT)
        stopping = self.driven.clients[0].stop()
        self.assertIs(self.driven.clients[0].stop(), stopping)
        self.failureResultOf(self.driven.clients[0].submit(()), StoreClosedError)
        self.assertNoResult(stopping)
        self.driven.settle()
        self.successResultOf(registering)
        self.successResultOf(stopping)
        self.assertEqual(self.driven.server.workers, 1)

    def test_another_version(self) -> None:
        """A writer of another version is disconnected and logged."""
        self.patch(_writer_server, "VERSION", VERSION + 1)
        with capturedLogs() as events:
            self.wires[0].abortConnection()
            self.pass_time(0.1)
        self.assertIsNone(self.driven.clients[0]._connection)
        errors = {e["log_format"] for e in events if e["log_level"] is LogLevel.error}
        self.assertIn(
            "protocol version mismatch: writer {theirs}, this process {ours}", errors
        )
        self.assertIn(
            "protocol version mismatch: worker {theirs}, this process {ours}", errors
        )


class WriterGoneTests(WorkersCase):
    """The process that writes dies, or leaves."""

    def end_writer(self) -> None:
        """Have no writer; messages in transit are lost."""
        self.driven.reactor.listening = None
        for wire in list(self.wires):
            wire.abortConnection()

    def begin_writer(self) -> None:
        """Have another one write."""
        server = self.another_server()
        self.driven.server = self.driven.writer.engine._peers = server
        self.driven.reactor.listening = server

    def test_what_was_sent(self) -> None:
        """Sent operations without an answer fail: their outcome is unknown."""
        registering = self.register(CAT)
        self.driven.reactor.advance(0)
        self.end_writer()
        self.failureResultOf(registering, WriterGoneError)

    def test_what_waits(self) -> None:
        """Operations without a writer wait for the next one."""
        self.end_writer()
        registering = self.register(CAT)
        self.pass_time(WRITER_TIMEOUT / 2)
        self.assertNoResult(registering)
        self.begin_writer()
        self.pass_time(1)
        self.successResultOf(registering)
        self.failureResultOf(self.driven_again(CAT), ImageExistsError)

    def driven_again(self, data: bytes) -> Deferred[None]:
        """Register once more, and run everything."""
        registering = self.register(data, worker=1)
        self.driven.settle()
        return registering

    def test_patience(self) -> None:
        """After a while waiting operations are refused, and so are new ones.

        The error says that nothing of them is stored, and is not that of others.
        """
        self.end_writer()
        registering = self.register(CAT)
        with capturedLogs() as events:
            self.pass_time(WRITER_TIMEOUT)
        for refused in (registering, self.register(b"dog")):
            refusal = self.failureResultOf(refused, WriterUnavailableError)
            self.assertIn("nothing was stored", str(refusal.value))
        self.assertIn("no writer: failing", str([e["log_format"] for e in events]))
        self.begin_writer()
        self.pass_time(1)
        self.driven.run(self.register(b"dog"))

    def test_reads_go_on(self) -> None:
        """Images are read without a writer."""
        spec = self.upload(CAT)
        self.end_writer()
        self.assertEqual(self.download(spec, 1), CAT)

    def test_nothing_remembered(self) -> None:
        """With another writer the file may be another: it is opened again."""
        spec = self.upload(CAT)
        self.assertEqual(self.download(spec, 0), CAT)
        misses = self.driven.stores[0].stats().cache_misses
        self.driven.files[0].used.clear()
        self.end_writer()
        self.begin_writer()
        self.pass_time(1)
        self.assertEqual(self.driven.files[0].used, ["close", "open"])
        self.assertEqual(self.download(spec, 0), CAT)
        self.assertEqual(self.driven.stores[0].stats().cache_misses, misses + 1)

    def test_file_that_cannot_be_opened(self) -> None:
        """It is tried again with the next connection."""
        failing = [OSError("in use")]

        def open_() -> None:
            if failing:
                raise failing.pop()

        self.patch(self.driven.files[0], "open", open_)
        self.end_writer()
        self.begin_writer()
        with capturedLogs() as events:
            self.pass_time(1)
            self.pass_time(1)
        self.assertIn("cannot open the storage", str([e["log_format"] for e in events]))
        self.assertIsNotNone(self.driven.clients[0]._connection)

    def test_lost_while_the_file_is_opened(self) -> None:
        """Nothing is sent on a connection that was lost meanwhile."""
        self.end_writer()
        self.begin_writer()
        client = self.driven.clients[0]
        while client._welcomed_by is None:
            self.driven.reactor.advance(0.01)
        self.end_writer()
        self.driven.settle()
        self.assertIsNone(client._connection)

    def test_left(self) -> None:
        """A writer that stops answers received operations, and gets no more."""
        before = self.register(b"before")
        self.driven.reactor.advance(0)
        leaving = self.driven.server.dismiss()
        self.driven.settle()
        self.successResultOf(leaving)
        self.successResultOf(before)
        after = self.register(b"after")
        self.driven.settle()
        self.assertNoResult(after)
        self.driven.server.disconnect()
        self.begin_writer()
        self.driven.settle()
        self.pass_time(1)
        self.successResultOf(after)

    def test_counters_of_a_worker_that_is_left(self) -> None:
        """A writer that stops has the latest counters, if a worker ends soon after."""
        leaving = self.driven.server.dismiss()
        self.driven.settle()
        self.successResultOf(leaving)
        self.driven.server.save_all(snapshot_of(0))
        (saved,) = self.driven.saved
        self.assertEqual(
            sorted(saved.values()), sorted(snapshot_of(count) for count in range(3))
        )

    def test_left_by_one_that_hangs(self) -> None:
        """One that does not answer does not keep the others waiting for too long."""
        self.wires[1].cut = True
        leaving = self.driven.server.dismiss()
        self.driven.settle()
        waiting = self.register(b"after")
        self.assertLess(_writer_server.LEAVING, WRITER_TIMEOUT / 2)
        self.pass_time(_writer_server.LEAVING)
        self.successResultOf(leaving)
        self.assertNoResult(waiting)
        self.driven.server.disconnect()
        self.begin_writer()
        self.driven.settle()
        self.pass_time(1)
        self.successResultOf(waiting)

    def test_stop_meanwhile(self) -> None:
        """A worker that stops without a writer refuses waiting operations, and ends."""
        self.end_writer()
        registering = self.register(CAT)
        for client in self.driven.clients:
            self.successResultOf(client.stop())
        self.failureResultOf(registering, StoreClosedError)
        self.begin_writer()


class StrangerTests(WorkersCase):
    """Connections to the writer that are not from workers of this version."""

    def send(self, *messages: Any) -> list[Any]:  # noqa: ANN401 - any that there are
        """
        Connect and send these; return the answers.

        The connection must have ended then.
        """
        received: list[Any] = []
        stranger = MessageProtocol(
            msgspec.msgpack.Decoder(FromWriter), Receiver(received)
        )
        near = WireTransport(self.driven.reactor, stranger)
        own = self.driven.server.buildProtocol(None)
        near.other = WireTransport(self.driven.reactor, own)
        near.other.other = near
        own.makeConnection(near.other)
        stranger.makeConnection(near)
        with capturedLogs() as events:
            for message in messages:
                stranger.send(message)
                self.driven.settle()
        self.assertFalse(near.connected)
        self.assertIn("before a Hello", str([e.get("error") for e in events]))
        return received

    def test_operations(self) -> None:
        """Nothing is carried out before a Hello, nor after one of another version."""
        spec = self.upload(CAT)
        submitted = Submit(1, [Remove(spec.sha256)])
        self.assertEqual(self.send(submitted), [])
        self.assertEqual(
            self.send(Hello(99, "later"), submitted), [Welcome(VERSION, 0)]
        )
        self.assertEqual(self.download(spec, 0), CAT)

    def test_figures(self) -> None:
        """Nor are metrics accepted, or sent."""
        for message in (Collected(1, snapshot_of(5)), Gather(1, snapshot_of(5))):
            self.assertEqual(self.send(message), [])


@frozen
class Receiver:
    """Records the messages it receives."""

    messages: list[Any]

    def made(self, connection: MessageProtocol) -> None:
        """See `IEnd.made`."""

    def received(self, _: MessageProtocol, message: Any) -> None:  # noqa: ANN401 - as IEnd has it
        """Record it."""
        self.messages.append(message)

    def lost(self, connection: MessageProtocol) -> None:
        """See `IEnd.lost`."""


class ServerTests(WorkersCase):
    """Notifications of workers by the writer."""

    def close_file(self) -> Deferred[None]:
        """Have the workers close the storage file."""
        closing = self.driven.server.close_file()
        self.driven.settle()
        return closing

    def open_file(self) -> Deferred[None]:
        """Have the workers open it again."""
        opening = self.driven.server.open_file()
        self.driven.settle()
        return opening

    def cached(self, data: bytes) -> ImageSpec:
        """Upload an image that all workers have in memory then."""
        spec = self.upload(data)
        for worker in range(self.workers):
            self.assertEqual(self.download(spec, worker), data)
            self.assert_in_memory(spec, worker)
        return spec

    def assert_in_memory(self, spec: ImageSpec, worker: int) -> None:
        """Check that a worker serves an image from memory."""
        self.successResultOf(self.driven.stores[worker].open(spec.sha256))

    def assert_absent(self, spec: ImageSpec) -> None:
        """Check that no worker serves an image, neither at once nor later."""
        for store in self.driven.stores:
            opening = store.open(spec.sha256)
            self.assertNoResult(opening)
            self.assertRaises(
                (ImageNotFoundError, ImageGoneError), self.driven.run, opening
            )

    def test_deleted(self) -> None:
        """A worker that is not notified serves nothing from its cache.

        The deletion does not take longer for that.
        """
        spec, other = self.cached(CAT), self.cached(DOG)
        self.wires[1].other.cut = True
        self.driven.run(self.driven.stores[0].delete(spec.sha256))
        self.assert_absent(spec)
        self.assert_in_memory(other, 0)
        self.assertNoResult(self.driven.stores[1].open(other.sha256))
        self.wires[1].abortConnection()
        self.pass_time(1)
        self.assertEqual(self.download(other, 1), DOG)
        self.assert_in_memory(other, 1)

    def test_writer_that_dies(self) -> None:
        """A worker without a connection serves nothing from its cache."""
        spec = self.cached(CAT)
        far = self.wires[1].other
        far.connected = False
        far.own.connectionLost(Failure(ConnectionDone()))
        self.driven.run(self.driven.stores[0].delete(spec.sha256))
        self.assert_absent(spec)

    def test_worker_alone(self) -> None:
        """A worker that has lost the writer serves nothing from its cache."""
        spec = self.cached(CAT)
        self.driven.reactor.listening = None
        self.wires[1].abortConnection()
        for _ in range(2):
            opening = self.driven.stores[1].open(spec.sha256)
            self.assertNoResult(opening)
            self.driven.run(opening)

    def test_expired(self) -> None:
        """An expired image is served from no cache, whatever a worker's clock."""
        spec = self.cached(CAT)
        self.wires[1].other.cut = True
        self.driven.run(
            self.driven.writer.engine._run(
                lambda batch: remove_expired(
                    batch,
                    RemoveExpired(
                        "images",
                        -1,
                        [Expired(batch.find(spec.sha256).number, spec.sha256)],
                    ),
                )
            )
        )
        self.driven.settle()
        self.assert_absent(spec)

    def test_quarantined(self) -> None:
        """The same for a quarantined image."""
        spec = self.cached(CAT)
        self.wires[1].other.cut = True
        digest = bytes.fromhex(spec.sha256)

        def put(batch: Batch) -> bool:
            record = batch.transaction.get(digest, b"", db=batch.databases.images)
            return put_aside(batch, digest, record, 0)

        self.assertTrue(self.driven.run(self.driven.writer.engine._run(put)))
        self.driven.settle()
        self.assert_absent(spec)

    def test_commit_that_fails(self) -> None:
        """After a commit that failed, and may be there, nothing old is in memory."""
        spec = self.cached(CAT)
        self.driven.writer.engine._repair(lmdb.Error("mdb_txn_commit"))
        self.driven.writer.engine._evict_removed()
        self.driven.settle()
        for store in self.driven.stores:
            self.assertEqual(store.stats().cache_bytes, 0)
        self.assertEqual(self.download(spec, 0), CAT)
        self.assert_in_memory(spec, 0)

    def test_rejected(self) -> None:
        """An upload with a wrong hash evicts nothing from caches."""
        before = self.driven.generations.removals
        wrong = spec_of(CAT)
        self.driven.run(self.driven.stores[0].register(wrong))
        for chunk_id in range(wrong.chunks):
            size = len(chunk_of(CAT, wrong, chunk_id))
            storing = self.driven.stores[0].add_chunk(
                wrong.sha256, chunk_id, b"#" * size
            )
            if chunk_id < wrong.chunks - 1:
                self.driven.run(storing)
        self.assertRaises(HashMismatchError, self.driven.run, storing)
        self.assertEqual(self.driven.generations.removals, before)

    def test_deleted_at_once(self) -> None:
        """All workers evict an image that one deletes."""
        spec = self.upload(CAT)
        for worker in range(self.workers):
            self.download(spec, worker)
        self.driven.run(self.driven.stores[0].delete(spec.sha256))
        for store in self.driven.stores:
            opening = store.open(spec.sha256)
            self.assertRaises(ImageNotFoundError, self.driven.run, opening)

    def test_storage_taken(self) -> None:
        """Workers close the file, and open it again."""
        spec = self.upload(CAT)
        for file in self.driven.files:
            file.used.clear()
        self.successResultOf(self.close_file())
        self.driven.stores[1]._evict([spec.sha256])
        opening = self.driven.stores[1].open(spec.sha256)
        self.driven.settle()
        self.assertNoResult(opening)
        self.successResultOf(self.open_file())
        self.driven.run(opening)
        for file in self.driven.files:
            self.assertEqual(file.used, ["close", "close", "open"])

    def test_worker_that_does_not_close(self) -> None:
        """The storage is not taken from one that does not answer; it is cut off."""
        self.wires[1].cut = True
        using = self.driven.server.close_file()
        with capturedLogs() as events:
            self.pass_time(_pending_requests.ANSWER_TIMEOUT)
        self.failureResultOf(using, StorageInUseError)
        self.assertFalse(self.wires[1].connected)
        self.assertIn("disconnecting a worker", str([e["log_format"] for e in events]))
        self.successResultOf(self.open_file())

    def test_worker_that_dies(self) -> None:
        """Nor from one of which only the connection has ended."""
        self.wires[1].cut = True
        using = self.driven.server.close_file()
        self.driven.settle()
        self.wires[1].abortConnection()
        self.driven.settle()
        self.failureResultOf(using, StorageInUseError)
        self.successResultOf(self.open_file())

    def test_worker_that_comes(self) -> None:
        """One that connects while the file is closed waits until it is open."""
        self.successResultOf(self.close_file())
        self.wires[1].abortConnection()
        self.pass_time(0.1)
        self.assertIsNone(self.driven.clients[1]._connection)
        self.successResultOf(self.open_file())
        self.assertIsNotNone(self.driven.clients[1]._connection)

    def test_worker_that_comes_and_goes(self) -> None:
        """One that disconnects before it was welcomed is dropped."""
        self.successResultOf(self.close_file())
        self.wires[1].abortConnection()
        self.pass_time(0.1)
        self.wires[-1].abortConnection()
        self.successResultOf(self.open_file())
        self.pass_time(1)
        self.assertIsNotNone(self.driven.clients[1]._connection)

    def test_gathered(self) -> None:
        """A worker receives the counts of all others."""
        self.assertEqual(self.gather(), [snapshot_of(0), snapshot_of(2)])

    def gather(self) -> list[bytes]:
        """Return the snapshots that the first worker receives."""
        gathering = self.driven.clients[0].gather(snapshot_of(1))
        self.driven.settle()
        return self.successResultOf(gathering)

    def test_gathered_from_the_dead(self) -> None:
        """Counts of processes that have ended are kept, once."""
        self.gather()
        stopped = self.driven.clients[1]
        self.successResultOf(stopped.stop())
        self.driven.settle()
        (_, ended) = self.gather()
        self.assertEqual(
            [(metric.name, metric.samples[0].value) for metric in merge([ended])],
            [("asciid_chunks_stored", 2)],
        )

    def test_gathered_from_one_that_was_cut_off(self) -> None:
        """One that reconnects is counted once; one that does not answer is included."""
        self.gather()
        self.wires[1].abortConnection()
        self.pass_time(1)
        self.assertEqual(self.gather(), [snapshot_of(0), snapshot_of(2)])
        self.wires[-1].cut = True
        self.driven.server.open_file()
        self.driven.settle()
        self.pass_time(_pending_requests.ANSWER_TIMEOUT)
        self.assertFalse(self.wires[-2].connected)
        (_, ended) = self.gather()
        self.assertEqual(merge([ended])[0].samples[0].value, 2)

    def test_gathered_from_one_that_hangs(self) -> None:
        """
        The last snapshot of a hung worker is sent after two seconds, and then at once.

        It is neither disconnected nor sent another request until it answers.
        """
        self.gather()
        server, hung = self.driven.server, self.wires[1]
        self.assertEqual(server.answering, 2)
        hung.cut = True
        gathering = self.driven.clients[0].gather(snapshot_of(1))
        self.driven.settle()
        self.pass_time(_collecting.COLLECTED_WITHIN / 2)
        self.assertNoResult(gathering)
        self.pass_time(_collecting.COLLECTED_WITHIN / 2)
        self.assertEqual(
            self.successResultOf(gathering), [snapshot_of(0), snapshot_of(2)]
        )
        self.assertEqual((server.workers, server.answering), (2, 1))
        self.assertEqual(self.gather(), [snapshot_of(0), snapshot_of(2)])
        self.pass_time(_pending_requests.ANSWER_TIMEOUT)
        self.assertTrue(hung.connected)
        hung.cut = False
        (connection,) = server._requests.unresponsive
        ((number, _),) = server._requests._open.items()
        server.received(connection, Collected(number, snapshot_of(7)))
        self.assertEqual(server.answering, 2)
        self.assertEqual(self.gather(), [snapshot_of(0), snapshot_of(2)])

    def test_gathered_at_once(self) -> None:
        """A request during a collection waits for the same answers."""
        hung = self.wires[1]
        hung.cut = True
        first = self.driven.clients[0].gather(snapshot_of(1))
        self.driven.settle()
        self.pass_time(_collecting.COLLECTED_WITHIN / 2)
        second = self.driven.clients[0].gather(snapshot_of(3))
        self.driven.settle()
        self.assertEqual(len(self.driven.server._requests._open), 1)
        self.pass_time(_collecting.COLLECTED_WITHIN / 2)
        for gathering in first, second:
            self.assertEqual(self.successResultOf(gathering), [snapshot_of(0)])
        hung.abortConnection()
        self.driven.settle()
        self.assertEqual(self.driven.server._requests.unresponsive, set())

    def test_gathered_without_a_writer(self) -> None:
        """Without a writer there are no snapshots."""
        gathering = self.driven.clients[0].gather(snapshot_of(1))
        self.wires[0].abortConnection()
        self.assertEqual(self.successResultOf(gathering), [])
        again = self.driven.clients[0].gather(snapshot_of(1))
        self.assertEqual(self.successResultOf(again), [])
        self.pass_time(1)

    def test_gathered_before_all_are_back(self) -> None:
        """A new writer sends no metrics before all workers had time to connect."""
        self.driven.server = self.another_server(2)
        self.driven.reactor.listening = self.driven.server
        self.wires[0].abortConnection()
        self.pass_time(1)
        self.assertEqual(self.gather(), [])
        self.pass_time(_writer_server.GATHERING)
        self.assertEqual(self.gather(), [snapshot_of(0)])
        self.driven.server = self.another_server(2)
        self.driven.reactor.listening = self.driven.server
        for wire in self.wires[1:]:
            wire.abortConnection()
        self.pass_time(1)
        self.assertEqual(self.gather(), [snapshot_of(0), snapshot_of(2)])

    def test_late_answers(self) -> None:
        """A late answer is dropped."""
        connection = next(iter(self.driven.server._workers))
        self.driven.server.received(connection, Collected(99, snapshot_of(1)))
        self.assertEqual(len(self.gather()), 2)

    def test_waits_for_workers(self) -> None:
        """The writer can wait until no worker is left."""
        waiting = self.driven.server.wait_until_empty()
        self.assertNoResult(waiting)
        cancelled = self.driven.server.wait_until_empty()
        cancelled.addErrback(lambda _: None)
        cancelled.cancel()
        for client in self.driven.clients:
            self.successResultOf(client.stop())
        self.driven.settle()
        self.successResultOf(waiting)
        self.successResultOf(self.driven.server.wait_until_empty())


class FreshTests(WorkersCase):
    """Images that were just uploaded through another worker."""

    def reads(self) -> list[bool]:
        """Record calls in reading threads."""
        counted: list[bool] = []
        call_in_thread = self.driven.read_pool.callInThread

        def call(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as the pool
            counted.append(True)
            call_in_thread(*arguments, **options)

        self.patch(self.driven.read_pool, "callInThread", call)
        return counted

    def test_kept(self) -> None:
        """They are in the cache of every worker: no thread reads them."""
        spec = self.upload(CAT)
        reads = self.reads()
        for store in self.driven.stores:
            reader = self.successResultOf(store.open(spec.sha256))
            self.assertEqual(self.driven.run(reader.read(0, spec.size)), CAT)
            self.assertEqual(store.stats().cache_misses, 0)
        self.assertEqual(reads, [])

    def test_removed_meanwhile(self) -> None:
        """One that was removed already is not found."""
        spec = self.upload(CAT)
        self.driven.run(self.driven.stores[0].delete(spec.sha256))
        opening = self.driven.stores[1].open(spec.sha256)
        self.assertRaises(ImageNotFoundError, self.driven.run, opening)

    def test_file_changed(self) -> None:
        """Those from before the file was exchanged need not be read again."""
        spec = self.upload(CAT)
        for change in (self.driven.server.close_file, self.driven.server.open_file):
            self.driven.run(change())
            self.driven.settle()
        reads = self.reads()
        self.assertEqual(self.download(spec, 1), CAT)
        self.assertEqual(reads, [])

    def test_removed_in_the_next_message(self) -> None:
        """An image completed by one worker is removed by another at once."""
        spec = spec_of(CAT, len(CAT))
        self.driven.run(self.driven.stores[0].register(spec))
        adding = self.driven.stores[0].add_chunk(spec.sha256, 0, CAT)
        removing = self.driven.clients[1].submit([Remove(spec.sha256)])
        self.driven.settle()
        self.assertTrue(self.successResultOf(adding))
        self.successResultOf(removing)
        for store in self.driven.stores:
            self.assertEqual(store.stats().cache_bytes, 0)

    def test_answered_late(self) -> None:
        """An image that was removed before its last chunk is answered is not kept."""
        other, spec = self.upload(b"other"), spec_of(CAT, len(CAT))
        self.driven.run(self.driven.stores[0].register(spec))
        # Its answer follows the eviction of the other image.
        adding = self.driven.stores[0].add_chunk(spec.sha256, 0, CAT)
        deleting = self.driven.stores[0].delete(other.sha256)
        removing = self.driven.clients[1].submit([Remove(spec.sha256)])
        self.driven.settle()
        under_way: list[Deferred[Any]] = [adding, deleting, removing]
        for done in under_way:
            self.successResultOf(done)
        for store in self.driven.stores:
            self.assertEqual(store.stats().cache_bytes, 0)

    def test_large(self) -> None:
        """Larger ones are not sent to others, which read them on request."""
        large = self.upload(bytes(FRESH_IMAGE + 1), chunk_size=FRESH_IMAGE + 1)
        self.assertGreater(self.driven.stores[0].stats().cache_bytes, FRESH_IMAGE)
        self.assertEqual(self.driven.stores[1].stats().cache_bytes, 0)
        self.assertEqual(self.download(large, 1), bytes(FRESH_IMAGE + 1))

    def test_worker_that_does_not_read(self) -> None:
        """For one that does not read its messages, they do not pile up."""
        server = self.driven.server
        second = next(c for c in server._workers if c.transport is self.wires[1].other)
        second._output.blocked = True
        spec = self.upload(CAT)
        self.assertEqual(list(second._output._queue), [])
        second._output.blocked = False
        self.assertEqual(self.driven.stores[1].stats().cache_bytes, 0)
        self.assertEqual(self.download(spec, 1), CAT)


class BatchDelayTests(WorkersCase):
    """Between two batches."""

    def setUp(self) -> None:
        """Record the numbers of operations of batches."""
        super().setUp()
        self.batches: list[int] = []
        environment = self.driven.writer.engine._environment
        execute = environment.execute

        def counted(operations: Any) -> Any:  # noqa: ANN401 - as the environment
            self.batches.append(len(operations))
            return execute(operations)

        self.patch(self.driven.writer.engine._writer, "_execute", counted)

    def answer_both(self, *, silences: bool = False) -> None:
        """
        Have a batch with something from either worker answered, and no more.

        With `silences`, later messages of the second are lost.
        """
        both = [self.register(b"%d" % worker, worker) for worker in range(2)]
        self.driven.reactor.advance(0)
        self.wires[1].cut = silences
        while not all(one.called for one in both):
            self.turn()
        self.assertEqual(self.batches, [2])

    def turn(self, times: int = 1) -> None:
        """Run everything, without advancing the time."""
        for _ in range(times):
            self.driven.reactor.advance(0)
            self.driven.writer.writer_pool.step()

    def test_both_submit_again(self) -> None:
        """The next batch begins once both have submitted again."""
        self.answer_both()
        first = self.register(b"first", 0)
        second = self.register(b"second", 1)
        self.turn(20)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.batches, [2, 2])

    def test_one_is_idle(self) -> None:
        """A worker without operations sends `Idle`, and is not awaited."""
        self.answer_both()
        first = self.register(b"first", 0)
        self.turn(20)
        self.successResultOf(first)
        self.assertEqual(self.batches, [2, 1])

    def test_one_hangs(self) -> None:
        """A worker that sends nothing is not awaited for long."""
        self.answer_both(silences=True)
        first = self.register(b"first", 0)
        self.turn(20)
        self.assertNoResult(first)
        self.driven.reactor.advance(PAUSE)
        self.turn(20)
        self.successResultOf(first)
        self.assertEqual(self.batches, [2, 1])

    def test_one_dies(self) -> None:
        """A worker that dies is not waited for."""
        self.answer_both(silences=True)
        first = self.register(b"first", 0)
        self.turn(20)
        self.wires[1].abortConnection()
        self.turn(20)
        self.successResultOf(first)

    def test_alone(self) -> None:
        """A worker that was not in the batch is not awaited."""
        for number in range(3):
            registering = self.register(b"%d" % number)
            self.turn(20)
            self.successResultOf(registering)
        self.assertEqual(self.batches, [1, 1, 1])

    def test_one_piece(self) -> None:
        """All messages of a batch to a worker arrive in one piece."""
        cat, dog = spec_of(CAT, len(CAT)), spec_of(b"dog", 3)
        for worker, spec in enumerate((cat, dog)):
            self.driven.run(self.driven.stores[worker].register(spec))
        self.driven.settle()
        pieces: list[bytes] = []
        arrive = self.wires[0].arrive

        def counted(data: bytes) -> None:
            pieces.append(data)
            arrive(data)

        self.patch(self.wires[0], "arrive", counted)
        adding = [
            self.driven.stores[0].add_chunk(cat.sha256, 0, CAT),
            self.driven.stores[1].add_chunk(dog.sha256, 0, b"dog"),
        ]
        self.driven.settle()
        for added in adding:
            self.assertTrue(self.successResultOf(added))
        self.assertEqual(len(pieces), 1)
        self.assertIn(dog.sha256.encode(), pieces[0])


class ExpiryTests(WorkersCase):
    """Expiry with several workers."""

    options: ClassVar = {"lifetimes": Lifetimes(image=10)}

    def test_forgotten(self) -> None:
        """All workers evict an expired image."""
        spec = self.upload(CAT)
        for worker in range(self.workers):
            self.download(spec, worker)
        cached = [store.stats().cache_bytes for store in self.driven.stores]
        self.assertGreater(min(cached), 0)
        self.driven.writer.pass_time(11)
        self.assertEqual(self.driven.run(self.driven.written.expire()), 1)
        self.driven.settle()
        cached = [store.stats().cache_bytes for store in self.driven.stores]
        self.assertEqual(cached, [0, 0])


class RoomTests(WorkersCase):
    """The disk of several workers."""

    options: ClassVar = {"reserve": 10**6}

    def test_refused(self) -> None:
        """
        No worker is ready while the writer refuses large operations, though
        there is room for something small; all are once there is enough.
        """
        engine, stores = self.driven.writer.engine, self.driven.stores
        left = 10**6 + 50_000
        self.patch(engine._reserve, "free", lambda _: left)
        self.driven.writer.pass_time(CHECK_EVERY)
        spec = spec_of(LARGE, len(LARGE))
        self.driven.run(stores[0].register(spec))
        chunk = stores[0].add_chunk(spec.sha256, 0, LARGE)
        self.assertRaises(StorageFullError, self.driven.run, chunk)
        self.assertEqual(self.have_room(), [False, False])
        left = 10**9
        self.driven.writer.pass_time(SETTLED)
        self.assertEqual(self.have_room(), [True, True])

    def have_room(self) -> list[bool]:
        """Return the health of each worker after a probe."""
        self.driven.writer.pass_time(PROBE_EVERY)
        for store in self.driven.stores:
            store.health()
        self.driven.settle()
        return [store.health().has_room for store in self.driven.stores]


class CompactionTests(WorkersCase):
    """The storage is compacted while workers use it."""

    def test_compact(self) -> None:
        """Reads and writes of all workers wait, and find everything again."""
        spec = self.upload(CAT)
        compacting = self.driven.writer.engine.compact()
        registering = self.register(b"meanwhile")
        self.driven.run(compacting)
        self.driven.run(registering)
        self.assertEqual(self.download(spec, 1), CAT)
        used = self.driven.files[1].used
        self.assertEqual(used[-4:], ["open", "close", "close", "open"])
