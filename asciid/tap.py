"""``twistd asciid``: its options and the service they describe."""

from __future__ import annotations

import gc
import os
import signal
import time
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import evolve
from twisted.internet.interfaces import IReactorCore
from twisted.python import usage

from asciid import __version__
from asciid._listener import Listener, endpoint_from
from asciid._tokens import TokenFile
from asciid._usage import usage_text
from asciid.api import ImageAPI, MetricsAPI, problem_for_status
from asciid.config import SETTINGS, SettingError, find_in_force, settings_of
from asciid.control import Control
from asciid.housekeeping import Housekeeper, housekeeping_interval
from asciid.http import KleinFactory, Limits, Observers, unique_ids
from asciid.logs import (
    AccessLog,
    CompletionLog,
    RefusalLog,
    access_writer,
    restyle_twistd,
)
from asciid.service import ImageService
from asciid.store import Lifetimes, LMDBStore, MemoryStore, PendingLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.application.service import IService
    from twisted.internet.defer import Deferred

    from asciid.config import InForce, Settings
    from asciid.http import Observer
    from asciid.store import IImageStore

__all__ = [
    "Options",
    "count_monotonically",
    "heed_hangups",
    "heed_next_signal",
    "makeService",
    "make_front",
    "rest_collector",
]

Reactor = Any
"""Provides several interfaces at once, which no one type says."""


class Options(usage.Options):
    """
    The command line after ``twistd asciid``.

    `environ` is the environment to read; this process's if None.
    """

    synopsis = "[asciid options]"  # twistd puts its own before it
    longdesc = (
        "Host ASCII art over HTTP: register an image, upload it in chunks, "
        "download it. Each option but --config can also be given in the TOML file "
        "that --config names, and each in the environment variable named beside it; "
        "the option beats the variable, and that the file. twistd --help lists "
        "twistd's own options."
    )
    optParameters: ClassVar = [
        [setting.option, None, None] for setting in SETTINGS if not setting.flag
    ]
    optFlags: ClassVar = [
        [setting.option, None] for setting in SETTINGS if setting.flag
    ]

    settings: Settings
    """What is in force, once the options are parsed."""
    in_force: tuple[InForce, ...]
    """The same, with where each setting is from."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted's
        self._environ = os.environ if environ is None else environ

    def getUsage(self, width: int | None = None) -> str:
        """Return the help, `width` columns wide or as wide as the terminal."""
        return usage_text(width or get_terminal_size().columns, self.longdesc)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"asciid {__version__}")  # noqa: T201 - what the option is for
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse `options`, or the process's own if None.

        A mistake ends the process with one line and exit code 1.  Left to
        itself, ``twistd`` would print its whole help before that line.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call] # likewise
        except usage.UsageError as error:
            message = f"asciid: {error}"
            raise SystemExit(message) from error

    def postOptions(self) -> None:
        """Settle what is in force."""
        given = {
            setting.option: ("yes" if self[setting.option] else None)
            if setting.flag
            else self[setting.option]
            for setting in SETTINGS
        }
        try:
            self.in_force = find_in_force(given, self._environ)
        except SettingError as error:
            raise usage.UsageError(str(error)) from error
        self.settings = settings_of(self.in_force)


def _make_store(settings: Settings, reactor: Reactor) -> IImageStore:
    lifetimes = Lifetimes(settings.upload_ttl, settings.image_ttl)
    pending = PendingLimits(settings.max_uploads, settings.max_client_uploads)
    if settings.storage is None:
        return MemoryStore(lifetimes=lifetimes, pending=pending)
    return LMDBStore(
        settings.storage,
        reactor=reactor,
        sync=settings.sync,
        lifetimes=lifetimes,
        reserve=settings.reserve,
        pending=pending,
        max_queue=settings.max_queue,
    )


def _make_control(
    settings: Settings, store: IImageStore, reactor: Reactor
) -> Control | None:
    if settings.storage is None or not isinstance(store, LMDBStore):
        return None

    def compact() -> Deferred[Mapping[str, object]]:
        return store.compact().addCallback(lambda copied: copied.report)

    return Control(settings.storage, {"compact": compact}, reactor)


def make_observer(settings: Settings, api: ImageAPI) -> Observer:
    """Return what is told of every request: the metrics, and the access log if any."""
    if settings.access_log is None:
        return api.metrics.requests
    access_log = AccessLog(
        access_writer(settings.access_log, settings.log_format),
        api.clients.of,
        settings.access_log_sample,
    )
    return Observers(api.metrics.requests, access_log)


def make_front(
    api: ImageAPI,
    reactor: Reactor,
    limits: Limits | None = None,
    observer: Observer | None = None,
) -> KleinFactory:
    """
    Return what speaks HTTP for `api`; its routes say how large bodies may be.

    Its metrics are told of every request, if `observer` is None.  The log is told
    what is refused, and which images become complete.
    """
    refusals, completions = RefusalLog(reactor), CompletionLog(reactor)
    api.metrics.requests.told = refusals.note
    api.store.on_complete = completions.note
    if IReactorCore.providedBy(reactor):
        # What waits for its moment is told before the end.
        for log in (refusals, completions):
            reactor.addSystemEventTrigger("after", "shutdown", log.tell)
    front = KleinFactory(
        api.app,
        reactor=reactor,
        limits=evolve(limits or Limits(), endpoint_bodies=api.body_limits),
        problem=problem_for_status,
        observer=observer or api.metrics.requests,
        request_ids=unique_ids(),
        refuses_unread=api.refuses_unread,
    )
    api.metrics.front = front
    return front


def _listener(port: str, factory: KleinFactory, reactor: Reactor) -> Listener:
    return Listener(port, endpoint_from(port, reactor), factory)


def _make_metrics_listener(
    settings: Settings, api: ImageAPI, reactor: Reactor, observer: Observer
) -> Listener | None:
    if settings.metrics_port is None:
        return None
    front = KleinFactory(
        MetricsAPI(api.metrics).app,
        reactor=reactor,
        problem=problem_for_status,
        observer=observer,
        request_ids=unique_ids(),
    )
    return _listener(settings.metrics_port, front, reactor)


def count_monotonically(reactor: Reactor) -> None:
    """
    Have the timers of `reactor` follow the monotonic clock.

    By themselves they follow the wall clock: when that is set back by a day, even
    what is due at once waits for a day, and every write with it.  A reactor that
    has timers under way is left as it is.
    """
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic


def rest_collector() -> None:
    """
    Have the garbage collector look at less, and less often.

    What is there at the start lives as long as the process.  What comes later is
    freed by counting references, but for the odd cycle; looking for those every
    700 new objects, as is the default, takes some percent of a busy daemon.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _do_nothing() -> None:
    """Leave the process as it is: it belongs to whoever gave the reactor."""


