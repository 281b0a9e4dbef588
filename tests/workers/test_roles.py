"""Tests of asciid.workers._worker and _writer."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings
from asciid.daemon import assembly, storing
from asciid.engines.generations import Generations
from asciid.engines.lmdb import _file_reader
from asciid.engines.lmdb.sharing import prepare_storage
from asciid.engines.remote._batch_delay import PAUSE
from asciid.engines.remote._writer_client import WriterClient
from asciid.engines.remote._writer_server import WriterServer
from asciid.errors import StoreClosedError
from asciid.metrics import merge, snapshot
from asciid.net.listener import StartError
from asciid.runtime.offload import Offload
from asciid.store.operations import Register
from asciid.testing import ManualThreadPool, run
from asciid.workers import _worker, _writer
from asciid.workers._inheritance import LOCK, WRITER_SOCKET
from asciid.workers._record import Record, recorded_start
from asciid.workers._worker import Worker
from asciid.workers._writer import Writer
from tests.engines._formats import write_format_1
from tests.store._support import DrivenStore, registered, spec_of
from tests.workers._played import PlayedPort
from tests.workers._support import WiredReactor, snapshot_of

if TYPE_CHECKING:
    from asciid.engines.lmdb.maintenance import StorageLock

ResultT = TypeVar("ResultT")

DRAIN = 10
NOTHING = snapshot([])
FREE = 500
"""From here on no descriptor is used by anybody else."""
CAT = b"/\\_/\\\n( o.o )\n >^<\n"


class RoleReactor(WiredReactor):
    """A reactor whose ports are played."""

    def __init__(self) -> None:
        super().__init__()
        self.served: list[Any] = []
        """The factories of the sockets that were adopted."""
        self.names: list[str] = []
        """The Unix sockets that are listened on."""
        self.ports: list[PlayedPort] = []

    def getThreadPool(self) -> ManualThreadPool:
        """Return a pool that does nothing: no file is read."""
        return ManualThreadPool()

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> PlayedPort:  # noqa: ANN401 - as the interface has it
        """Listen on a socket."""
        del family
        self.served.append(factory)
        self.ports.append(PlayedPort(4444, descriptor))
        return self.ports[-1]

    def listenUNIX(self, address: str, factory: Any, mode: int) -> PlayedPort:  # noqa: ANN401 - likewise
        """Listen on a Unix socket, for its owner alone."""
        assert mode == 0o600
        self.names.append(address.rpartition("/")[2])
        if address.endswith(WRITER_SOCKET):
            self.listening = factory
        self.ports.append(PlayedPort(0, 0))
        return self.ports[-1]


class RoleTestCase(SynchronousTestCase):
    """A process on a storage, with a reactor and threads that are turned by hand."""

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor = RoleReactor()
        self.pools: list[ManualThreadPool] = []
        self.storage = Path(self.mktemp())
        self.settings = Settings(
            "tcp:4444", self.storage, 1, 1, sync=True, workers=2, drain_timeout=DRAIN
        )

    def pool(self, *_: object, **__: object) -> ManualThreadPool:
        """Return a pool that is turned with everything else."""
        self.pools.append(ManualThreadPool())
        return self.pools[-1]

    def settle(self) -> None:
        """Turn everything until nothing is left to do at once."""
        idle = 0
        while idle < 5:  # a call may lead to one in the next turn
            self.reactor.advance(0)
            busy = [pool.step() for pool in self.pools]
            idle = 0 if any(busy) else idle + 1

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn everything until `awaited` fires."""
        return run(awaited, self.reactor, *self.pools)

    def pass_time(self, seconds: float) -> list[str]:
        """Advance the time; return the log lines meanwhile."""
        with capturedLogs() as events:
            self.reactor.advance(seconds)
            self.settle()
        return [str(formatEvent(event)) for event in events]


class WritingProcess:
    """A writer whose operations succeed, and are recorded."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.metrics = succeed(NOTHING)

    def apply(self, operations: Any) -> Deferred[Any]:  # noqa: ANN401 - as IWritingProcess
        """Do nothing."""
        self.done += operations
        return succeed([None] * len(operations))

    def snapshot(self) -> Deferred[bytes]:
        """Return the test's result."""
        return self.metrics

    def save(self, snapshots: Any) -> None:  # noqa: ANN401 - as IWritingProcess
        """Save nothing."""


class Follower:
    """A follower that does nothing, and has metrics."""

    def completed(self, _: object) -> None:
        """Do nothing."""

    def removed(self, _: int, __: object) -> None:
        """Do nothing."""

    def disconnected(self) -> None:
        """Do nothing."""

    def open_file(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)

    def close_file(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)

    def snapshot(self) -> Deferred[bytes]:
        """Return nothing."""
        return succeed(NOTHING)

    def counters(self) -> bytes:
        """Return the counters at the end."""
        return snapshot_of(5)


