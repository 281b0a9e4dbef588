"""The writer, which commits the operations of all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from asciid.daemon.housekeeping import Housekeeper, housekeeping_interval
from asciid.daemon.storing import SharedStorage, lifetimes_of
from asciid.engines.generations import Generations
from asciid.engines.remote.writer_side import WriterServer
from asciid.metrics import Metrics, RequestCounts, WorkersState
from asciid.net.storage_socket import StorageSocket
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.malloc import MemoryTrimmer
from asciid.runtime.offload import Offload
from asciid.runtime.threads import FixedThreadPool
from asciid.store import ImageStore
from asciid.workers._inheritance import (
    FIRST_INHERITED,
    GENERATIONS,
    LOCK,
    WRITER_SOCKET,
)
from asciid.workers._record import (
    load_counters,
    recorded_exits,
    recorded_start,
    save_counters,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asciid.config.settings import Settings
    from asciid.runtime.reactor import Reactor
    from asciid.store.operations import AnyOperation

__all__ = ["Writer"]

_LAST_RESPONSES = 1.0
"""Seconds for the last responses to be read."""

_STOP_MARGIN = 2.0
"""Seconds beyond the time that workers wait for their clients."""

_log = Logger()


class Writer:
    """Commits the operations of workers, expires uploads and images, compacts."""

    def __init__(self, settings: Settings, reactor: Reactor) -> None:
        storage = SharedStorage(settings, inherited=LOCK)
        self._reactor = reactor
        self._patience = settings.drain_timeout + _STOP_MARGIN
        self._server = WriterServer(
            self,
            reactor,
            Generations(GENERATIONS),
            saved=load_counters(FIRST_INHERITED),
            expected=settings.workers,
        )
        self._engine, self._control = storage.make_engine(reactor, self._server)
        self._store = ImageStore(
            self._engine, reactor=reactor, lifetimes=lifetimes_of(settings)
        )
        self._offload = Offload(
            reactor,
            FixedThreadPool(1, "asciid-offload"),
            scheduler=ClientScheduler(reactor),
        )
        self._metrics = Metrics(
            self._store,
            RequestCounts(),
            self._offload,
            started=recorded_start(FIRST_INHERITED),
            workers=lambda: WorkersState(
                answering=self._server.answering,
                configured=settings.workers,
                exits=recorded_exits(FIRST_INHERITED),
            ),
        )
        self._socket = StorageSocket(settings.storage_directory, WRITER_SOCKET, reactor)
        self._housekeeper = Housekeeper(
            self._store, clock=reactor, interval=housekeeping_interval(settings)
        )
        self._trimmer = MemoryTrimmer(self._offload.in_thread, clock=reactor)
        self._closed = False
        self._starting = False
        self._open = False

    def start(self) -> Deferred[None]:
        """
        Open the store and accept operations.

        Errors: those of `IImageStore.start`, `StorageInUseError`.
        """
        return Deferred.fromCoroutine(self._start())

    def retire(self) -> Deferred[None]:
        """Finish received operations; workers keep the rest for the next writer."""
        return Deferred.fromCoroutine(self._retire())

    def stop(self) -> Deferred[None]:
        """Wait until the workers have stopped, then finish their operations."""
        return Deferred.fromCoroutine(self._stop())

    def reread(self) -> None:
        """See `IRole.reread`: the writer reads no file but the storage."""

    def apply(self, operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """See `IWritingProcess.apply`."""
        return self._engine.apply(operations)

    def snapshot(self) -> Deferred[bytes]:
        """See `IWritingProcess.snapshot`."""
        return self._metrics.snapshot()

    def save(self, snapshots: Mapping[str, bytes]) -> None:
        """See `IWritingProcess.save`."""
        save_counters(FIRST_INHERITED, snapshots)

    async def _start(self) -> None:
        self._starting = True
        try:
            await self._store.start()
        finally:
            self._starting = False
        self._offload.start()
        self._trimmer.start()
        self._open = True
        self._socket.listen(self._server)
        self._housekeeper.start()
        self._control.start()

    async def _retire(self) -> None:
        self._socket.stop()
        await self._server.dismiss()
        await self._close()

    async def _stop(self) -> None:
        if self._starting:
            # It may be converted, which takes long.
            await self._store.stop()
        if not self._open:
            return
        try:
            await self._server.wait_until_empty().addTimeout(
                self._patience, self._reactor
            )
        except defer.TimeoutError:
            _log.warn("aborting the connections of {n} workers", n=self._server.workers)
        self._socket.stop()
        await self._close()

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._housekeeper.stop()
        self._trimmer.stop()
        self._control.stop()
        # By then everything that was sent has a response.
        await self._store.stop()
        self._server.save_all(self._metrics.counters())
        self._server.disconnect()
        self._offload.stop()
        try:
            await self._server.wait_until_empty().addTimeout(
                _LAST_RESPONSES, self._reactor
            )
        except defer.TimeoutError:
            _log.warn(
                "disconnecting {n} workers that have not read every response",
                n=self._server.workers,
            )
