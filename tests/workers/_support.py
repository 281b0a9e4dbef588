"""Several workers and the process that writes, all in the process of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from asciid.metrics import snapshot
from asciid.store.sharing import Generations, SharedStore
from asciid.testing import ManualReactor, ManualThreadPool, run
from asciid.workers._funnel import Funnel
from asciid.workers._hub import Hub
from asciid.workers._pauses import PAUSE
from tests.store._support import DrivenStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.protocol import Protocol

    from asciid.store._environment import Environment
    from asciid.store._lmdb import LMDBStore
    from asciid.store.sharing import Completed

ResultT = TypeVar("ResultT")


def told(chunks: int) -> bytes:
    """Return what a process tells that has counted so many chunks and one image."""
    stored = CounterMetricFamily("asciid_chunks_stored", "Chunks.", chunks)
    return snapshot([stored, GaugeMetricFamily("asciid_cache_bytes", "Bytes.", 1)])


class WireTransport:
    """One end of a stream between two protocols; what is written comes a turn later."""

    def __init__(self, reactor: ManualReactor, own: Protocol) -> None:
        self.own = own
        self.other: WireTransport
        self.reactor = reactor
        self.connected = True
        self.cut = False
        """Whether what is written is lost."""

    def write(self, data: bytes) -> None:
        """Send `data`."""
        if self.connected and not self.cut:
            self.reactor.callLater(0, self.other.arrive, data)

    def registerProducer(self, producer: object, *, streaming: bool) -> None:
        """Never have it pause."""

    def unregisterProducer(self) -> None:
        """Forget it."""

    def arrive(self, data: bytes) -> None:
        """Hand over what the other end has written."""
        if self.connected:
            self.own.dataReceived(data)

    def loseConnection(self) -> None:
        """Close, once what was written has arrived."""
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

    def read(self, query: Callable[[Any], Any], *, brief: bool = False) -> Any:  # noqa: ANN401 - the query's
        return self._writer.read(query, brief=brief)


@define
class Counted:
    """Follows the writer for a worker, and counts."""

    store: SharedStore
    counted: bytes

    def keep(self, images: Sequence[Completed]) -> None:
        self.store.keep(images)

    def catch_up(self, removals: int) -> None:
        self.store.catch_up(removals)

    def forget(self, removals: int, hashes: Sequence[str] | None) -> None:
        self.store.forget(removals, hashes)

    def lose(self) -> None:
        self.store.lose()

    def use(self, how: Any) -> Deferred[None]:  # noqa: ANN401 - as IFollower says
        return self.store.use(how)

    def snapshot(self) -> Deferred[bytes]:
        return succeed(self.counted)

    def counters(self) -> bytes:
        return self.counted


class DrivenWorkers:
    """`workers` stores, and the one that writes for them, all turned by hand."""

    def __init__(self, path: str, workers: int, **options: Any) -> None:  # noqa: ANN401 - as LMDBStore
        self.reactor = WiredReactor()
        self.generations = Generations()
        self.hub = Hub(self.reactor, self.generations)
        self.writer = DrivenStore(
            path,
            self.reactor,
            peers=self.hub,
            generations=self.generations,
            **options,
        )
        self.hub.store = self.writer.store
        self.hub.snapshot = lambda: succeed(told(0))
        self.read_pool = ManualThreadPool()
        self.funnels: list[Funnel] = []
        self.stores: list[SharedStore] = []
        self.files: list[SameFile] = []
        for number in range(workers):
            self._add(number, options)

    def _add(self, number: int, options: dict[str, Any]) -> None:
        funnel = Funnel("writer.sock", self.reactor)
        lifetimes = {k: v for k, v in options.items() if k == "lifetimes"}
        store = SharedStore(
            self.writer.path,
            funnel,
            reactor=self.reactor,
            generations=self.generations,
            read_pool=self.read_pool,
            clock=lambda: self.writer.now,
            monotonic=lambda: self.writer.elapsed,
            **lifetimes,
        )
        file = SameFile(self.writer.store._environment)
        store._environment = file  # type: ignore[assignment] # see there
        funnel.follower = Counted(store, told(number + 1))
        self.funnels.append(funnel)
        self.stores.append(store)
        self.files.append(file)

    @property
    def written(self) -> LMDBStore:
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
        self.reactor.listening = self.hub
        for funnel in self.funnels:
            self.run(funnel.start())
        self.settle()

    def stop(self) -> None:
        """Stop the workers, then the writer."""
        for store in self.stores:
            self.run(store.stop())
        self.settle()
        self.run(self.writer.store.stop())
