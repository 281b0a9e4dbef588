"""A process that speaks HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asciid.config.tokens import TokenFileError
from asciid.daemon.assembly import make_image_service, tokens_of
from asciid.daemon.storing import make_store_over
from asciid.engines.lmdb import LMDBReader
from asciid.engines.lmdb.maintenance import StorageLock
from asciid.engines.remote import (
    UNANSWERED_BYTES,
    Generations,
    RemoteEngine,
    WriterClient,
)
from asciid.net.endpoints import inherited_endpoint
from asciid.net.storage_socket import socket_name
from asciid.workers._inheritance import FIRST_INHERITED, GENERATIONS, LOCK
from asciid.workers._writer import WRITER_SOCKET

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IStreamServerEndpoint

    from asciid.config.settings import Settings
    from asciid.net.tls import Certificate

__all__ = ["Worker"]


class Worker:
    """Serves images on the sockets that the parent has bound."""

    def __init__(self, settings: Settings, reactor: Any) -> None:  # noqa: ANN401 - several interfaces
        # The parent has seen to it.
        storage: Path = settings.storage  # type: ignore[assignment]
        lock = StorageLock(storage, inherited=LOCK)
        generations = Generations(GENERATIONS)
        client = WriterClient(
            socket_name(lock.held, WRITER_SOCKET),
            reactor,
            figures=self,
            max_bytes=settings.max_queue,
            # So that the process that writes need not refuse what all of them send.
            max_unanswered=min(
                UNANSWERED_BYTES, settings.max_queue // (2 * settings.workers)
            ),
        )
        reader = LMDBReader(
            storage,
            reactor=reactor,
            file_generation=lambda: generations.files,
            check_directory=lock.check,
        )
        self._engine = RemoteEngine(client, reader, generations)
        store = make_store_over(self._engine, settings, reactor)

        def endpoint_of(
            name: str, certificate: Certificate | None
        ) -> IStreamServerEndpoint:
            descriptor = FIRST_INHERITED + ("port", "metrics_port").index(name)
            return inherited_endpoint(
                getattr(settings, name), reactor, descriptor, certificate
            )

        self._tokens = tokens_of(settings, quiet=True)
        assembled = make_image_service(
            settings,
            store,
            reactor,
            tokens=self._tokens,
            endpoint_of=endpoint_of,
        )
        self._service = assembled.service
        assembled.metrics.gather = client.gather
        # The process that writes knows of all of them.
        assembled.metrics.workers = lambda: None
        self._metrics = assembled.metrics

    def start(self) -> Deferred[None]:
        """
        Find the process that writes; then serve.

        Errors: `asciid.daemon.service.StartError`.
        """
        return self._engine.connect().addCallback(
            lambda _: self._service.startService()
        )

    def retire(self) -> Deferred[None]:
        """Take no new connection, and end each with its next request."""
        return self._service.retire()

    def stop(self) -> Deferred[None]:
        """Finish the requests under way."""
        return self._service.stopService()

    def reread(self) -> None:
        """Read the tokens again: the parent's copy of those it has found good."""
        if self._tokens is not None:
            with suppress(TokenFileError):
                self._tokens.load()

    def snapshot(self) -> Deferred[bytes]:
        """See `IFigures.snapshot`."""
        return self._metrics.snapshot()

    def counters(self) -> bytes:
        """See `IFigures.counters`."""
        return self._metrics.counters()
