"""The parent: owns the sockets and the storage, and supervises the processes."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from asciid.config.tokens import TokenFile
from asciid.daemon.announcement import announce
from asciid.daemon.storing import SharedStorage
from asciid.engines.generations import Generations
from asciid.errors import AsciidError
from asciid.net.description import Description
from asciid.net.listener import StartError
from asciid.net.sockets import open_sockets
from asciid.runtime.streams import print_refusal
from asciid.workers._certificates import CertificateCopies
from asciid.workers._inheritance import FIRST_INHERITED, GENERATIONS, LOCK
from asciid.workers._processes import Processes
from asciid.workers._record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from twisted.python.failure import Failure

    from asciid.config.settings import Settings
    from asciid.daemon.host import Host
    from asciid.net.sockets import ListeningSockets
    from asciid.store import StoreUsage

__all__ = ["Parent"]

_START_ERRORS = (
    *(AsciidError, CannotListenError, OSError),
    *(LookupError, ValueError),  # a systemd socket that was not passed, a bad endpoint
)

_log = Logger()


class Parent(Service):
    """
    Keeps a writer and `settings.workers` workers running.

    It binds the ports in `privilegedStartService`, and accepts nothing on them: each
    worker inherits a socket.  So connections that wait to be accepted survive the exit
    of a worker, and none is refused before another one runs.

    `environment` is that of the processes.
    """

    def __init__(
        self, settings: Settings, host: Host, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._host = host
        self._reactor = host.reactor
        ports = (settings.port, settings.metrics_port)
        self._ports = [port for port in ports if port is not None]
        self._sockets: list[ListeningSockets] = []
        self._resources = ExitStack()
        """Is closed once all processes have exited."""
        # The other processes inherit its lock: those that outlive this one keep it.
        self._storage = SharedStorage(settings)
        copies = FIRST_INHERITED + len(self._ports)
        self._environment = dict(environment)
        for name in ("ASCIID_PORT", "ASCIID_METRICS_PORT"):
            # Only the process that systemd has started finds its sockets.
            port = Description.parse(environment.get(name, ""))
            if port.kind == "systemd":
                self._environment[name] = port.with_values("tcp", {"port": "0"}).text
        if settings.write_token_file is not None:
            self._environment["ASCIID_WRITE_TOKEN_FILE"] = f"/proc/self/fd/{copies}"
            copies += 1
        # The processes read copies of the files of TLS: a worker that is restarted must
        # have the same ones as the others, and may not be allowed to read the files.
        self._certificates = CertificateCopies(settings, copies)
        self._environment |= self._certificates.environment
        self._tokens: TokenFile | None = None
        self._processes: Processes | None = None
        self._started: Deferred[None] = Deferred()
        self._restarting = DeferredLock()
        self._requested = 0
        """How many restarts were requested."""
        self._covered = 0
        """How many of these were requested before the last one began."""

    def privilegedStartService(self) -> None:
        """
        Bind the ports.

        Errors: `StartError`.
        """
        for port in self._ports:
            with self._start_step(f"cannot listen on {port}"):
                opened = open_sockets(Description.parse(port), self._settings.workers)
                self._sockets.append(opened)

    def startService(self) -> None:
        """
        Take the storage and start the processes.

        Errors: `StartError`.
        """
        if not self._sockets:
            self.privilegedStartService()
        settings = self._settings
        with self._start_step(f"cannot use the storage {settings.storage}"):
            self._storage.acquire()
            self._resources.callback(self._storage.release)
            stored = self._storage.prepare()
        if settings.write_token_file is not None:
            what = f"cannot use the write tokens in {settings.write_token_file}"
            with self._start_step(what):
                self._tokens = self._copied_tokens(settings.write_token_file)
        with self._start_step("cannot use TLS"):
            self._resources.callback(self._certificates.close)
            self._certificates.load()
        with self._start_step("cannot share memory with other processes"):
            self._processes = self._new_processes()
        super().startService()
        self._started = Deferred.fromCoroutine(self._start(self._processes, stored))
        self._started.addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:
        """Stop all processes: the workers finish their requests, then the writer."""
        super().stopService()
        self._host.stopping()
        return Deferred.fromCoroutine(self._stop())

    def restart(self) -> Deferred[None]:
        """
        Replace every process by a new one, one after the other; fires when done.

        Requests are served meanwhile.  Running processes read the tokens again at once;
        if these cannot be used, nothing is replaced.  A restart that is requested
        during another one, or while the processes start, follows it; several that are
        requested meanwhile are one.
        """
        return Deferred.fromCoroutine(self._restart())

    async def _start(self, processes: Processes, stored: StoreUsage) -> None:
        if not await processes.start():
            return
        address, *metrics = [opened.address for opened in self._sockets]
        announce(self._settings, stored, address, *metrics)
        self._host.serving(f"Serving on {address}, {self._settings.workers} workers")

    async def _stop(self) -> None:
        stopped = None if self._processes is None else self._processes.stop()
        # Clients that connect from now on would never be accepted.
        self._close_sockets()
        if stopped is not None:
            await stopped
        self._resources.close()

    async def _restart(self) -> None:
        processes, tokens = self._processes, self._tokens
        if processes is None or not self.running:
            return
        if tokens is not None:
            if not await tokens.reload(self._reactor):
                return
            processes.reread()
        self._requested += 1
        request = self._requested
        async with self._restarting:
            # Processes that start may have read the files before they were changed.
            await self._started
            if self._covered >= request or not self.running:
                return
            self._covered = self._requested
            await self._certificates.reload(self._reactor)
            if await processes.replace():
                _log.info("rolling restart complete")

    def _start_failed(self, failure: Failure) -> None:
        _log.failure("cannot start the processes", failure)
        if self.running:
            self._host.fail()

    @contextmanager
    def _start_step(self, what: str) -> Iterator[None]:
        """
        Refuse to start if a step of the start fails.

        Errors: `StartError`.
        """
        try:
            yield
        except _START_ERRORS as error:
            refusal = StartError(what, error)
            _log.critical("{reason}", reason=refusal)
            print_refusal(refusal)
            self._close_sockets()
            self._resources.close()
            raise refusal from error

    def _close_sockets(self) -> None:
        for opened in self._sockets:
            opened.close()

    def _copied_tokens(self, path: Path) -> TokenFile:
        """Read the tokens, and copy them to a file for workers that start later."""
        copy = os.memfd_create("asciid-tokens")
        self._resources.callback(os.close, copy)
        tokens = TokenFile(path, copy=copy)
        tokens.load()
        return tokens

    def _new_processes(self) -> Processes:
        generations = Generations.create_shared()
        self._resources.callback(os.close, generations)
        record = Record()
        self._resources.callback(record.close)
        settings, certificates = self._settings, self._certificates
        tokens = None if self._tokens is None else self._tokens.copy
        copied = [] if tokens is None else [tokens]

        def descriptors_of(worker: int) -> list[int]:
            sockets = (opened.sockets for opened in self._sockets)
            own = [each[worker % len(each)].fileno() for each in sockets]
            return [*own, *copied, *certificates.descriptors]

        return Processes(
            self._reactor,
            workers=settings.workers,
            environment=self._environment,
            shared={LOCK: self._storage.held, GENERATIONS: generations},
            record=record.descriptor,
            inherited=descriptors_of,
            drain_timeout=settings.drain_timeout,
            on_exit=record.count_exit,
        )
