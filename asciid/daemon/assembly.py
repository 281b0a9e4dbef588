"""Puts the parts of a process together, as its settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorCore

from asciid.api import ImageAPI, MetricsAPI, problem_for_status
from asciid.config.tokens import TokenFile
from asciid.daemon.service import ImageService
from asciid.daemon.shares import body_share, possible_connections
from asciid.http import KleinFactory, Limits, Observers, unique_ids
from asciid.logs import ImageLog, RefusalLog
from asciid.logs.access import AccessLog, access_writer
from asciid.net.endpoints import endpoint_from
from asciid.net.listener import Listener, StartError
from asciid.net.tls import Certificate, TLSFileError, tls_files
from asciid.runtime.offload import Offload
from asciid.runtime.threads import FixedThreadPool
from asciid.runtime.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IStreamServerEndpoint

    from asciid.admin.control import Control
    from asciid.config.settings import Settings
    from asciid.daemon.housekeeping import Housekeeper
    from asciid.http import Observer
    from asciid.metrics import Metrics
    from asciid.runtime.reactor import Reactor
    from asciid.store import IImageStore

__all__ = [
    "Assembled",
    "certificates_of",
    "make_front",
    "make_image_service",
    "make_observer",
    "tokens_of",
]


@frozen
class Assembled:
    """A service, and what it tells of itself."""

    service: ImageService
    metrics: Metrics
    certificates: Sequence[Certificate]
    """Those of its endpoints, to be read again when they were renewed."""


def tokens_of(settings: Settings, *, quiet: bool = False) -> TokenFile | None:
    """
    Return the tokens that let their bearers write, not read yet; None is all.

    `quiet` is that of `TokenFile`.
    """
    path = settings.write_token_file
    return None if path is None else TokenFile(path, quiet=quiet)


def certificates_of(settings: Settings) -> dict[str, Certificate]:
    """
    Return the certificate of ``port`` and of ``metrics_port``, as far as they have one.

    Errors: `StartError`.
    """
    certificates = {}
    for name in ("port", "metrics_port"):
        description = getattr(settings, name)
        if description is not None and tls_files(description):
            try:
                certificates[name] = Certificate(description)
            except TLSFileError as error:
                what = f"cannot listen on {description}"
                raise StartError(what, error) from error
    return certificates


def make_observer(settings: Settings, api: ImageAPI, reactor: Reactor) -> Observer:
    """Return what is told of every request: the metrics, and the access log if any."""
    if settings.access_log is None:
        return api.metrics.requests
    access_log = AccessLog(
        access_writer(settings.access_log, settings.log_format, reactor),
        api.clients.of,
        settings.access_log_sample,
    )
    return Observers(api.metrics.requests, access_log)


def make_front(
    api: ImageAPI,
    reactor: Reactor,
    limits: Limits | None = None,
    observer: Observer | None = None,
    turns: Turns | None = None,
) -> KleinFactory:
    """
    Return what speaks HTTP for `api`; its routes say how large bodies may be.

    Its metrics are told of every request, if `observer` is None.  The log is told
    what is refused, and which images become complete or are deleted.
    """
    refusals, images = RefusalLog(reactor), ImageLog(reactor)
    api.metrics.requests.told = refusals.note
    api.store.add_observer(images)
    if IReactorCore.providedBy(reactor):
        # What waits for its moment is told before the end.
        for log in (refusals.tell, images.summarise):
            reactor.addSystemEventTrigger("after", "shutdown", log)
    front = KleinFactory(
        api.app,
        reactor=reactor,
        limits=evolve(limits or Limits(), endpoint_bodies=api.body_limits),
        problem=problem_for_status,
        observer=observer or api.metrics.requests,
        request_ids=unique_ids(),
        refuses_unread=api.refuses_unread,
        client_of=api.clients.key_of,
        is_proxy=api.clients.is_proxy,
        turns=turns or Turns(reactor),
    )
    api.metrics.front = front
    return front


def make_image_service(  # noqa: PLR0913 - each is a collaborator of its own
    settings: Settings,
    store: IImageStore,
    reactor: Reactor,
    *,
    tokens: TokenFile | None = None,
    endpoint_of: Callable[[str, Certificate | None], IStreamServerEndpoint]
    | None = None,
    control: Control | None = None,
    housekeeper: Housekeeper | None = None,
    serving: Callable[[str], object] = lambda _: None,
    stopping: Callable[[], object] = lambda: None,
    give_up: Callable[[], object] | None = None,
    fail: Callable[[], object] | None = None,
) -> Assembled:
    """
    Return what serves `store`.

    `endpoint_of` returns the endpoint for ``port`` and for ``metrics_port``; those
    that the settings describe if it is None.
    """
    certificates = certificates_of(settings)

    def open_endpoint(name: str) -> IStreamServerEndpoint:
        certificate = certificates.get(name)
        if endpoint_of is not None:
            return endpoint_of(name, certificate)
        return endpoint_from(getattr(settings, name), reactor, certificate)

    # One thread: two would take cores from the reactor and the writer.
    turns = Turns(reactor)
    offload = Offload(reactor, FixedThreadPool(1, "asciid-offload"), turns=turns)
    api = ImageAPI(
        store,
        max_image_size=settings.max_image_size,
        max_chunk_size=settings.max_chunk_size,
        write_origins=settings.write_origins,
        trusted_proxies=settings.trusted_proxies,
        metrics_apart=settings.metrics_port is not None,
        tokens=tokens,
        offload=offload,
        max_queue=settings.max_queue,
    )
    api.metrics.certificates = certificates
    # Each of several workers has its share.
    possible = possible_connections(settings)
    limits = Limits(
        connections=possible.served,
        accepted=possible.accepted,
        lingering=possible.lingering,
        bodies=body_share(settings),
        linger_bytes=settings.linger_bytes,
        linger_time=settings.linger_time,
    )
    observer = make_observer(settings, api, reactor)
    front = make_front(api, reactor, limits, observer, turns)
    metrics = None
    if settings.metrics_port is not None:
        metrics = Listener(
            settings.metrics_port,
            open_endpoint("metrics_port"),
            _metrics_front(api.metrics, reactor, observer, turns),
        )
    front.acceptor = Listener(settings.port, open_endpoint("port"), front)
    service = ImageService(
        settings,
        listener=front.acceptor,
        metrics=metrics,
        store=store,
        tokens=tokens,
        offload=offload,
        reactor=reactor,
        control=control,
        drain=front.drain,
        retire=front.retire,
        serving=serving,
        stopping=stopping,
        give_up=give_up,
        fail=fail,
        housekeeper=housekeeper,
        announces=settings.workers == 1,
    )
    return Assembled(service, api.metrics, list(certificates.values()))


def _metrics_front(
    metrics: Metrics, reactor: Reactor, observer: Observer, turns: Turns
) -> KleinFactory:
    return KleinFactory(
        MetricsAPI(metrics).app,
        reactor=reactor,
        problem=problem_for_status,
        observer=observer,
        request_ids=unique_ids(),
        turns=turns,
    )
