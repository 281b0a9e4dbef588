"""A process that speaks HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from asciid.config.tokens import TokenFileError
from asciid.daemon.assembly import make_image_service, tokens_of
from asciid.daemon.host import OwnProcess
from asciid.daemon.storing import SharedStorage
from asciid.engines.generations import Generations
from asciid.engines.remote.worker_side import (
    UNANSWERED_BYTES,
    QueueSize,
    RemoteEngine,
    WriterClient,
)
from asciid.net.storage_socket import socket_name
from asciid.workers._inheritance import (
    FIRST_INHERITED,
    GENERATIONS,
    LOCK,
    WRITER_SOCKET,
)

if TYPE_CHECKING:
    from asciid.config.settings import Settings
    from asciid.runtime.reactor import Reactor

__all__ = ["Worker"]


class Worker:
    """Serves images on the sockets that the parent has bound."""

    def __init__(self, settings: Settings, reactor: Reactor) -> None:
        storage = SharedStorage(settings, inherited=LOCK)
        generations = Generations(GENERATIONS)
        client = WriterClient(
            socket_name(storage.held, WRITER_SOCKET),
            reactor,
            metrics=self,
            queue=QueueSize(max_bytes=settings.max_queue),
            # So that the writer can accept what all workers send together.
            max_unanswered=min(
                UNANSWERED_BYTES, settings.max_queue // (2 * settings.workers)
            ),
        )
        reader = storage.make_reader(reactor, lambda: generations.files)
        self._engine = RemoteEngine(client, reader, generations)
        self._tokens = tokens_of(settings, quiet=True)
        self._service = make_image_service(
            settings,
            OwnProcess(reactor),
            self._engine,
            tokens=self._tokens,
            descriptors={"port": FIRST_INHERITED, "metrics_port": FIRST_INHERITED + 1},
            # The writer reports them.
            workers=lambda: None,
            gather=client.gather,
        )

    def start(self) -> Deferred[None]:
        """
        Connect to the writer, then serve.

        Errors: `StartError`.
        """
        return self._engine.connect().addCallback(
            lambda _: self._service.startService()
        )

    def retire(self) -> Deferred[None]:
        """Accept no new connection, and end each with its next response."""
        return self._service.retire()

    def stop(self) -> Deferred[None]:
        """Finish the requests in progress."""
        return Deferred.fromCoroutine(self._stop())

    def reread(self) -> None:
        """Read the tokens again: the parent's copy, which it has validated."""
        if self._tokens is not None:
            with suppress(TokenFileError):
                self._tokens.load()

    async def _stop(self) -> None:
        await self._service.stopService()
        # The service stops it only if it got to start it.
        await self._engine.stop()

    def snapshot(self) -> Deferred[bytes]:
        """See `IMetricsSource.snapshot`."""
        return self._service.metrics.snapshot()

    def counters(self) -> bytes:
        """See `IMetricsSource.counters`."""
        return self._service.metrics.counters()
