"""The process that starts the others, and starts them again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import lmdb
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from asciid import __version__
from asciid.daemon.assembly import body_share_warning, tokens_of
from asciid.errors import AsciidError
from asciid.net.listener import Listener, StartError
from asciid.net.tls import TLSFileError
from asciid.runtime.streams import print_refusal
from asciid.store.sharing import StorageLock, prepare_storage
from asciid.workers._certificates import CertificateCopies
from asciid.workers._processes import Processes
from asciid.workers._spawning import FIRST_INHERITED
from asciid.workers._spreading import SilentFactory, descriptors_of, spread_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from twisted.python.failure import Failure

    from asciid.config.settings import Settings
    from asciid.store import StoreUsage

__all__ = ["Parent"]

_INHERITED = "tcp:0"
"""
What processes are told of an endpoint that systemd has bound.

Only the first process that asks finds those; who inherits one knows its kind.
"""

_log = Logger()


class Parent(Service):
    """
    Keeps one process that writes and `settings.workers` that speak HTTP alive.

    It binds the ports itself, in `privilegedStartService`, and accepts nothing on
    them: each worker inherits a socket.  So none of the connections that wait is
    lost when a worker ends, and none is refused until there is another.  `environment`
    is what the processes get; `serving` is called with a line for people once all
    serve, `stopping` when the stop begins.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environment: Mapping[str, str],
        reactor: Any,  # noqa: ANN401 - several interfaces at once
        serving: Callable[[str], object] = lambda _: None,
        stopping: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        # That it is no memory is seen to where settings are read.
        self._storage: Path = settings.storage  # type: ignore[assignment]
        ports = [settings.port, settings.metrics_port]
        self._listeners = [
            Listener(
                port, spread_endpoint(reactor, port, settings.workers), SilentFactory()
            )
            for port in ports
            if port is not None
        ]
        # The other processes inherit it: those that outlive this one keep it.
        self._lock = StorageLock(self._storage, sync=settings.sync)
        self._tokens = tokens_of(settings)
        # Processes read copies of the files of TLS: one that takes the place of another
        # must have what the others have, and may not be allowed to read the files.
        first = FIRST_INHERITED + len(self._listeners) + (self._tokens is not None)
        self._copies = CertificateCopies(settings, first)
        self._environment = {
            name: _INHERITED if value.startswith("systemd:") else value
            for name, value in environment.items()
        }
        self._environment |= self._copies.environment
        # A worker that takes the place of one that died must have the tokens that the
        # others have, whatever is in the file by then.
        self._copy: int | None = None
        if self._tokens is not None:
            copy = FIRST_INHERITED + len(self._listeners)
            self._environment["ASCIID_WRITE_TOKEN_FILE"] = f"/proc/self/fd/{copy}"
        self._reactor = reactor
        self._serving = serving
        self._stopping = stopping
        self._asked_again = False
        # Fires once all processes are ready.
        self._started: Deferred[None] = Deferred()
        # Those who wait for a restart that is under way.
        self._awaiting: list[Deferred[None]] = []
        self._descriptors: list[Sequence[int]] = []
        self._processes = Processes(
            reactor,
            workers=settings.workers,
            environment=self._environment,
            inherited=self._inherited_by,
            drain_timeout=settings.drain_timeout,
        )

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
            self._descriptors.append(descriptors_of(listener.port))

    def startService(self) -> None:
        """
        Look whether storage and tokens can be used; start the process that writes.

        Errors: `StartError`.
        """
        if not self._descriptors:
            self.privilegedStartService()
        try:
            stored = self._prepare_storage()
        except (AsciidError, OSError, lmdb.Error) as error:
            self._refuse(StartError(f"cannot use the storage {self._storage}", error))
        if self._tokens is not None:
            self._copy = self._tokens.copy = os.memfd_create("asciid-tokens")
            try:
                self._tokens.load()
            except AsciidError as error:
                what = f"cannot use the write tokens in {self._tokens.path}"
                self._refuse(StartError(what, error))
        try:
            self._copies.load()
        except TLSFileError as error:
            self._refuse(StartError("cannot use TLS", error))
        super().startService()
        self._started = Deferred.fromCoroutine(self._start(stored))
        self._started.addErrback(self._give_up)

    def stopService(self) -> Deferred[None]:
        """End all processes: the workers finish their requests, then the writer."""
        super().stopService()
        self._stopping()
        return Deferred.fromCoroutine(self._stop())

    def restart(self) -> Deferred[None]:
        """
        Replace every process by a new one, one after the other; answer once it is done.

        Requests go on meanwhile.  Those that run read the tokens again at once; if
        these cannot be used, everything stays as it is.  Asked for while it is
        done, it is done once more afterwards; asked for while the processes start, it
        is done once they are ready.
        """
        if not self.running:
            return succeed(None)
        if self._tokens is None:
            return self._replace_all()
        return self._tokens.reload(self._reactor).addCallback(self._use_tokens)

    def _use_tokens(self, usable: bool) -> Deferred[None]:  # noqa: FBT001 - the Deferred's
        if not usable or not self.running:
            return succeed(None)
        self._processes.reread()
        return self._replace_all()

    def _replace_all(self) -> Deferred[None]:
        self._asked_again = True
        done: Deferred[None] = Deferred()
        self._awaiting.append(done)
        if len(self._awaiting) == 1:
            Deferred.fromCoroutine(self._restart()).addErrback(
                lambda failure: _log.failure("Not every process is new", failure)
            ).addCallback(lambda _: self._restarted())
        return done

    async def _start(self, stored: StoreUsage) -> None:
        await self._processes.start(self._lock.held)
        settings = self._settings
        _log.info(
            "asciid {version} listens on {address}, storage {storage}, "
            "images {images}, pending uploads {pending}, sync {sync}, "
            "workers {workers}",
            version=__version__,
            address=self._listeners[0].address,
            storage=self._storage.resolve(),
            images=stored.images,
            pending=stored.pending,
            sync="on" if settings.sync else "off",
            workers=settings.workers,
        )
        if settings.metrics_port is not None:
            _log.info(
                "Metrics are told on {address}", address=self._listeners[1].address
            )
        warning = body_share_warning(settings)
        if warning is not None:
            _log.warn("{risk}", risk=warning)
        if not settings.sync:
            _log.warn("sync is off: a power cut loses writes that were answered")
        self._serving(
            f"Serving on {self._listeners[0].address}, {settings.workers} workers"
        )

    def _give_up(self, failure: Failure) -> None:
        _log.failure("The processes cannot be started", failure)
        if self.running:
            # It may be too early for that: the service is started before the reactor.
            self._reactor.callWhenRunning(self._reactor.stop)

    async def _stop(self) -> None:
        ended = self._processes.stop()
        # Else who connects meanwhile would wait for nobody.
        for listener in self._listeners:
            await listener.stop()
        await ended
        self._let_go()

    async def _restart(self) -> None:
        # Those that start may have read the files before they were changed.
        await self._started
        while self._asked_again and self.running:
            self._asked_again = False
            await self._copies.reload(self._reactor)
            await self._processes.replace()
        _log.info("Every process is new")

    def _restarted(self) -> None:
        awaiting, self._awaiting = self._awaiting, []
        for done in awaiting:
            done.callback(None)

    def _inherited_by(self, number: int) -> list[int]:
        """Return what that worker gets: sockets, tokens and certificates."""
        sockets = [ports[number % len(ports)] for ports in self._descriptors]
        tokens = [] if self._copy is None else [self._copy]
        return [*sockets, *tokens, *self._copies.descriptors]

    def _prepare_storage(self) -> StoreUsage:
        self._lock.acquire()
        return prepare_storage(self._storage, sync=self._settings.sync)

    def _let_go(self) -> None:
        """Leave what only one parent has to the next one."""
        self._lock.release()
        self._copies.close()
        copy, self._copy = self._copy, None
        if copy is not None:
            os.close(copy)

    def _refuse(self, error: StartError) -> None:
        _log.critical("{reason}", reason=error)
        print_refusal(error)
        self._let_go()
        for listener in self._listeners:
            Deferred.fromCoroutine(listener.stop())
        raise error
