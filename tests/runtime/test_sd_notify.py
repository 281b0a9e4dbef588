"""Notifications of the service manager, on a socket of the test."""

from __future__ import annotations

import os
import re
import socket
import time
from functools import partial
from itertools import count
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime.sd_notify import RETRY_AFTER, ServiceManager

_numbers = count()


def _same(deferred: Deferred[None]) -> Deferred[None]:
    """Return `value`: the result of an action."""
    return deferred


class ServiceManagerTests(SynchronousTestCase):
    """A daemon from its start to its end, on a reactor that is played."""

    def setUp(self) -> None:
        """Bind the socket, with a name in the abstract namespace."""
        self.clock = Clock()
        self.name = f"@asciid-test-{os.getpid()}-{next(_numbers)}"
        self.bind(f"\0{self.name[1:]}")

    def bind(self, name: str) -> None:
        """Receive the datagrams sent to `name`."""
        self.socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        )
        self.addCleanup(self.socket.close)
        self.socket.bind(name)

    def manager(self, **environ: str) -> ServiceManager:
        """Return the service manager of an environment."""
        variables = {"NOTIFY_SOCKET": self.name, "HOME": "/", **environ}
        manager = ServiceManager.from_environment(variables, self.clock)
        self.assertEqual(variables, {"HOME": "/"})
        return manager

    def received(self) -> list[str]:
        """Return the messages that were received since the last time."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def test_life(self) -> None:
        """The start, a reload with its time, and the stop are reported."""
        manager = self.manager()
        self.assertEqual(self.received(), [])
        manager.serving("Serving on [::]:4444")
        ready = "READY=1\nSTATUS=Serving on [::]:4444"
        self.assertEqual(self.received(), [ready])
        reloaded: Deferred[None] = Deferred()
        before = time.monotonic_ns() // 1000
        manager.reload(lambda: reloaded)
        (reloading,) = self.received()
        match = re.fullmatch(
            r"RELOADING=1\nMONOTONIC_USEC=(\d+)\nSTATUS=Reloading", reloading
        )
        assert match is not None
        self.assertTrue(before <= int(match[1]) <= time.monotonic_ns() // 1000)
        reloaded.callback(None)
        self.assertEqual(self.received(), [ready])
        manager.stopping()
        self.assertEqual(
            self.received(), ["STOPPING=1\nSTATUS=Finishing the requests under way"]
        )

    def test_path(self) -> None:
        """The socket may have a path."""
        path = Path(self.mktemp())
        self.bind(str(path))
        # A path as systemd has it is an absolute one.
        self.manager(NOTIFY_SOCKET=str(path.resolve())).serving("x")
        self.assertEqual(self.received(), ["READY=1\nSTATUS=x"])

    def test_reload_before_the_start(self) -> None:
        """A reload during the start is done, but not reported."""
        manager = self.manager()
        done: list[int] = []
        manager.reload(lambda: done.append(1))
        self.assertEqual((done, self.received()), ([1], []))

    def test_stop_during_a_reload(self) -> None:
        """After the stop has begun, readiness is not reported again."""
        manager = self.manager()
        manager.serving("x")
        reloaded: Deferred[None] = Deferred()
        manager.reload(lambda: reloaded)
        manager.stopping()
        self.received()
        reloaded.callback(None)
        manager.reload(lambda: None)
        self.assertEqual(self.received(), [])

    def test_two_reloads(self) -> None:
        """It serves again once the last reload is done; one that fails is logged."""
        manager = self.manager()
        manager.serving("x")
        reloads: list[Deferred[None]] = [Deferred(), Deferred()]
        for reloaded in reloads:
            manager.reload(partial(_same, reloaded))
        self.assertEqual(len(self.received()), 3)
        reloads[0].errback(RuntimeError("no"))
        self.assertEqual(self.received(), [])
        reloads[1].callback(None)
        self.assertEqual(self.received(), ["READY=1\nSTATUS=x"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_watchdog(self) -> None:
        """The watchdog is notified twice in its interval, from the start."""
        for pid in ("", str(os.getpid())):
            manager = self.manager(WATCHDOG_USEC="3000000", WATCHDOG_PID=pid)
            self.clock.advance(10)
            self.assertEqual(self.received(), [])
            manager.serving("x")
            self.assertEqual(self.received(), ["READY=1\nSTATUS=x", "WATCHDOG=1"])
            self.clock.pump([1.5] * 4)
            self.assertEqual(self.received(), ["WATCHDOG=1"] * 4)
            self.setUp()

    def test_no_watchdog(self) -> None:
        """The watchdog of another process, or none at all, is not notified."""
        for interval, pid in (
            ("3000000", "1"),
            ("0", ""),
            ("", ""),
            ("soon", ""),
            ("9" * 5000, ""),
        ):
            self.manager(WATCHDOG_USEC=interval, WATCHDOG_PID=pid).serving("x")
            self.assertEqual(self.received(), ["READY=1\nSTATUS=x"])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full(self) -> None:
        """A full buffer blocks nothing, loses no state, and delays no sign of life."""
        manager = self.manager(WATCHDOG_USEC="400000")
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(filler.close)
        full = False
        while not full:
            try:
                filler.sendto(b"x", f"\0{self.name[1:]}")
            except BlockingIOError:
                full = True
        manager.serving("x")
        manager.stopping()
        self.clock.pump([RETRY_AFTER] * 10)
        self.assertEqual(set(self.received()), {"x"})
        self.clock.advance(RETRY_AFTER)
        first, second, *rest = self.received()
        self.assertEqual(first, "READY=1\nSTATUS=x")
        self.assertTrue(second.startswith("STOPPING=1\n"))
        self.assertLessEqual(len(rest), 1)

    def test_nobody(self) -> None:
        """Without the variable nothing is sent, and no timer runs."""
        manager = self.manager(NOTIFY_SOCKET="", WATCHDOG_USEC="3000000")
        manager.serving("x")
        manager.reload(lambda: None)
        manager.stopping()
        self.assertEqual((self.received(), self.clock.getDelayedCalls()), ([], []))

    def test_unreachable(self) -> None:
        """A socket that is not there, or of another kind, is logged."""
        for address, words in (
            ("/nowhere/notify", "cannot reach"),
            ("vsock:2:1234", "neither a path nor an abstract name"),
        ):
            with capturedLogs() as events:
                self.manager(NOTIFY_SOCKET=address).serving("x")
            (event,) = events
            self.assertIn(words, formatEvent(event))

    def test_unreachable_for_long(self) -> None:
        """While no message arrives there is one line in the log, not one for each."""
        manager = self.manager(WATCHDOG_USEC="2000000")
        manager.serving("x")
        address, manager.address = manager.address, "/nowhere/notify"
        with capturedLogs() as events:
            self.clock.pump([1.0] * 5)
            manager.address = address
            self.clock.advance(1.0)
            manager.address = "/nowhere/notify"
            self.clock.pump([1.0] * 5)
        self.assertEqual(len(events), 2)
