"""The daemon as a Twisted service: binds, opens the store, drains, closes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from asciid.config.tokens import TokenFileError
from asciid.daemon.announcement import announce
from asciid.errors import AsciidError, DatabaseUnavailableError
from asciid.net.listener import StartError
from asciid.runtime.malloc import MemoryTrimmer
from asciid.runtime.streams import print_refusal
from asciid.web.renderer import NO_RENDERER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IProtocolFactory, IReactorTime

    from asciid.admin.control import Control
    from asciid.config.settings import Settings
    from asciid.config.tokens import TokenFile
    from asciid.daemon.host import Host
    from asciid.daemon.housekeeping import Housekeeper
    from asciid.metrics import Metrics
    from asciid.net.listener import Listener
    from asciid.net.tls import Certificate
    from asciid.runtime.offload import Offload
    from asciid.store import IImageStore, StoreUsage
    from asciid.web.renderer import IRenderer

__all__ = ["ImageService"]

_log = Logger()

LAST_WRITES = 1.0
"""Seconds that the store has for its writes, if draining left less."""


class IHTTPServer(Protocol):
    """The HTTP server."""

    def drain(self) -> Deferred[None]:
        """Have connections finish the requests in progress and close."""

    def retire(self) -> Deferred[None]:
        """Have each connection close with its next response."""


@frozen
class Site:
    """A listener, and the factory of its protocols."""

    listener: Listener
    factory: IProtocolFactory


class ImageService(Service):
    """
    Serves the images of `store`, and exports `metrics`, at `sites`, the main one first.

    The sites are bound in `privilegedStartService`, while ``twistd`` may still be root.
    `store` is opened in `startService`: by then privileges are shed, so its files
    belong to the right user, and the process has forked, which an open storage file
    and the threads of `offload` must not go through.  No request is read between the
    two, since the reactor has not run.  `tokens` are read then, too, by the user that
    reads them again.

    `housekeeper` and `control`, if any, work while the store is open.  `renderer` is
    stopped once no request needs it.

    A stop waits until `server` has drained.  If the store, whose disk may hang, has not
    finished by the time that the requests have to end, or `LAST_WRITES` after they were
    cut off, the host exits if it can: that loses nothing that was acknowledged.

    One of several processes announces nothing, nor reports why it cannot start: its
    parent does.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        settings: Settings,
        host: Host,
        *,
        sites: Sequence[Site],
        server: IHTTPServer,
        store: IImageStore,
        metrics: Metrics,
        offload: Offload,
        renderer: IRenderer = NO_RENDERER,
        tokens: TokenFile | None = None,
        certificates: Sequence[Certificate] = (),
        housekeeper: Housekeeper | None = None,
        control: Control | None = None,
    ) -> None:
        self.metrics = metrics
        self._settings = settings
        self._host = host
        self._clock: IReactorTime = host.reactor
        self._sites = sites
        self._server = server
        self._tokens = tokens
        self._certificates = certificates
        self._store = store
        self._offload = offload
        self._renderer = renderer
        self._trimmer = MemoryTrimmer(offload.in_thread, clock=host.reactor)
        self._housekeeper = housekeeper
        self._control = control
        self._announces = settings.workers == 1
        self._listening: Deferred[None] | None = None
        self._store_starting = False
        self._store_open = False

    def privilegedStartService(self) -> None:
        """
        Listen.

        Errors: `StartError`.
        """
        self._bind()

    def startService(self) -> None:
        """
        Open the store, and listen if that was not done before.

        Errors: `StartError`.  After a later failure the host stops.
        """
        listening = self._listening or self._bind()
        super().startService()
        opening = Deferred.fromCoroutine(self._open(listening))
        try:
            self._raise_if_failed(opening)
        except BaseException:
            Deferred.fromCoroutine(self._stop_listening())
            raise
        opening.addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, finish the requests in progress, then close the store.

        The store finishes its writes, those of aborted requests included.
        """
        super().stopService()
        self._host.stopping()
        return Deferred.fromCoroutine(self._stop())

    def retire(self) -> Deferred[None]:
        """
        Leave new requests to the process that takes this one's place.

        Answers once no client is left, or the time to drain is over.
        """
        return Deferred.fromCoroutine(self._retired())

    def reload(self) -> Deferred[None]:
        """Read certificates and tokens again; invalid ones replace nothing."""
        reloading = [each.reload(self._host.reactor) for each in self._certificates]
        if self._tokens is not None:
            reloading.append(self._tokens.reload(self._host.reactor))
        return DeferredList(reloading).addCallback(lambda _: None)

    def _bind(self) -> Deferred[None]:
        listening = Deferred.fromCoroutine(self._listen())
        self._raise_if_failed(listening)
        self._listening = listening
        return listening

    async def _listen(self) -> None:
        try:
            for site in self._sites:
                await site.listener.bind(site.factory)
        except StartError:
            for site in self._sites:
                await site.listener.stop()
            raise

    async def _open(self, listening: Deferred[None]) -> None:
        await listening
        if self._tokens is not None:
            try:
                self._tokens.load()
            except TokenFileError as error:
                what = f"cannot use the write tokens in {self._tokens.path}"
                raise StartError(what, error) from error
        try:
            self._offload.start()
        except OSError as error:
            what = "cannot create threads"
            raise StartError(what, error) from error
        self._store_starting = True
        try:
            await self._store.start()
        except (AsciidError, OSError) as error:
            self._offload.stop()
            what = f"cannot use the storage {self._settings.storage}"
            raise StartError(what, error) from error
        finally:
            self._store_starting = False
        self._store_open = True
        try:
            await self._serve()
        except BaseException:
            # The threads would keep the process from exiting.
            await self._stop()
            raise

    async def _serve(self) -> None:
        if self._housekeeper is not None:
            self._housekeeper.start()
        if self._control is not None:
            self._control.start()
        self._trimmer.start()
        if self._announces:
            announce(self._settings, await self._stored(), *self._addresses)
        self._host.serving(f"Serving on {self._addresses[0]}")

    async def _stored(self) -> StoreUsage | None:
        try:
            return await self._store.usage()
        except DatabaseUnavailableError:
            return None

    @property
    def _addresses(self) -> Sequence[str]:
        return [site.listener.address for site in self._sites]

    async def _retired(self) -> None:
        await self._stop_listening()
        # The stop that follows ends the connections that are left.
        with suppress(defer.TimeoutError):
            await self._server.retire().addTimeout(
                self._settings.drain_timeout, self._clock
            )

    async def _stop(self) -> None:
        await self._stop_listening()
        if self._store_starting:
            # It may be converted, which takes long.
            await self._stop_store(max(self._settings.drain_timeout, LAST_WRITES))
        if self._store_open:
            self._store_open = False
            if self._housekeeper is not None:
                self._housekeeper.stop()
            if self._control is not None:
                self._control.stop()
            self._trimmer.stop()
            clock = self._clock
            patience = self._settings.drain_timeout
            deadline = clock.seconds() + patience
            try:
                await self._server.drain().addTimeout(patience, clock)
            except defer.TimeoutError:
                _log.warn("aborting the requests in progress after {s} s", s=patience)
            left = max(deadline - clock.seconds(), LAST_WRITES)
            await self._renderer.stop()
            await self._stop_store(left)
            self._offload.stop()

    async def _stop_store(self, patience: float) -> None:
        if not self._host.can_exit:
            await self._store.stop()
            return

        def overdue() -> None:
            _log.error("abandoning writes that were not acknowledged")
            self._host.exit_now()

        watch = self._clock.callLater(patience, overdue)
        try:
            await self._store.stop()
        finally:
            if watch.active():
                watch.cancel()

    async def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
        for site in self._sites:
            await site.listener.stop()

    def _start_failed(self, failure: Failure) -> None:
        if self.running:
            if failure.check(StartError):
                self._refuse(failure.value)
            else:
                _log.failure("asciid cannot start", failure)
            self._host.fail()

    def _raise_if_failed(self, deferred: Deferred[Any]) -> None:
        """Raise and report the error of `deferred`, if it has failed already."""
        result = getattr(deferred, "result", None)
        if isinstance(result, Failure):
            deferred.addErrback(lambda _: None)
            self._refuse(result.value)
            result.raiseException()

    def _refuse(self, reason: object) -> None:
        if self._announces:
            _log.critical("{reason}", reason=reason)
            print_refusal(reason)
