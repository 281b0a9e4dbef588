"""``twistd asciid``: its options and its service."""

from __future__ import annotations

import os
import sys
from shutil import get_terminal_size
from typing import TYPE_CHECKING, ClassVar

from twisted.logger import Logger
from twisted.python import usage

from asciid import __version__
from asciid.config.settings import (
    SETTINGS,
    SettingError,
    choose_settings,
    endpoints_in,
    environment_of,
    ineffective,
    parse_settings,
    service_links_in,
    settings_of,
)
from asciid.config.usage import usage_text
from asciid.daemon.host import Daemon, Host
from asciid.net.openssl import leave_out_openssl
from asciid.runtime.journal import error_prefix
from asciid.runtime.reactor import Reactor, installed_reactor
from asciid.runtime.streams import exit_with, open_daemon_streams, print_and_exit
from asciid.runtime.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.application.service import IService

    from asciid.config.settings import EffectiveSetting, Settings

__all__ = ["Options", "makeService"]

_log = Logger()


class Options(usage.Options):
    """
    The options of ``twistd asciid``.

    `environ` is the environment to read; this process's if None.
    """

    synopsis = "[asciid options]"  # twistd prepends its own
    longdesc = (
        "Host ASCII art over HTTP: register an image, upload it in chunks, download "
        "it. Each option can also be set by the environment variable named beside it, "
        "and all but --config in the TOML file that --config names. An option takes "
        "precedence over its variable, and that over the file. twistd --help lists "
        "twistd's own options."
    )
    optParameters: ClassVar = [
        [setting.option, None, None] for setting in SETTINGS if not setting.flag
    ]
    optFlags: ClassVar = [
        [setting.option, None] for setting in SETTINGS if setting.flag
    ]

    settings: Settings
    """The effective settings; set once the options are parsed."""
    effective: tuple[EffectiveSetting, ...]
    """The effective settings with their sources."""
    service_links: list[str]
    """Ignored variables, which have the address of a Kubernetes Service."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._is_own = environ is None
        self._environ = os.environ if environ is None else environ

    def getUsage(self, width: int | None = None) -> str:
        """Return the help, `width` columns wide; default: the terminal's width."""
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

        An error ends the process with one line and exit code 1, or that of the setting;
        ``twistd`` would print its whole help first.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            prefix = error_prefix(sys.stderr, os.environ)
            message = prefix + printable(" ".join(f"asciid: {error}".split()))
            cause = error.__cause__
            if isinstance(cause, SettingError) and cause.exit_code != 1:
                exit_with(message, cause.exit_code)
            raise SystemExit(message) from error

    def postOptions(self) -> None:
        """Determine the effective settings."""
        given = {
            setting.option: ("yes" if self[setting.option] else None)
            if setting.flag
            else self[setting.option]
            for setting in SETTINGS
        }
        try:
            chosen = choose_settings(given, self._environ)
            if self._is_own:
                leave_out_openssl(endpoints_in(chosen))
            self.effective = parse_settings(chosen)
        except SettingError as error:
            raise usage.UsageError(str(error)) from error
        self.settings = settings_of(self.effective)
        self.service_links = service_links_in(self._environ)
        if self._is_own:
            open_daemon_streams()


def makeService(options: Options, reactor: Reactor = None) -> IService:
    """
    Return the service for `options`; nothing is opened yet.

    `reactor` is the one to run on, which is otherwise left alone; the process's own if
    None.
    """
    settings = options.settings
    if options.service_links:
        _log.warn(
            "ignoring {variables}: set by Kubernetes for a Service, not a setting",
            variables=", ".join(options.service_links),
        )
    for line in ineffective(options.effective):
        _log.warn("{line}", line=line)
    if reactor is None:
        host: Host = Daemon(installed_reactor(), settings)
    else:
        host = Host(reactor)
    if settings.workers > 1:
        # A daemon of one process needs nothing of it.
        from asciid.workers.parent import Parent  # noqa: PLC0415

        environment = {**os.environ, **environment_of(options.effective)}
        parent = Parent(settings, host, environment)
        # A circle: the service reports to its host, which has it reload.
        host.on_reload(parent.restart)
        return parent
    # A parent serves no HTTP, and does not need this.
    from asciid.daemon.assembly import make_single_process  # noqa: PLC0415

    service = make_single_process(settings, host)
    host.on_reload(service.reload)
    return service
