"""The process that writes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from asciid.daemon.housekeeping import Housekeeper, housekeeping_interval
from asciid.daemon.storing import make_control, make_disk_store
from asciid.metrics import Metrics, WorkersState
from asciid.net.storage_socket import StorageSocket
from asciid.runtime.malloc import MemoryTrimmer
from asciid.runtime.offload import Offload
from asciid.runtime.threads import FixedThreadPool
from asciid.store.sharing import Generations, StorageLock
from asciid.workers._hub import Hub
from asciid.workers._inheritance import FIRST_INHERITED, GENERATIONS, LOCK
from asciid.workers._record import (
    load_counters,
    recorded_exits,
    recorded_start,
    save_counters,
)

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.config.settings import Settings

__all__ = ["WRITER_SOCKET", "Writer"]

WRITER_SOCKET = "writer.sock"
"""The name of the socket in the storage directory that workers connect to."""

_GOODBYE = 1.0
"""Seconds for the last answers to be read."""

_LONGER = 2.0
"""Seconds for which this process waits longer than workers do for their clients."""

_log = Logger()


class Writer:
    """Commits what the workers ask for, removes what is past its time, compacts."""

    def __init__(self, settings: Settings, reactor: Any) -> None:  # noqa: ANN401 - several interfaces
        # The parent has seen to it.
        storage: Path = settings.storage  # type: ignore[assignment]
        self._reactor = reactor
        self._patience = settings.drain_timeout + _LONGER
        generations = Generations(GENERATIONS)
        self._hub = Hub(reactor, generations, expected=settings.workers)
        self._store = make_disk_store(
            settings,
            storage,
            reactor,
            peers=self._hub,
            lock=StorageLock(storage, inherited=LOCK),
            generations=generations,
        )
        self._hub.store = self._store
        self._offload = Offload(reactor, FixedThreadPool(1, "asciid-offload"))
        metrics = Metrics(self._store, self._offload)
        metrics.workers = lambda: WorkersState(
            answering=self._hub.answering,
            configured=settings.workers,
            deaths=recorded_exits(FIRST_INHERITED),
        )
        metrics.started = recorded_start(FIRST_INHERITED)
        self._metrics = metrics
        self._hub.snapshot = metrics.snapshot
        self._hub.save = partial(save_counters, FIRST_INHERITED)
        self._hub.load(load_counters(FIRST_INHERITED))
        self._socket = StorageSocket(storage, WRITER_SOCKET, reactor)
        self._control = make_control(settings, self._store, reactor)
        self._housekeeper = Housekeeper(
            self._store, clock=reactor, interval=housekeeping_interval(settings)
        )
        self._trimmer = MemoryTrimmer(self._offload.in_thread, clock=reactor)
        self._closed = False
        self._open = False

    def start(self) -> Deferred[None]:
        """
        Open the store and take operations.

        Errors: those of `IImageStore.start`, `StorageInUseError`.
        """
        return Deferred.fromCoroutine(self._start())

    def retire(self) -> Deferred[None]:
        """Finish what was sent; workers keep the rest for the next process."""
        return Deferred.fromCoroutine(self._retire())

    def stop(self) -> Deferred[None]:
        """Wait for the workers to end; then finish what they sent."""
        return Deferred.fromCoroutine(self._stop())

    def reread(self) -> None:
        """See `IRole.reread`: it has read nothing but the storage."""

    async def _start(self) -> None:
        await self._store.start()
        self._offload.start()
        self._trimmer.start()
        self._open = True
        self._socket.listen(self._hub)
        self._housekeeper.start()
        if self._control is not None:
            self._control.start()

    async def _retire(self) -> None:
        self._socket.stop()
        await self._hub.dismiss()
        await self._close()

    async def _stop(self) -> None:
        if not self._open:
            return
        try:
            await self._hub.wait_until_empty().addTimeout(self._patience, self._reactor)
        except defer.TimeoutError:
            _log.warn("{n} workers are cut off", n=self._hub.workers)
        self._socket.stop()
        await self._close()

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._housekeeper.stop()
        self._trimmer.stop()
        if self._control is not None:
            self._control.stop()
        # Everything that was sent is answered by then.
        await self._store.stop()
        self._hub.save_all(self._metrics.counters())
        self._hub.disconnect()
        self._offload.stop()
        try:
            await self._hub.wait_until_empty().addTimeout(_GOODBYE, self._reactor)
        except defer.TimeoutError:
            _log.warn("{n} workers have not read every answer", n=self._hub.workers)
