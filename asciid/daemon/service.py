"""The daemon as a Twisted service: bind, open the store, and the way back."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from asciid.config.tokens import TokenFileError
from asciid.daemon.announcement import announce
from asciid.errors import AsciidError
from asciid.net.listener import Listener, StartError
from asciid.runtime.malloc import MemoryTrimmer
from asciid.runtime.streams import print_refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.admin.control import Control
    from asciid.config.settings import Settings
    from asciid.config.tokens import TokenFile
    from asciid.daemon.housekeeping import Housekeeper
    from asciid.runtime.offload import Offload
    from asciid.runtime.reactor import Reactor
    from asciid.store import IImageStore

__all__ = ["ImageService"]

_log = Logger()

LAST_WRITES = 1.0
"""Seconds that the store has for its writes, if draining left less."""


class ImageService(Service):
    """
    Serves a store's images at `listener`, and its metrics at `metrics`, if any.

    Both are bound in `privilegedStartService`, while ``twistd`` may
    still be root.  The store is opened in `startService`: by then privileges
    are shed, so its files belong to the right user, and the process has forked,
    which an open LMDB environment must not go through.  No request comes
    between the two, since the reactor has not had a turn.

    `offload`, whose threads must not go through the fork either, runs while the store
    is open.

    `tokens` are read then, too, by the user that will read them again.

    `housekeeper`, if any, works while the store is open; `control`, if any, takes
    commands meanwhile.

    `drain` has the connections finish what is under way and close; its Deferred
    fires once they have.  `retire` has each end with its next request instead.
    `serving` is called with a line for people once the service serves.
    `stopping` is called when the stop begins, and `give_up` when the store, whose disk
    may hang, has not finished by the time that the requests have to end, or
    `LAST_WRITES` after they were cut off: to exit at once loses nothing that was
    acknowledged.  Without it the store has all the time that it takes.  `fail`, by
    default ``reactor.stop``, is called if the start fails after `startService` has
    returned.  One of several processes announces nothing, nor reports why it cannot
    start: its parent does.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        settings: Settings,
        *,
        listener: Listener,
        store: IImageStore,
        offload: Offload,
        reactor: Reactor,
        housekeeper: Housekeeper | None = None,
        metrics: Listener | None = None,
        tokens: TokenFile | None = None,
        control: Control | None = None,
        drain: Callable[[], Deferred[None]] = lambda: succeed(None),
        retire: Callable[[], Deferred[None]] = lambda: succeed(None),
        serving: Callable[[str], object] = lambda _: None,
        stopping: Callable[[], object] = lambda: None,
        give_up: Callable[[], object] | None = None,
        fail: Callable[[], object] | None = None,
        announces: bool = True,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._metrics = metrics
        self._tokens = tokens
        self._store = store
        self._offload = offload
        self._trimmer = MemoryTrimmer(offload.in_thread, clock=reactor)
        self._reactor = reactor
        self._housekeeper = housekeeper
        self._control = control
        self._drain = drain
        self._retire = retire
        self._serving = serving
        self._stopping = stopping
        self._give_up_store = give_up
        self._fail = fail
        self._announces = announces
        self._listening: Deferred[None] | None = None
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

        Errors: `StartError`.  After a later failure `fail` is called.
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
        Stop listening, finish the requests under way, then close the store.

        The store finishes its writes, those of requests cut off included.
        """
        super().stopService()
        self._stopping()
        return Deferred.fromCoroutine(self._stop())

    def retire(self) -> Deferred[None]:
        """
        Leave what comes to the process that takes this one's place.

        Answers once no client is left, or the time to drain is over.
        """
        return Deferred.fromCoroutine(self._retired())

    def _bind(self) -> Deferred[None]:
        listening = Deferred.fromCoroutine(self._listen())
        self._raise_if_failed(listening)
        self._listening = listening
        return listening

    async def _listen(self) -> None:
        await self._listener.bind()
        if self._metrics is not None:
            try:
                await self._metrics.bind()
            except StartError:
                await self._listener.stop()
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
            await self._store.start()
        except (AsciidError, OSError) as error:
            what = f"cannot use the storage {self._settings.storage}"
            raise StartError(what, error) from error
        try:
            self._offload.start()
        except OSError as error:
            await self._store.stop()
            what = "cannot create threads"
            raise StartError(what, error) from error
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
            announce(
                self._settings,
                await self._store.usage(),
                address=self._listener.address,
                metrics=None if self._metrics is None else self._metrics.address,
            )
        self._serving(f"Serving on {self._listener.address}")

    async def _retired(self) -> None:
        await self._stop_listening()
        # Whoever is left then is cut off, or told, by the stop that follows.
        with suppress(defer.TimeoutError):
            await self._retire().addTimeout(
                self._settings.drain_timeout, IReactorTime(self._reactor)
            )

    async def _stop(self) -> None:
        await self._stop_listening()
        if self._store_open:
            self._store_open = False
            if self._housekeeper is not None:
                self._housekeeper.stop()
            if self._control is not None:
                self._control.stop()
            self._trimmer.stop()
            clock = IReactorTime(self._reactor)
            patience = self._settings.drain_timeout
            deadline = clock.seconds() + patience
            try:
                await self._drain().addTimeout(patience, clock)
            except defer.TimeoutError:
                _log.warn("Requests under way are cut off after {s} s", s=patience)
            left = max(deadline - clock.seconds(), LAST_WRITES)
            await self._stop_store(left, clock)
            self._offload.stop()

    async def _stop_store(self, patience: float, clock: IReactorTime) -> None:
        give_up = self._give_up_store
        if give_up is None:
            await self._store.stop()
            return

        def overdue() -> None:
            _log.error("The storage does not finish writes, which nobody was promised")
            give_up()

        watch = clock.callLater(patience, overdue)
        try:
            await self._store.stop()
        finally:
            if watch.active():
                watch.cancel()

    async def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
        await self._listener.stop()
        if self._metrics is not None:
            await self._metrics.stop()

    def _start_failed(self, failure: Failure) -> None:
        if self.running:
            _log.failure("asciid cannot start", failure)
            (self._fail or self._reactor.stop)()

    def _raise_if_failed(self, deferred: Deferred[Any]) -> None:
        """Raise, and report, what `deferred` has failed with, if it has already."""
        result = getattr(deferred, "result", None)
        if isinstance(result, Failure):
            deferred.addErrback(lambda _: None)
            if self._announces:
                _log.critical("{reason}", reason=result.value)
                print_refusal(result.value)
            result.raiseException()
