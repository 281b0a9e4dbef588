"""A process that speaks HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import frozen

from asciid.config.tokens import TokenFileError
from asciid.daemon.assembly import make_image_service, tokens_of
from asciid.daemon.storing import lifetimes_of
from asciid.net.endpoints import inherited_endpoint
from asciid.net.storage_socket import socket_name
from asciid.store.sharing import Generations, SharedStore, StorageLock
from asciid.workers._funnel import UNANSWERED_BYTES, Funnel
from asciid.workers._inheritance import FIRST_INHERITED, GENERATIONS, LOCK
from asciid.workers._writer import WRITER_SOCKET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IStreamServerEndpoint

    from asciid.config.settings import Settings
    from asciid.metrics import Metrics
    from asciid.net.tls import Certificate
    from asciid.store.sharing import Completed, Use

__all__ = ["Worker"]


class Worker:
    """Serves images on the sockets that the parent has bound."""

    def __init__(self, settings: Settings, reactor: Any) -> None:  # noqa: ANN401 - several interfaces
        # The parent has seen to it.
        storage: Path = settings.storage  # type: ignore[assignment]
        lock = StorageLock(storage, inherited=LOCK)
        self._funnel = Funnel(
            socket_name(lock.held, WRITER_SOCKET),
            reactor,
            max_bytes=settings.max_queue,
            # So that the process that writes need not refuse what all of them send.
            max_unanswered=min(
                UNANSWERED_BYTES, settings.max_queue // (2 * settings.workers)
            ),
        )
        store = SharedStore(
            storage,
            self._funnel,
            reactor=reactor,
            generations=Generations(GENERATIONS),
            lifetimes=lifetimes_of(settings),
            check_directory=lock.check,
        )

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
        assembled.metrics.gather = self._funnel.gather
        # The process that writes knows of all of them.
        assembled.metrics.workers = lambda: None
        self._funnel.follower = _Follower(store, assembled.metrics)

    def start(self) -> Deferred[None]:
        """
        Find the process that writes; then serve.

        Errors: `asciid.daemon.service.StartError`.
        """
        return self._funnel.start().addCallback(lambda _: self._service.startService())

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


@frozen
class _Follower:
    """What the process that writes can have this one do."""

    store: SharedStore
    metrics: Metrics

    def keep(self, images: Sequence[Completed]) -> None:
        self.store.keep(images)

    def catch_up(self, removals: int) -> None:
        self.store.catch_up(removals)

    def forget(self, removals: int, hashes: Sequence[str] | None) -> None:
        self.store.forget(removals, hashes)

    def lose(self) -> None:
        self.store.lose()

    def use(self, how: Use) -> Deferred[None]:
        return self.store.use(how)

    def snapshot(self) -> Deferred[bytes]:
        return self.metrics.snapshot()

    def counters(self) -> bytes:
        return self.metrics.counters()
