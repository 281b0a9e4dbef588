"""Gives the lines of twistd's log their form."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogPublisher,
    globalLogPublisher,
)
from zope.interface import implementer

from asciid.logs._format import LineFormatter
from asciid.logs._journal import is_journal

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from asciid.config import Settings

__all__ = ["restyle_twistd"]


def restyle_twistd(
    settings: Settings, publisher: LogPublisher = globalLogPublisher
) -> None:
    """
    Have ``twistd`` write its log as `settings` say, to wherever it was told.

    Called before ``twistd`` begins to log, which is when services are made.  What
    is no file, such as syslog, has a form of its own and keeps it.
    """
    publisher.addObserver(_Restyler(settings, publisher))


@implementer(ILogObserver)
class _Restyler:
    """
    Meets the first event that ``twistd`` logs just before its own observer does.

    An ILogObserver given to the application would take the place of that
    observer, and so undo --logfile, --syslog and --logger, which only ``twistd``
    itself knows.
    """

    def __init__(self, settings: Settings, publisher: LogPublisher) -> None:
        self._settings = settings
        self._publisher = publisher
        self._done = False

    def __call__(self, _: LogEvent) -> None:
        """Look whether the observer is there."""
        if self._done:
            return
        for observer in self._publisher._observers:  # noqa: SLF001 - not shown otherwise
            if isinstance(observer, FileLogObserver):
                observer.formatEvent = LineFormatter(
                    self._settings.log_format,
                    self._settings.log_level,
                    journal=is_journal(observer._outFile, os.environ),  # noqa: SLF001 - likewise
                )
                self._done = True
