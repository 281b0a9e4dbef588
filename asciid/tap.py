"""``twistd asciid``: its options and the service they describe."""

from __future__ import annotations

import os
import sys
from functools import partial
from shutil import get_terminal_size
from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import DeferredList
from twisted.logger import Logger
from twisted.python import usage

from asciid import __version__
from asciid.config.settings import (
    SETTINGS,
    SettingError,
    environment_of,
    find_in_force,
    service_links_in,
    settings_of,
)
from asciid.config.usage import usage_text
from asciid.daemon.assembly import make_image_service, tokens_of
from asciid.daemon.housekeeping import Housekeeper, housekeeping_interval
from asciid.daemon.shares import possible_connections
from asciid.daemon.storing import make_store
from asciid.logs import restyle_twistd
from asciid.runtime.descriptors import descriptor_limit, raise_limit
from asciid.runtime.journal import error_prefix
from asciid.runtime.malloc import set_allocator_thresholds
from asciid.runtime.reactor import Reactor, installed_reactor
from asciid.runtime.sd_notify import ServiceManager
from asciid.runtime.signals import (
    end_at_once,
    install_running_handlers,
    install_sighup_handler,
    install_stop_handlers,
    stop_with_failure,
)
from asciid.runtime.streams import open_daemon_streams, print_and_exit
from asciid.runtime.text import printable
from asciid.runtime.tuning import tune_garbage_collector, use_monotonic_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.application.service import IService
    from twisted.internet.defer import Deferred

    from asciid.config.settings import InForce, Settings
    from asciid.logs import TwistdLog

__all__ = ["Options", "makeService"]

_log = Logger()


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
    service_links: list[str]
    """Variables that were ignored: they hold the address of a Kubernetes Service."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._is_own = environ is None
        self._environ = os.environ if environ is None else environ

    def getUsage(self, width: int | None = None) -> str:
        """Return the help, `width` columns wide or as wide as the terminal."""
        return usage_text(width or get_terminal_size().columns, self.longdesc)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print_and_exit(f"asciid {__version__}")

    def opt_help(self) -> None:
        """Print the help and exit."""
        print_and_exit(str(self))

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse `options`, or the process's own if None.

        A mistake ends the process with one line and exit code 1.  Left to
        itself, ``twistd`` would print its whole help before that line.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            prefix = error_prefix(sys.stderr, os.environ)
            message = prefix + printable(" ".join(f"asciid: {error}".split()))
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
        self.service_links = service_links_in(self._environ)
        if self._is_own:
            open_daemon_streams()


def _do_nothing() -> None:
    """Leave the process as it is: it belongs to whoever gave the reactor."""


def _say_nothing(_: str) -> None:
    """Report nothing, likewise."""


def _ignore(_: Callable[[], object]) -> None:
    """Leave signals as they are, likewise."""


def _check_descriptors(settings: Settings) -> None:
    """Warn if there cannot be as many connections as the settings allow."""
    possible = possible_connections(settings).served * settings.workers
    if possible < settings.max_connections:
        _log.warn(
            "{limit} file descriptors allow {possible} connections, fewer than "
            "--max-connections {wanted}: raise the limit (LimitNOFILE=, ulimit -n)",
            limit=descriptor_limit(),
            possible=possible,
            wanted=settings.max_connections,
        )


def _begin_stop(manager: ServiceManager) -> None:
    """Report that the stop begins; the next signal ends the process at once."""
    install_stop_handlers()
    manager.stopping()


def _give_up(log: TwistdLog) -> None:
    """End the process at once, but for the log."""
    log.finish()
    end_at_once()


def _reload_at_hangup(
    reactor: Reactor, manager: ServiceManager, reload: Callable[[], object]
) -> None:
    """Have `reload` called for each SIGHUP, and its begin and end reported."""
    install_sighup_handler(reactor, partial(manager.reload, reload))


def makeService(options: Options, reactor: Reactor = None) -> IService:
    """
    Return the service that `options` describe; nothing is opened yet.

    `reactor` is the one to run on; the process's own if None.
    """
    settings = options.settings
    if options.service_links:
        _log.warn(
            "Ignored {variables}: set by Kubernetes for a Service, not a setting",
            variables=", ".join(options.service_links),
        )
    serving: Callable[[str], None] = _say_nothing
    stopping: Callable[[], None] = _do_nothing
    give_up: Callable[[], None] | None = None
    on_hangup: Callable[[Callable[[], object]], None] = _ignore

    def fail() -> None:
        reactor.callWhenRunning(reactor.stop)

    if reactor is None:
        reactor = installed_reactor()
        raise_limit()
        use_monotonic_clock(reactor)
        tune_garbage_collector()
        set_allocator_thresholds()
        log = restyle_twistd(settings, reactor)
        install_running_handlers(reactor)
        manager = ServiceManager.from_environment(os.environ, reactor)
        serving = manager.serving
        stopping = partial(_begin_stop, manager)
        give_up = partial(_give_up, log)

        def fail() -> None:
            stop_with_failure(reactor)

        on_hangup = partial(_reload_at_hangup, reactor, manager)
        _check_descriptors(settings)
    if settings.workers > 1:
        # What one process does needs nothing of it.
        from asciid.workers.parent import Parent  # noqa: PLC0415

        parent = Parent(
            settings,
            environment={**os.environ, **environment_of(options.in_force)},
            reactor=reactor,
            serving=serving,
            stopping=stopping,
            fail=fail,
        )
        on_hangup(parent.restart)
        return parent
    tokens = tokens_of(settings)
    store, control = make_store(settings, reactor)
    assembled = make_image_service(
        settings,
        store,
        reactor,
        tokens=tokens,
        control=control,
        serving=serving,
        stopping=stopping,
        give_up=give_up,
        fail=fail,
        housekeeper=Housekeeper(
            store, clock=reactor, interval=housekeeping_interval(settings)
        ),
    )

    def reload() -> Deferred[list[tuple[bool, bool]]]:
        reloading = [each.reload(reactor) for each in assembled.certificates]
        if tokens is not None:
            reloading.append(tokens.reload(reactor))
        return DeferredList(reloading)

    on_hangup(reload)
    return assembled.service
