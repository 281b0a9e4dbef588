"""The process that a service runs in: reactor, signals, log, and service manager."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from asciid.daemon._process_limits import possible_connections
from asciid.logs import restyle_twistd
from asciid.runtime.descriptors import descriptor_limit, raise_limit
from asciid.runtime.malloc import set_allocator_thresholds
from asciid.runtime.sd_notify import ServiceManager
from asciid.runtime.signals import (
    end_at_once,
    install_running_handlers,
    install_sighup_handler,
    install_stop_handlers,
    stop_with_failure,
)
from asciid.runtime.tuning import tune_garbage_collector, use_monotonic_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.config.settings import Settings
    from asciid.runtime.reactor import Reactor

__all__ = ["Daemon", "Host", "OwnProcess"]

_log = Logger()


class Host:
    """A process that is not asciid's own, such as that of a test: it is left alone."""

    can_exit = False
    """Whether `exit_now` ends the process."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor

    def on_reload(self, reload: Callable[[], object]) -> None:
        """Have `reload` called when the configuration is to be read again."""

    def serving(self, status: str) -> None:
        """Report that the service serves; `status` is one line for people."""

    def stopping(self) -> None:
        """Report that the stop begins."""

    def fail(self) -> None:
        """Stop after an unexpected error."""
        # The service may have been started before the reactor.
        self.reactor.callWhenRunning(self.reactor.stop)

    def exit_now(self) -> None:
        """Exit without waiting for the stop to end, if `can_exit`."""


class OwnProcess(Host):
    """A process of asciid's own."""

    def fail(self) -> None:
        """See `Host.fail`; the exit code is 1."""
        stop_with_failure(self.reactor)


class Daemon(OwnProcess):
    """
    The process of ``twistd``, prepared for load.

    SIGHUP reloads, and the second SIGTERM or SIGINT ends it at once.
    """

    can_exit = True

    def __init__(self, reactor: Reactor, settings: Settings) -> None:
        super().__init__(reactor)
        raise_limit()
        use_monotonic_clock(reactor)
        tune_garbage_collector()
        set_allocator_thresholds()
        self._log = restyle_twistd(settings, reactor)
        install_running_handlers(reactor)
        self._manager = ServiceManager.from_environment(os.environ, reactor)
        _check_descriptors(settings)

    def on_reload(self, reload: Callable[[], object]) -> None:
        """See `Host.on_reload`; begin and end are reported to the service manager."""
        install_sighup_handler(self.reactor, partial(self._manager.reload, reload))

    def serving(self, status: str) -> None:
        """See `Host.serving`."""
        self._manager.serving(status)

    def stopping(self) -> None:
        """See `Host.stopping`; the next signal ends the process at once."""
        install_stop_handlers()
        self._manager.stopping()

    def exit_now(self) -> None:
        """See `Host.exit_now`; the log is written first."""
        self._log.finish()
        end_at_once()


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
