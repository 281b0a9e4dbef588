"""Composes the service of a process that speaks HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve
from twisted.internet.interfaces import IReactorCore

from asciid.api import PROBLEM_TYPES, ImageAPI, MetricsAPI, problem_for_status
from asciid.config.settings import ENDPOINTS
from asciid.config.tokens import TokenFile
from asciid.daemon._process_limits import (
    body_limit,
    cache_capacity,
    possible_connections,
)
from asciid.daemon._service import ImageService, Site
from asciid.daemon.housekeeping import Housekeeper, housekeeping_interval
from asciid.daemon.storing import lifetimes_of, lists_by_default, make_engine
from asciid.http import KleinFactory, Limits, Observers, unique_ids
from asciid.logs import ImageLog, RefusalLog
from asciid.logs.access import AccessLog, access_writer
from asciid.metrics import Metrics, RequestCounts, WorkersState
from asciid.net.endpoints import endpoint_from
from asciid.net.listener import Listener, StartError
from asciid.net.rate_limit import RateLimit
from asciid.net.tls import Certificate, TLSFileError, tls_files
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import Offload
from asciid.runtime.threads import FixedThreadPool
from asciid.store import ImageStore
from asciid.web.renderer import Renderer
from asciid.web.renderings import Renderings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred

    from asciid.admin.control import Control
    from asciid.config.settings import Settings
    from asciid.daemon.host import Host
    from asciid.http import Observer
    from asciid.runtime.reactor import Reactor
    from asciid.store.engine import IEngine

__all__ = [
    "certificates_of",
    "make_http_server",
    "make_image_service",
    "make_observer",
    "make_single_process",
    "tokens_of",
]


def make_single_process(settings: Settings, host: Host) -> ImageService:
    """Return the service of a daemon of one process."""
    engine, control = make_engine(settings, host.reactor)
    return make_image_service(
        settings, host, engine, tokens=tokens_of(settings), control=control
    )


def make_image_service(  # noqa: PLR0913 - that of one process, and that of a worker
    settings: Settings,
    host: Host,
    engine: IEngine,
    *,
    tokens: TokenFile | None = None,
    descriptors: Mapping[str, int] | None = None,
    control: Control | None = None,
    workers: Callable[[], WorkersState | None] = WorkersState,
    gather: Callable[[bytes], Deferred[list[bytes]]] | None = None,
) -> ImageService:
    """
    Return the service of the images of `engine`.

    `descriptors` are those of inherited sockets, for ``port`` and ``metrics_port``;
    `workers` and `gather` are those of `Metrics`.
    """
    reactor = host.reactor
    certificates = certificates_of(settings)
    inherited = descriptors or {}

    def new_listener(name: str) -> Listener:
        port, certificate = getattr(settings, name), certificates.get(name)
        endpoint = endpoint_from(port, reactor, certificate, inherited.get(name))
        return Listener(port, endpoint)

    scheduler = ClientScheduler(reactor)
    # One thread: two would take cores from the reactor and the writer.
    offload = Offload(
        reactor, FixedThreadPool(1, "asciid-offload"), scheduler=scheduler
    )
    refusals, images = _make_logs(reactor)
    store = ImageStore(
        engine,
        reactor=reactor,
        lifetimes=lifetimes_of(settings),
        cache_size=cache_capacity(settings),
        observers=[images],
        listed_by_default=lists_by_default(settings),
    )
    renderer = Renderer(reactor)
    renderings = Renderings(renderer)
    metrics = Metrics(
        store,
        RequestCounts(PROBLEM_TYPES, refusals.note),
        offload,
        renderings=renderings,
        certificates=certificates,
        workers=workers,
        gather=gather,
    )
    api = ImageAPI(
        store,
        max_image_size=settings.max_image_size,
        max_chunk_size=settings.max_chunk_size,
        public_url=settings.public_url,
        write_origins=settings.write_origins,
        trusted_proxies=settings.trusted_proxies,
        metrics_apart=settings.metrics_port is not None,
        tokens=tokens,
        offload=offload,
        max_queue=settings.max_queue,
        upload_rate=_upload_rate(settings, reactor),
        metrics=metrics,
        renderings=renderings,
        listing=settings.listing != "off",
        image_ttl=settings.image_ttl,
    )
    observer = make_observer(settings, api, reactor)
    listener = new_listener("port")
    server = make_http_server(
        api,
        reactor,
        limits=_limits(settings),
        observer=observer,
        scheduler=scheduler,
        acceptor=listener,
    )
    # A circle: the server has the routes, one of which is that of the metrics.
    metrics.add_server(server)
    sites = [Site(listener, server)]
    if settings.metrics_port is not None:
        metrics_server = _make_metrics_server(metrics, reactor, observer, scheduler)
        sites.append(Site(new_listener("metrics_port"), metrics_server))
    return ImageService(
        settings,
        host,
        sites=sites,
        server=server,
        store=store,
        metrics=metrics,
        offload=offload,
        renderer=renderer,
        tokens=tokens,
        certificates=list(certificates.values()),
        control=control,
        housekeeper=_housekeeper(settings, store, reactor),
    )


def make_observer(settings: Settings, api: ImageAPI, reactor: Reactor) -> Observer:
    """Return the observer of requests: the metrics, and the access log if any."""
    if settings.access_log is None:
        return api.metrics.requests
    access_log = AccessLog(
        access_writer(settings.access_log, settings.log_format, reactor),
        api.clients.of,
        settings.access_log_sample,
    )
    return Observers(api.metrics.requests, access_log)


def make_http_server(  # noqa: PLR0913 - each is a collaborator of its own
    api: ImageAPI,
    reactor: Reactor,
    *,
    limits: Limits,
    observer: Observer,
    scheduler: ClientScheduler,
    acceptor: Listener | None,
) -> KleinFactory:
    """Return the HTTP server of `api`, whose routes limit bodies."""
    return KleinFactory(
        api.app,
        reactor=reactor,
        limits=evolve(limits, endpoint_bodies=api.body_limits),
        problem=problem_for_status,
        observer=observer,
        request_ids=unique_ids(),
        refuses_unread=api.refuses_unread,
        client_of=api.clients.key_of,
        is_proxy=api.clients.is_proxy,
        scheduler=scheduler,
        acceptor=acceptor,
    )


def _make_metrics_server(
    metrics: Metrics, reactor: Reactor, observer: Observer, scheduler: ClientScheduler
) -> KleinFactory:
    return KleinFactory(
        MetricsAPI(metrics).app,
        reactor=reactor,
        problem=problem_for_status,
        observer=observer,
        request_ids=unique_ids(),
        scheduler=scheduler,
    )


def _limits(settings: Settings) -> Limits:
    """Return the limits of this process: its share of those of the daemon."""
    possible = possible_connections(settings)
    return Limits(
        connections=possible.served,
        accepted=possible.accepted,
        lingering=possible.lingering,
        bodies=body_limit(settings),
        linger_bytes=settings.linger_bytes,
        linger_time=settings.linger_time,
    )


def _upload_rate(settings: Settings, reactor: Reactor) -> RateLimit | None:
    """Return this process's part of the limit on uploads, if there is one."""
    rate = settings.upload_rate
    if rate is None:
        return None
    return RateLimit(rate, reactor.seconds, processes=settings.workers)


