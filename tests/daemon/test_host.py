"""Tests of asciid.daemon.host."""

from __future__ import annotations

import atexit
import os
import signal
from typing import TYPE_CHECKING, Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings
from asciid.daemon import host
from asciid.daemon.host import Daemon, Host, OwnProcess
from asciid.runtime.sd_notify import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable


class Reactor(MemoryReactorClock):
    """A reactor that is not waited for."""

    def callFromThread(self, call: Callable[[], object]) -> None:
        """Call at once."""
        call()


class HostTests(SynchronousTestCase):
    """What a service reports to its process."""

    def setUp(self) -> None:
        """Have a reactor, and note what changes the process."""
        self.reactor = Reactor()
        self.exits: list[Any] = []
        self.patch(atexit, "register", lambda *call: self.exits.append(call))

    def stop(self) -> bool:
        """Run the reactor; return whether it stops."""
        for call, arguments, more in self.reactor.whenRunningHooks:
            call(*arguments, **more)
        return self.reactor.hasStopped

    def test_other_process(self) -> None:
        """A process of others is left alone, but its reactor stops on a failure."""
        other = Host(self.reactor)
        other.on_reload(lambda: None)
        other.serving("Serving")
        other.stopping()
        other.exit_now()
        self.assertFalse(other.can_exit)
        other.fail()
        self.assertTrue(self.stop())
        self.assertEqual(self.exits, [])

    def test_own_process(self) -> None:
        """A process of asciid's own exits with code 1 after a failure."""
        OwnProcess(self.reactor).fail()
        self.assertTrue(self.stop())
        self.assertEqual(self.exits, [(os._exit, 1)])

    def test_daemon(self) -> None:
        """A daemon reports its state, reloads on SIGHUP, and can exit at once."""
        did: list[str] = []

        class Manager:
            def reload(self, reload: Any) -> None:  # noqa: ANN401 - a callable
                did.append("reloading")
                reload()

            def serving(self, status: str) -> None:
                did.append(status)

            def stopping(self) -> None:
                did.append("stopping")

        class Log:
            def finish(self) -> None:
                did.append("log written")

        for name in ("raise_limit", "set_allocator_thresholds"):
            self.patch(host, name, lambda: None)
        self.patch(host, "tune_garbage_collector", lambda: None)
        self.patch(host, "restyle_twistd", lambda *_: Log())
        self.patch(host, "install_running_handlers", lambda _: None)
        self.patch(host, "install_stop_handlers", lambda: did.append("handlers"))
        self.patch(host, "end_at_once", lambda: did.append("exit"))
        self.patch(ServiceManager, "from_environment", lambda *_: Manager())
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        settings = Settings("tcp:0", None, 1, 1, sync=True)
        daemon = Daemon(self.reactor, settings)
        self.assertTrue(daemon.can_exit)
        daemon.serving("Serving")
        daemon.on_reload(lambda: did.append("reload"))
        signal.raise_signal(signal.SIGHUP)
        daemon.stopping()
        daemon.exit_now()
        self.assertEqual(
            did,
            [
                "Serving",
                *("reloading", "reload"),
                *("handlers", "stopping"),
                *("log written", "exit"),
            ],
        )