def heed_next_signal() -> None:
    """
    Let the next SIGTERM or SIGINT end the process at once.

    The first one began the stop, and a reactor that is stopping takes no notice
    of more.  Nothing is lost: what was acknowledged is on the disk.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _reread_nothing() -> None:
    """Go on: no file was named that could have changed."""


def heed_hangups(reactor: Reactor, reread: Callable[[], None]) -> None:
    """
    Have `reread` called in the reactor whenever SIGHUP comes.

    By itself SIGHUP would end the process, and who manages it sends one to all.
    """
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reread))


def makeService(options: Options, reactor: Reactor = None) -> IService:
    """
    Return the service that `options` describe; nothing is opened yet.

    `reactor` is the one to run on; the process's own if None.
    """
    settings = options.settings
    token_file = settings.write_token_file
    tokens = None if token_file is None else TokenFile(token_file)
    stopping: Callable[[], None] = _do_nothing
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing installs it

        count_monotonically(reactor)
        rest_collector()
        restyle_twistd(settings)
        stopping = heed_next_signal
        heed_hangups(reactor, _reread_nothing if tokens is None else tokens.reload)
    store = _make_store(settings, reactor)
    api = ImageAPI(
        store,
        max_image_size=settings.max_image_size,
        max_chunk_size=settings.max_chunk_size,
        write_origins=settings.write_origins,
        trusted_proxies=settings.trusted_proxies,
        metrics_apart=settings.metrics_port is not None,
        tokens=tokens,
    )
    limits = Limits(connections=settings.max_connections, bodies=settings.max_bodies)
    observer = make_observer(settings, api)
    front = make_front(api, reactor, limits, observer)
    return ImageService(
        settings,
        listener=_listener(settings.port, front, reactor),
        metrics=_make_metrics_listener(settings, api, reactor, observer),
        store=store,
        tokens=tokens,
        reactor=reactor,
        control=_make_control(settings, store, reactor),
        drain=front.drain,
        stopping=stopping,
        housekeeper=Housekeeper(
            store, clock=reactor, interval=housekeeping_interval(settings)
        ),
    )
