"""Several workers and the process that writes, all in the process of the test."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface import implementer

from asciid.engines.generations import Generations
from asciid.engines.lmdb.sharing import LMDBReader
from asciid.engines.remote._batch_delay import PAUSE
from asciid.engines.remote._writer_client import WriterClient
from asciid.engines.remote._writer_server import WriterServer
from asciid.engines.remote.worker_side import RemoteEngine
from asciid.metrics import snapshot
from asciid.store import FOR_EVER, IImageStore, ImageStore
from asciid.testing import ManualReactor, ManualThreadPool, run
from tests.store._support import DrivenStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.protocol import Protocol

    from asciid.engines.lmdb._environment import Environment
    from asciid.store import IImageObserver, Lifetimes
    from asciid.store.operations import AnyOperation

ResultT = TypeVar("ResultT")


def snapshot_of(chunks: int) -> bytes:
    """Return the snapshot of a process that counted so many chunks."""
    stored = CounterMetricFamily("asciid_chunks_stored", "Chunks.", chunks)
    return snapshot([stored, GaugeMetricFamily("asciid_cache_bytes", "Bytes.", 1)])


class WireTransport:
    """One end of a stream between two protocols; written data arrives a turn later."""

    def __init__(self, reactor: ManualReactor, own: Protocol) -> None:
        self.own = own
        self.other: WireTransport
        self.reactor = reactor
        self.connected = True
        self.cut = False
        """Whether written data is lost."""

    def write(self, data: bytes) -> None:
        """Send `data`."""
        if self.connected and not self.cut:
            self.reactor.callLater(0, self.other.arrive, data)

    def registerProducer(self, producer: object, *, streaming: bool) -> None:
        """Never have it pause."""

    def unregisterProducer(self) -> None:
        """Do nothing."""

    def arrive(self, data: bytes) -> None:
        """Deliver data that the other end has written."""
        if self.connected:
            self.own.dataReceived(data)

    def loseConnection(self) -> None:
        """Close, once written data has arrived."""
        self.reactor.callLater(0, self.end, ConnectionDone())

    def abortConnection(self) -> None:
        """Close at once."""
        self.end(ConnectionLost())

    def end(self, reason: Exception) -> None:
        """Close both ends."""
        for transport in (self, self.other):
            if transport.connected:
                transport.connected = False
                transport.own.connectionLost(Failure(reason))


class WiredReactor(ManualReactor):
    """A reactor whose Unix sockets all lead to `listening`, if it is not None."""

    def __init__(self) -> None:
        super().__init__()
        self.listening: Any = None
        self.wires: list[WireTransport] = []
        """The ends of the clients."""

    def connectUNIX(
        self,
        address: str,
        factory: Any,  # noqa: ANN401 - what endpoints wrap
        timeout: float = 30,
        checkPID: int = 0,
    ) -> None:
        """Connect at once, or fail."""
        del address, timeout, checkPID
        factory.doStart()
        if self.listening is None:
            refused = Failure(ConnectError())
            factory.clientConnectionFailed(None, refused)
            return
        server, client = self.listening.buildProtocol(None), factory.buildProtocol(None)
        near, far = WireTransport(self, client), WireTransport(self, server)
        near.other, far.other = far, near
        self.wires.append(near)
        server.makeConnection(far)
        client.makeConnection(near)


class SameFile:
    """
    The environment of a worker, which is the writer's own.

    LMDB does not allow a process to open a file twice.
    """

    def __init__(self, writer: Environment) -> None:
        self._writer = writer
        self.path = writer.path
        self.used: list[str] = []

    def open(self) -> None:
        self.used.append("open")

    def close(self) -> None:
        self.used.append("close")

    def reopen(self) -> None:
        self.close()
        self.open()

    def read(self, query: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - the query's
        return self._writer.read(query)


@frozen
class Counted:
    """The metrics of a process that has counted something."""

    counted: bytes

    def snapshot(self) -> Deferred[bytes]:
        return succeed(self.counted)

    def counters(self) -> bytes:
        return self.counted


class DrivenWorkers:
    """`workers` stores, and the one that writes for them, all turned by hand."""

    def __init__(
        self,
        path: str,
        workers: int,
        saved: Mapping[str, bytes] | None = None,
        observers: Sequence[IImageObserver] = (),
        **options: Any,  # noqa: ANN401 - as DrivenStore
    ) -> None:
        self._observers = observers
        self.reactor = WiredReactor()
        self.generations = Generations()
        self.saved: list[Mapping[str, bytes]] = []
        self.server = WriterServer(self, self.reactor, self.generations, saved=saved)
        self.writer = DrivenStore(path, self.reactor, peers=self.server, **options)
        self.read_pool = ManualThreadPool()
        self.clients: list[WriterClient] = []
        self.engines: list[RemoteEngine] = []
        self.stores: list[ImageStore] = []
        self.files: list[SameFile] = []
        for number in range(workers):
            self._add(number, options.get("lifetimes", FOR_EVER))

    def _add(self, number: int, lifetimes: Lifetimes) -> None:
        metrics = Counted(snapshot_of(number + 1))
        client = WriterClient("writer.sock", self.reactor, metrics)
        reader = LMDBReader(
            self.writer.path,
            reactor=self.reactor,
            file_generation=lambda: self.generations.files,
            read_pool=self.read_pool,
            clock=lambda: self.writer.now,
            monotonic=lambda: self.writer.elapsed,
        )
        file = SameFile(self.writer.engine._environment)
        reader._environment = file  # type: ignore[assignment] # see there
        reader._reads.environment = file  # type: ignore[assignment] # likewise
        engine = RemoteEngine(
            client,
            reader,
            self.generations,
            monotonic=lambda: self.writer.elapsed,
        )
        self.clients.append(client)
        self.engines.append(engine)
        self.stores.append(
            ImageStore(
                engine,
                reactor=self.reactor,
                lifetimes=lifetimes,
                observers=self._observers,
            )
        )
        self.files.append(file)

    def apply(self, operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """Apply the operations of the workers."""
        return self.writer.engine.apply(operations)

    def snapshot(self) -> Deferred[bytes]:
        """Return the metrics of the writer."""
        return succeed(snapshot_of(0))

    def save(self, snapshots: Mapping[str, bytes]) -> None:
        """Record the saved metrics."""
        self.saved.append(snapshots)

    @property
    def written(self) -> ImageStore:
        """The store that writes."""
        return self.writer.store

    @property
    def _pools(self) -> Sequence[ManualThreadPool]:
        return self.writer.writer_pool, self.writer.read_pool, self.read_pool

    def run(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn everything until `awaited` fires."""
        return run(awaited, self.reactor, *self._pools)

    def settle(self) -> None:
        """Turn everything until nothing is left to do at once."""
        idle = 0
        while idle < 5:  # a call may lead to one in the next turn
            self.reactor.advance(PAUSE)
            busy = [pool.step() for pool in self._pools]
            idle = 0 if any(busy) else idle + 1

    def start(self) -> None:
        """Start the writer, then the workers."""
        self.run(self.writer.store.start())
        self.settle()
        self.reactor.listening = self.server
        for store in self.stores:
            self.run(store.start())
        self.settle()

    def stop(self) -> None:
        """Stop the workers, then the writer."""
        for store in self.stores:
            self.run(store.stop())
        self.settle()
        self.run(self.writer.store.stop())


@implementer(IImageStore)
class InTurn:
    """A store that is each of several in turn, as clients meet several workers."""

    def __init__(self, driven: DrivenWorkers) -> None:
        self._driven = driven
        self._stores = cycle(driven.stores)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the stores'
        return getattr(next(self._stores), name)

    def stop(self) -> Deferred[None]:
        """Stop all workers."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for store in self._driven.stores:
            await store.stop()
