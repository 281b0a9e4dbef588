"""The process that starts the others, and starts them again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import lmdb
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.runner.procmon import ProcessMonitor

from asciid import __version__
from asciid._assembly import tokens_of
from asciid._listener import Listener, StartError, endpoint_from
from asciid.errors import AsciidError
from asciid.store.sharing import prepare_storage
from asciid.workers._spawning import Spawner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from asciid.config import Settings

__all__ = ["Parent"]

WRITER = "writer"

KILL_AFTER = 5
"""Seconds beyond the time to drain after which a process is killed."""

REPLACED_WITHIN = 30.0
"""Seconds for a process to be replaced, before the next one's turn."""

_log = Logger()


class Parent(Service):
    """
    Keeps one process that writes and `settings.workers` that speak HTTP alive.

    It binds the ports itself, in `privilegedStartService`, and accepts nothing on
    them: the workers inherit the sockets.  So no connection is lost
    when a worker ends, and none is refused while one is replaced.  `environment`
    is what the processes get, `stopping` is called when the stop begins.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environment: Mapping[str, str],
        reactor: Any,  # noqa: ANN401 - several interfaces at once
        stopping: Callable[[], object] = lambda: None,
    ) -> None:
        if settings.storage is None:
            message = "several processes need a storage that is not :memory:"
            raise StartError("--workers", ValueError(message))
        self._settings = settings
        self._storage: Path = settings.storage
        ports = [settings.port, settings.metrics_port]
        self._listeners = [
            Listener(port, endpoint_from(port, reactor), Factory())
            for port in ports
            if port is not None
        ]
        self._environment = dict(environment)
        self._reactor = reactor
        self._stopping = stopping
        self._spawner = Spawner(reactor, self._ended)
        self._monitor = ProcessMonitor(self._spawner)
        self._monitor.minRestartDelay = 0.1  # type: ignore[assignment] # seconds
        self._monitor.maxRestartDelay = 30
        self._monitor.killTime = settings.drain_timeout + KILL_AFTER
        self._restarting = False
        self._descriptors: list[int] = []

    def privilegedStartService(self) -> None:
        """
        Bind the listeners.

        Errors: `StartError`.
        """
        for listener in self._listeners:
            binding = Deferred.fromCoroutine(listener.bind())
            failures: list[Any] = []
            binding.addErrback(failures.append)
            if failures:
                self._refuse(failures[0].value)
            self._descriptors.append(listener.hand_down())

    def startService(self) -> None:
        """
        Look whether storage and tokens can be used; start the process that writes.

        Errors: `StartError`.
        """
        if not self._descriptors:
            self.privilegedStartService()
        try:
            images = prepare_storage(self._storage, sync=self._settings.sync)
        except (AsciidError, OSError, lmdb.Error) as error:
            self._refuse(StartError(f"cannot use the storage {self._storage}", error))
        tokens = tokens_of(self._settings)
        if tokens is not None:
            try:
                tokens.load()
            except AsciidError as error:
                what = f"cannot use the write tokens in {tokens.path}"
                self._refuse(StartError(what, error))
        super().startService()  # type: ignore[no-untyped-call] # Twisted's
        self._monitor.startService()
        Deferred.fromCoroutine(self._start(images)).addErrback(
            lambda failure: _log.failure("The processes cannot be started", failure)
        )

    def stopService(self) -> Deferred[None]:
        """End all processes: the workers finish their requests, then the writer."""
        super().stopService()  # type: ignore[no-untyped-call] # Twisted's
        self._stopping()
        return Deferred.fromCoroutine(self._stop())

    def restart(self) -> None:
        """
        Replace every process by a new one, one after the other.

        Requests go on meanwhile.
        """
        if self.running and not self._restarting:
            self._restarting = True
            Deferred.fromCoroutine(self._restart()).addErrback(
                lambda failure: _log.failure("Not every process is new", failure)
            )

    @property
    def _workers(self) -> Sequence[str]:
        return [f"worker-{number}" for number in range(1, self._settings.workers + 1)]

    async def _start(self, images: int) -> None:
        self._add(WRITER)
        await self._spawner.ready(WRITER)
        for name in self._workers:
            self._add(name)
        await DeferredList([self._spawner.ready(name) for name in self._workers])
        settings = self._settings
        _log.info(
            "asciid {version} listens on {address}, storage {storage}, "
            "images {images}, sync {sync}, workers {workers}",
            version=__version__,
            address=self._listeners[0].address,
            storage=self._storage.resolve(),
            images=images,
            sync="on" if settings.sync else "off",
            workers=settings.workers,
        )
        if not settings.sync:
            _log.warn("sync is off: a power cut loses writes that were answered")

    async def _stop(self) -> None:
        ended = [self._spawner.ended(name) for name in [*self._workers, WRITER]]
        self._monitor.stopService()
        await DeferredList(ended)
        for listener in self._listeners:
            await listener.stop()

    async def _restart(self) -> None:
        try:
            for name in [*self._workers, WRITER]:
                await self._replace(name)
            _log.info("Every process is new")
        finally:
            self._restarting = False

    async def _replace(self, name: str) -> None:
        ended = self._spawner.ended(name)
        self._spawner.hang_up(name)
        await ended.addTimeout(
            self._settings.drain_timeout + REPLACED_WITHIN, self._reactor
        )
        try:
            await self._spawner.ready(name).addTimeout(REPLACED_WITHIN, self._reactor)
        except defer.TimeoutError:
            _log.error("{process} does not come up again", process=name)
            raise

    def _add(self, name: str) -> None:
        role = name.partition("-")[0]
        self._spawner.inherited[name] = self._descriptors if role == "worker" else ()
        self._monitor.addProcess(
            name,
            [sys.executable, "-m", "asciid.workers", role],
            env=self._environment,
        )

    def _ended(self, name: str, reason: str) -> None:
        if self.running:
            _log.warn("{process} ended: {reason}", process=name, reason=reason)

    def _refuse(self, error: StartError) -> None:
        _log.critical("{reason}", reason=error)
        # twistd has put its log in the place of sys.stderr by now.
        print(error, file=sys.__stderr__)
        for listener in self._listeners:
            Deferred.fromCoroutine(listener.stop())
        raise error
