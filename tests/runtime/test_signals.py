"""Tests of asciid.runtime.signals."""

from __future__ import annotations

import importlib
import signal
import sys
from unittest.mock import patch

from twisted.internet.testing import MemoryReactorClock
from twisted.plugins import asciid_plugin
from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime.signals import (
    SURVIVED,
    end_at_once,
    install_running_handlers,
    install_sighup_handler,
    install_stop_handlers,
    shield_startup,
)
from asciid.testing import ManualReactor


class SignalTests(SynchronousTestCase):
    """The signal handlers of the daemon."""

    def setUp(self) -> None:
        """Begin with the handlers of a new process."""
        for number in (*SURVIVED, signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def handlers(self) -> list[object]:
        """Return the handlers of the signals that never end a daemon."""
        return [signal.getsignal(number) for number in SURVIVED]

    def test_startup(self) -> None:
        """At the start nothing but SIGINT and SIGTERM ends the process, and quietly."""
        shield_startup()
        self.assertEqual(self.handlers(), [signal.SIG_IGN] * 3)
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_DFL)
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)

    def test_nohup(self) -> None:
        """A SIGINT that was ignored when the process began stays ignored."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shield_startup()
        reactor = MemoryReactorClock()
        install_running_handlers(reactor)
        self.start(reactor)
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)

    def start(self, reactor: MemoryReactorClock) -> None:
        """Fire the triggers of a reactor's startup."""
        for call, args, kwargs in reactor.triggers["before"]["startup"]:
            call(*args, **kwargs)

    def test_running(self) -> None:
        """The reactor can install its handler of SIGINT, and twistd that of SIGUSR1."""
        shield_startup()
        reactor = MemoryReactorClock()
        install_running_handlers(reactor)
        # twistd's condition; until then the signal does not end the process.
        self.assertFalse(signal.getsignal(signal.SIGUSR1))
        signal.raise_signal(signal.SIGUSR1)

        def rotate(*_: object) -> None:
            """Do what twistd would."""

        signal.signal(signal.SIGUSR1, rotate)
        self.start(reactor)
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        self.assertEqual(self.handlers(), [signal.SIG_IGN, rotate, signal.SIG_IGN])

    def test_running_without_log_file(self) -> None:
        """Without a log file to rotate, SIGUSR1 is ignored."""
        shield_startup()
        reactor = MemoryReactorClock()
        install_running_handlers(reactor)
        self.start(reactor)
        self.assertEqual(self.handlers(), [signal.SIG_IGN] * 3)

    def test_plugin(self) -> None:
        """The plugin shields the start of asciid, and of no other service."""
        for command, handler in (("ftp", signal.SIG_DFL), ("asciid", signal.SIG_IGN)):
            with patch.object(sys, "argv", ["twistd", "--nodaemon", command]):
                importlib.reload(asciid_plugin)
            self.assertEqual(self.handlers(), [handler] * 3)

    def test_sighup(self) -> None:
        """SIGHUP has files read again, in the reactor."""
        calls: list[object] = []
        reactor = ManualReactor()
        install_sighup_handler(reactor, lambda: calls.append(None))
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(calls, [])
        reactor.advance(0)
        self.assertEqual(calls, [None])

    def test_stop(self) -> None:
        """While it stops, a second signal ends the process, and SIGHUP does nothing."""
        install_stop_handlers()
        self.assertIs(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_DFL)
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_ends_at_once(self) -> None:
        """What gives up ends the process as that signal does."""
        signals: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
        end_at_once()
        self.assertEqual(signals, [signal.SIGTERM])