class WorkerTests(RoleTestCase):
    """A process that speaks HTTP."""

    def setUp(self) -> None:
        """Make one, and a process that writes."""
        super().setUp()
        self.patch(_file_reader, "FixedThreadPool", self.pool)
        self.patch(assembly, "FixedThreadPool", self.pool)
        inherited = socket.create_server(("127.0.0.1", 0))
        self.inherited = inherited.detach()
        self.patch(_worker, "FIRST_INHERITED", self.inherited)
        self.storage.mkdir()
        prepare_storage(self.storage, sync=False)
        lock = os.open(self.storage, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, lock)
        self.patch(_worker, "LOCK", lock)
        descriptor = Generations.create_shared()
        self.addCleanup(os.close, descriptor)
        self.patch(_worker, "GENERATIONS", descriptor)
        self.generations = Generations(descriptor)
        self.written = WritingProcess()
        self.server = WriterServer(self.written, self.reactor, self.generations)
        self.worker = Worker(self.settings, self.reactor)

    def start(self) -> None:
        """Let the worker find the writer, and serve."""
        self.reactor.listening = self.server
        self.run_(self.worker.start())
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop it."""
        self.run_(self.worker.stop())
        self.settle()

    def connect(self) -> tuple[Any, StringTransport]:
        """Connect a client."""
        protocol, transport = self.reactor.served[0].buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def request(self, target: str, method: str = "GET", body: str = "") -> bytes:
        """Return the answer to a request."""
        protocol, transport = self.connect()
        protocol.dataReceived(
            f"{method} {target} HTTP/1.1\r\nHost: a\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        self.settle()
        protocol.connectionLost(Failure(ConnectionDone()))
        answer: bytes = transport.value()
        return answer

    def test_serves_once_there_is_a_writer(self) -> None:
        """No request is served before the writer accepts operations."""
        starting = self.worker.start()
        self.reactor.advance(1)
        self.assertNoResult(starting)
        self.assertEqual(self.reactor.served, [])
        self.reactor.listening = self.server
        self.pass_time(1)
        self.successResultOf(starting)
        self.addCleanup(self.stop)
        spec = spec_of(b"c", 1)
        registration = f'{{"sha256":"{spec.sha256}","size":1,"chunk_size":1}}'
        answer = self.request("/image", "POST", registration)
        self.assertTrue(answer.startswith(b"HTTP/1.1 201 "), answer)
        self.assertIn(Register(spec, "192.168.1.1"), self.written.done)

    def test_start_fails(self) -> None:
        """A worker that cannot create threads was never ready."""

        def refuse(_: Offload) -> None:
            raise OSError(errno.EAGAIN, "no thread")

        self.patch(Offload, "start", refuse)
        self.reactor.listening = self.server
        ready: list[str] = []
        starting = self.worker.start().addCallback(lambda _: ready.append("ready"))
        self.settle()
        self.pass_time(1)
        self.assertIn("threads", str(self.failureResultOf(starting, StartError).value))
        self.assertEqual(ready, [])
        self.assert_threads_end()

    def test_stopped_without_a_writer(self) -> None:
        """A worker that is stopped before it has found the writer is not kept alive."""
        starting = self.worker.start()
        self.assert_threads_end()
        self.assertNoResult(starting)

    def assert_threads_end(self) -> None:
        """Check that the threads, which keep a process alive, end at the stop."""
        self.run_(self.worker.stop())
        running = [pool for pool in self.pools if pool.started and not pool.stopped]
        self.assertEqual(running, [])

    def test_metrics_port(self) -> None:
        """The sockets are identified by their position, not by their description."""
        first = fcntl.fcntl(self.inherited, fcntl.F_DUPFD, FREE)
        fcntl.fcntl(self.inherited, fcntl.F_DUPFD, FREE)
        self.patch(_worker, "FIRST_INHERITED", first)
        settings = evolve(self.settings, port="tcp:0", metrics_port="tcp:0")
        self.worker = Worker(settings, self.reactor)
        self.start()
        self.assertEqual(
            sorted(port.descriptor for port in self.reactor.ports),
            [first, first + 1],
        )

    def test_follows_the_writer(self) -> None:
        """It evicts, uses the storage and sends its metrics as the writer requests."""
        self.start()
        self.assertIn(b" 404 ", self.request("/nowhere"))
        engine = self.worker._engine
        self.server.evict(self.generations.count_removal(), ["0" * 64])
        using = self.server.open_file()
        self.settle()
        self.successResultOf(using)
        self.assertEqual(engine._caught_up, self.generations.removals)
        self.reactor.wires[0].abortConnection()
        self.assertIsNone(engine._caught_up)
        self.pass_time(1)
        self.assertEqual(engine._caught_up, self.generations.removals)
        asking = WriterClient(WRITER_SOCKET, self.reactor, Follower())
        self.run_(asking.start(Follower()))
        gathered = self.run_(asking.gather(NOTHING))
        counts = {
            sample.name: sample.value
            for metric in merge(gathered)
            for sample in metric.samples
        }
        self.assertEqual(counts["asciid_requests_total"], 1)
        self.run_(asking.stop())

    def test_metrics_are_gathered(self) -> None:
        """A scrape has the counts of all processes."""
        self.start()
        self.written.metrics = fail(OSError("no metrics"))
        with capturedLogs():
            answer = self.request("/metrics")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertIn(b"\nasciid_images 0.0\n", answer)

    def test_cannot_tell(self) -> None:
        """Metrics that it cannot send are left out, and it is not disconnected."""
        self.start()
        asking = WriterClient(WRITER_SOCKET, self.reactor, Follower())
        self.run_(asking.start(Follower()))
        self.patch(Worker, "snapshot", lambda _: fail(OSError("no metrics")))
        with capturedLogs():
            self.assertEqual(self.run_(asking.gather(NOTHING)), [NOTHING])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.server.workers, 2)
        self.run_(asking.stop())

    def test_rereads(self) -> None:
        """Tokens that changed count at once; without a file there are none to read."""
        self.worker.reread()
        tokens = Path(self.mktemp())
        tokens.write_text("good\n")
        tokens.chmod(0o600)
        self.settings = evolve(self.settings, write_token_file=tokens)
        self.worker = Worker(self.settings, self.reactor)
        self.start()
        worker_tokens = self.worker._tokens
        assert worker_tokens is not None
        self.assertTrue(worker_tokens.accepts(b"good"))
        tokens.write_text("better\n")
        self.worker.reread()
        self.assertFalse(worker_tokens.accepts(b"good"))
        tokens.write_text("no good\n")
        self.worker.reread()
        self.assertTrue(worker_tokens.accepts(b"better"))

    def test_retires(self) -> None:
        """It accepts no more connections, and is done once all are closed."""
        self.start()
        protocol, transport = self.connect()
        retired = self.worker.retire()
        self.assertFalse(self.reactor.ports[0].bound)
        self.assertNoResult(retired)
        protocol.dataReceived(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        self.settle()
        self.assertIn(b"\r\nConnection: close\r\n", transport.value())
        protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(retired)

    def test_retires_in_time(self) -> None:
        """It does not wait longer for clients than it may."""
        self.start()
        protocol, _ = self.connect()
        retired = self.worker.retire()
        self.pass_time(DRAIN)
        self.successResultOf(retired)
        protocol.connectionLost(Failure(ConnectionDone()))


class Transport(StringTransport):
    """A transport that can be cut."""

    def abortConnection(self) -> None:
        """Cut it."""
        self.loseConnection()


class WriterTests(RoleTestCase):
    """The process that writes."""

    def setUp(self) -> None:
        """Make one."""
        super().setUp()
        self.storage.mkdir()
        self.record = Record()
        self.addCleanup(self.record.close)
        self.patch(_writer, "FIRST_INHERITED", self.record.descriptor)
        descriptor = Generations.create_shared()
        self.addCleanup(os.close, descriptor)
        self.patch(_writer, "GENERATIONS", descriptor)
        self.patch(storing, "_make_file_engine", self.make_engine)
        self.writer = Writer(self.settings, self.reactor)
        self.stopped = False

    def make_engine(
        self,
        settings: Settings,
        reactor: Any,  # noqa: ANN401 - as the original
        *,
        peers: Any,  # noqa: ANN401 - likewise
        lock: StorageLock,
    ) -> Any:  # noqa: ANN401 - likewise
        """Return an engine that is turned by hand."""
        self.assertIs(settings, self.settings)
        self.assertEqual(lock.held, LOCK)
        driven = DrivenStore(str(self.storage), reactor, peers=peers)
        self.pools += [driven.writer_pool, driven.read_pool]
        return driven.engine

    def start(self) -> None:
        """Have it write."""
        self.run_(self.writer.start())
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop it, unless the test has."""
        if not self.stopped:
            for wire in self.reactor.wires:
                wire.abortConnection()
            self.run_(self.writer.stop())

    def connect(self) -> WriterClient:
        """Connect a worker."""
        client = WriterClient(WRITER_SOCKET, self.reactor, Follower())
        self.run_(client.start(Follower()))
        return client

    def test_writes(self) -> None:
        """It takes operations of workers, and commands."""
        self.start()
        self.assertEqual(self.reactor.names, [WRITER_SOCKET, "asciid.sock"])
        client = self.connect()
        self.run_(client.submit([Register(spec_of(CAT))]))
        self.assertEqual(self.run_(registered(self.writer._store)), 1)
        # There are to be two workers.
        self.assertEqual(self.run_(client.gather(NOTHING)), [])
        self.connect()
        snapshots = self.run_(client.gather(NOTHING))
        counts = {metric.name: metric for metric in merge(snapshots)}
        self.assertEqual(counts["asciid_uploads_pending"].samples[0].value, 1)

    def test_tells_of_workers(self) -> None:
        """It exports the numbers of answering workers and of dead processes."""
        self.start()
        for _ in range(3):
            self.record.count_exit()
        clients = [self.connect() for _ in range(2)]
        self.run_(clients[0].stop())
        self.settle()
        snapshots = self.run_(clients[1].gather(NOTHING))
        metrics = merge(snapshots)
        values = {
            metric.name: metric.samples[0].value for metric in metrics if metric.samples
        }
        self.assertEqual(values["asciid_workers"], 1)
        self.assertEqual(values["asciid_workers_configured"], 2)
        self.assertEqual(values["asciid_process_deaths"], 3)

    def test_replaced(self) -> None:
        """The next writer has all counts from before its start."""
        self.start()
        clients = [self.connect() for _ in range(2)]
        self.run_(clients[0].submit([Register(spec_of(CAT))]))
        self.run_(clients[1].stop())
        self.run_(clients[0].stop())
        self.settle()
        self.run_(self.writer.stop())
        self.stopped = True

        self.writer = Writer(self.settings, self.reactor)
        self.start()
        self.stopped = False
        clients = [self.connect() for _ in range(2)]
        snapshots = self.run_(clients[0].gather(NOTHING))
        counts = {
            metric.name: metric.samples[0].value
            for metric in merge(snapshots)
            if metric.samples
        }
        self.assertEqual(counts["asciid_chunks_stored"], 10)
        self.assertEqual(counts["asciid_images_registered"], 1)
        started = recorded_start(self.record.descriptor)
        self.assertEqual(counts["process_start_time_seconds"], started)

    def test_stop_during_a_conversion(self) -> None:
        """A stop aborts the conversion of the storage, and ends."""
        self.storage.rmdir()
        write_format_1(self.storage)
        starting = self.writer.start()
        stopping = self.writer.stop()
        self.settle()
        self.failureResultOf(starting, StoreClosedError)
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.names, [])

    def test_stop_before_the_start(self) -> None:
        """There is nothing to stop then."""
        self.successResultOf(self.writer.stop())

    def test_stop(self) -> None:
        """It ends after the last worker, and answers all that these send till then."""
        self.start()
        client = self.connect()
        stopping = self.writer.stop()
        registering = client.submit([Register(spec_of(CAT))])
        self.settle()
        self.successResultOf(registering)
        self.assertNoResult(stopping)
        self.successResultOf(client.stop())
        self.settle()
        self.successResultOf(stopping)
        self.assertEqual([p.bound for p in self.reactor.ports], [False, False])
        self.stopped = True

    def test_worker_that_does_not_end(self) -> None:
        """It waits longer for workers than they do for clients, not for ever."""
        self.start()
        client = self.connect()
        stopping = self.writer.stop()
        lines = self.pass_time(DRAIN)
        self.assertNoResult(stopping)
        lines += self.pass_time(2)
        self.successResultOf(stopping)
        self.assertEqual(lines[0], "aborting the connections of 1 workers")
        self.successResultOf(client.stop())
        self.stopped = True

    def test_retires(self) -> None:
        """Sent operations are answered, and later ones are kept for the next writer."""
        self.start()
        client = self.connect()
        before = client.submit([Register(spec_of(CAT))])
        self.reactor.advance(0)
        retired = self.writer.retire()
        self.reactor.listening = None
        self.settle()
        self.pass_time(PAUSE)
        self.successResultOf(before)
        self.successResultOf(retired)
        after = client.submit([Register(spec_of(b"dog"))])
        self.assertNoResult(after)
        after.addErrback(lambda _: None)
        self.stopped = True
        self.run_(self.writer.stop())
        self.successResultOf(client.stop())

    def test_answers_that_are_not_read(self) -> None:
        """It does not wait for ever for its last answers to be read."""
        self.start()
        self.connect()
        wire = self.reactor.wires[0].other
        self.patch(wire, "loseConnection", lambda: None)
        retired = self.writer.retire()
        self.settle()
        self.assertNoResult(retired)
        lines = self.pass_time(1)
        self.successResultOf(retired)
        self.assertEqual(
            lines, ["disconnecting 1 workers that have not read every response"]
        )