def _housekeeper(
    settings: Settings, store: ImageStore, reactor: Reactor
) -> Housekeeper | None:
    """Return the task that expires images and uploads; with workers the writer does."""
    if settings.workers > 1:
        return None
    interval = housekeeping_interval(settings)
    return Housekeeper(store, clock=reactor, interval=interval)


def _make_logs(reactor: Reactor) -> tuple[RefusalLog, ImageLog]:
    """Return the logs of refusals and images, which are written out at the end."""
    refusals, images = RefusalLog(reactor), ImageLog(reactor)
    if IReactorCore.providedBy(reactor):
        for summarise in (refusals.summarise, images.summarise):
            reactor.addSystemEventTrigger("after", "shutdown", summarise)
    return refusals, images


def tokens_of(settings: Settings, *, quiet: bool = False) -> TokenFile | None:
    """
    Return the file of write tokens, not read yet; None if no token is needed.

    `quiet` is that of `TokenFile`.
    """
    path = settings.write_token_file
    return None if path is None else TokenFile(path, quiet=quiet)


def certificates_of(settings: Settings) -> Mapping[str, Certificate]:
    """
    Return the certificates of ``port`` and ``metrics_port``, as far as these are TLS.

    Errors: `StartError`.
    """
    certificates = {}
    for name in ENDPOINTS:
        description = getattr(settings, name)
        if description is not None and tls_files(description):
            try:
                certificates[name] = Certificate(description)
            except TLSFileError as error:
                what = f"cannot listen on {description}"
                raise StartError(what, error) from error
    return certificates
