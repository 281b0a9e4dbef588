"""
Signal handling of the daemon from its start to its end.

While a process starts, the handlers of the reactor are not there yet: SIGHUP would end
it, and SIGINT would print a traceback.
"""

from __future__ import annotations

import atexit
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.runtime.reactor import Reactor


__all__ = [
    "SURVIVED",
    "end_at_once",
    "install_running_handlers",
    "install_sighup_handler",
    "install_stop_handlers",
    "shield_startup",
    "stop_with_failure",
]

SURVIVED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that never end a daemon; those without a handler are ignored."""


class _ReplaceableHandler:
    """
    Ignores a signal, until another handler is installed.

    It is false, as twistd installs the handler of its log rotation only where
    :func:`signal.getsignal` returns a false value.
    """

    def __call__(self, *_: object) -> None:
        """Do nothing."""

    def __bool__(self) -> bool:
        return False


def shield_startup() -> None:
    """
    Ignore the `SURVIVED` signals, and have SIGINT end the process without a traceback.

    A SIGHUP that is ignored here loses nothing: tokens and certificates are read later.
    Signals that were ignored already, as by nohup(1), stay ignored.
    """
    for number in SURVIVED:
        signal.signal(number, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def install_running_handlers(reactor: Reactor) -> None:
    """Undo `shield_startup` where it would keep others from installing handlers."""
    replaceable = _ReplaceableHandler()
    signal.signal(signal.SIGUSR1, replaceable)

    def before_startup() -> None:
        # The reactor replaces only this handler of SIGINT.
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in SURVIVED:
            if signal.getsignal(number) in (signal.SIG_DFL, replaceable):
                signal.signal(number, signal.SIG_IGN)

    reactor.addSystemEventTrigger("before", "startup", before_startup)


def install_sighup_handler(
    reactor: Reactor,
    reread: Callable[[], object],
) -> None:
    """Have `reread` called in the reactor thread for each SIGHUP."""
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reread))


def install_stop_handlers() -> None:
    """
    Let the next SIGTERM or SIGINT end the process at once, and ignore SIGHUP.

    The first one began the stop, and a reactor that is stopping ignores more.
    Nothing is lost: acknowledged writes are on the disk.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # There is nothing left to reread, and the interpreter resets handlers at exit.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def stop_with_failure(reactor: Reactor) -> None:
    """
    Stop `reactor`, and exit with code 1.

    ``twistd`` exits with code 0 whenever the reactor stops without a signal.  Exit
    handlers run in reverse order, so this one runs last.
    """
    atexit.register(os._exit, 1)
    # The service may have been started before the reactor.
    reactor.callWhenRunning(reactor.stop)


def end_at_once() -> None:
    """End the process as the second signal does."""
    signal.raise_signal(signal.SIGTERM)
