"""Tests of asciid.workers._supervised and _log_relay."""

from __future__ import annotations

import io
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ProcessTerminated
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.logs import pass_on
from asciid.workers._inheritance import (
    BLOCKED_AT_START,
    FIRST_INHERITED,
    GENERATIONS,
    HAS_SUCCESSOR,
    HEARTBEAT,
    LOCK,
    LOG,
    OUTPUT,
    PARENT_PIPE,
    READY,
    REREAD,
    STATUS,
)
from asciid.workers._supervised import (
    MAX_RESTART_DELAY,
    MIN_RESTART_DELAY,
    Program,
    SupervisedProcess,
)
from asciid.workers._watchdog import (
    HEARTBEAT_INTERVAL,
    HEARTBEAT_TIMEOUT,
    READY_TIMEOUT,
)
from tests.workers._played import PlayedProcess, PlayedReactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STOP_TIMEOUT = 12.0
RETIRE_TIMEOUT = 10.0


class SupervisedTestCase(SynchronousTestCase):
    """One supervised process."""

    def setUp(self) -> None:
        """Prepare it."""
        self.reactor = PlayedReactor()
        self.exits: list[None] = []
        self.inherited = 17
        self.process = SupervisedProcess(
            Program("cat", ["cat", "-"], {"A": "1"}, self.descriptors),
            reactor=self.reactor,
            stop_timeout=STOP_TIMEOUT,
            retire_timeout=RETIRE_TIMEOUT,
            on_exit=lambda: self.exits.append(None),
        )

    def descriptors(self) -> dict[int, int]:
        """Return the inherited descriptors."""
        return {LOCK: 16, GENERATIONS: 15, FIRST_INHERITED: self.inherited}

    def start(self) -> PlayedProcess:
        """Start the process."""
        self.ready = self.process.start()
        return self.reactor.alive["cat"]

    def logged(self, act: Callable[[], object]) -> list[str]:
        """Return the log lines meanwhile."""
        with capturedLogs() as events:
            act()
        return [str(formatEvent(event)) for event in events]

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps in which nothing counts as stopped."""
        self.reactor.pump([HEARTBEAT_INTERVAL] * round(seconds / HEARTBEAT_INTERVAL))


class SupervisedTests(SupervisedTestCase):
    """How a process is started, restarted and stopped."""

    def test_descriptors(self) -> None:
        """It gets pipes to its parent, and descriptors behind them."""
        process = self.start()
        self.assertEqual(
            process.descriptors,
            {
                PARENT_PIPE: "w",
                LOG: "r",
                OUTPUT: "r",
                STATUS: "r",
                LOCK: 16,
                GENERATIONS: 15,
                FIRST_INHERITED: 17,
            },
        )
        self.assertEqual(process.arguments, ["cat", "-"])
        self.assertEqual(process.environment, {"A": "1"})

    def test_signal_mask(self) -> None:
        """Signals without a handler yet are blocked in the process, not here."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        masks: list[set[int]] = []
        spawn = self.reactor.spawnProcess

        def take_mask(*arguments: Any, **more: Any) -> PlayedProcess:  # noqa: ANN401 - the reactor's
            masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
            return spawn(*arguments, **more)

        self.patch(self.reactor, "spawnProcess", take_mask)
        self.start()
        self.assertEqual(masks, [before | set(BLOCKED_AT_START)])
        self.assertEqual(signal.pthread_sigmask(signal.SIG_BLOCK, ()), before)

    def test_ready(self) -> None:
        """A heartbeat does not make it ready; both may arrive together."""
        process = self.start()
        process.write(STATUS, HEARTBEAT)
        self.assertNoResult(self.ready)
        process.write(STATUS, HEARTBEAT + READY + HEARTBEAT)
        self.assertTrue(self.successResultOf(self.ready))
        process.write(STATUS, READY)

    def test_ready_given_up(self) -> None:
        """It may become ready after the caller has stopped waiting."""
        process = self.start()
        self.ready.addTimeout(1, self.reactor).addErrback(lambda _: None)
        self.reactor.advance(1)
        process.be_ready()
        self.assertIsNone(self.successResultOf(self.ready))

    def test_restarted(self) -> None:
        """One that was ready is restarted at once, however soon it exited."""
        for _ in range(3):
            process = self.reactor.alive.get("cat") or self.start()
            process.be_ready()
            killed = ProcessTerminated(signal=9)
            (line,) = self.logged(partial(process.end, killed))
            self.assertIn("cat exited: ", line)
            self.assertIn("signal 9", line)
            self.reactor.advance(0)
        self.assertEqual(len(self.exits), 3)
        self.assertEqual(len(self.reactor.processes), 4)

    def test_inherits_what_is_valid_then(self) -> None:
        """One that is restarted inherits the descriptors of that time."""
        process = self.start()
        process.be_ready()
        self.inherited = 18
        process.end()
        self.reactor.advance(0)
        descriptors = self.reactor.alive["cat"].descriptors
        self.assertEqual(descriptors[FIRST_INHERITED], 18)

    def test_back_off(self) -> None:
        """One that was not ready is restarted later each time, until one is ready."""
        process = self.start()
        delays = []
        for _ in range(12):
            process.end()
            ended = self.reactor.seconds()
            while "cat" not in self.reactor.alive:
                self.reactor.advance(MIN_RESTART_DELAY / 2)
            process = self.reactor.alive["cat"]
            delays.append(self.reactor.seconds() - ended)
        expected = MIN_RESTART_DELAY
        for delay in delays:
            self.assertTrue(0 <= delay - expected + 1e-6 < MIN_RESTART_DELAY, delays)
            expected = min(2 * expected, MAX_RESTART_DELAY)
        self.assertNoResult(self.ready)
        process.be_ready()
        self.successResultOf(self.ready)
        for _ in range(2):
            process.end()
            self.reactor.advance(MIN_RESTART_DELAY)
            process = self.reactor.alive["cat"]

    def test_cannot_be_started(self) -> None:
        """One line has the reason, and it is retried later."""
        self.reactor.spawn_error = BlockingIOError(11, "no more processes")
        lines = self.logged(self.process.start)
        self.assertEqual(lines, ["cannot start cat: no more processes"])
        self.reactor.advance(MIN_RESTART_DELAY)
        self.reactor.alive["cat"].be_ready()

    def test_stopped_before_it_could_be_started(self) -> None:
        """Nothing is started after the stop, and there is nothing to wait for."""
        self.reactor.spawn_error = BlockingIOError()
        with capturedLogs():
            ready = self.process.start()
        self.successResultOf(self.process.stop())
        self.assertFalse(self.successResultOf(ready))
        self.reactor.advance(MAX_RESTART_DELAY)
        self.assertEqual(self.reactor.processes, [])

    def test_hangs(self) -> None:
        """One without heartbeats is killed and restarted, and the reason is logged."""
        process = self.start()
        process.be_ready()
        self.pass_time(HEARTBEAT_TIMEOUT)
        process.write(STATUS, HEARTBEAT)
        self.assertEqual(self.logged(lambda: self.pass_time(HEARTBEAT_TIMEOUT)), [])
        with capturedLogs() as events:
            self.pass_time(HEARTBEAT_TIMEOUT)
        self.assertEqual(process.signals, ["KILL"])
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.error)
        self.assertEqual(formatEvent(event), "killing cat: no heartbeat for 30 s")
        process.end(ProcessTerminated(signal=9))
        self.reactor.advance(0)
        self.assertIn("cat", self.reactor.alive)

    def test_late(self) -> None:
        """One that sends heartbeats and is not ready is logged once, and left alone."""
        process = self.start()

        def hang() -> None:
            for _ in range(20):
                process.write(STATUS, HEARTBEAT)
                self.reactor.advance(READY_TIMEOUT / 6)

        self.assertEqual(self.logged(hang), ["cat is not ready after 30 s"])
        self.assertEqual(process.signals, [])

    def test_stop(self) -> None:
        """All calls of `stop` fire once it has exited, which is expected."""
        process = self.start()
        stopped = self.process.stop(), self.process.stop()
        self.assertFalse(self.successResultOf(self.ready))
        self.assertEqual(process.signals, ["TERM"])
        for each in stopped:
            self.assertNoResult(each)
        self.assertEqual(self.logged(process.end), [])
        for each in (*stopped, self.process.stop()):
            self.successResultOf(each)
        self.reactor.advance(MAX_RESTART_DELAY)
        self.assertEqual(self.reactor.alive, {})
        self.assertEqual(self.exits, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_replaced(self) -> None:
        """One that has a successor is signalled that before it is to stop."""
        process = self.start()
        self.process.stop(replaced=True)
        self.assertEqual(process.signals, [HAS_SUCCESSOR, "TERM"])

    def test_killed(self) -> None:
        """One that does not stop in time is killed; it is not late then."""
        process = self.start()
        self.process.stop()
        self.reactor.advance(STOP_TIMEOUT)
        self.assertEqual(process.signals, ["TERM", "KILL"])
        self.assertEqual(self.logged(lambda: self.pass_time(READY_TIMEOUT)), [])

    def test_killed_though_replaced(self) -> None:
        """One that has a successor has the time to retire as well."""
        process = self.start()
        self.process.stop(replaced=True)
        self.reactor.advance(STOP_TIMEOUT + RETIRE_TIMEOUT - 1)
        self.assertEqual(process.signals, [HAS_SUCCESSOR, "TERM"])
        self.reactor.advance(1)
        self.assertEqual(process.signals, [HAS_SUCCESSOR, "TERM", "KILL"])

    def test_reread(self) -> None:
        """Files are read again by a process that has read them, if it runs."""
        self.process.reread()
        process = self.start()
        self.process.reread()
        self.assertEqual(process.signals, [])
        process.be_ready()
        self.process.reread()
        process.runs = False
        self.process.reread()
        self.assertEqual(process.signals, [REREAD])


class LogTests(SupervisedTestCase):
    """Output of a process."""

    def events(self, *written: tuple[int, bytes], end: bool = False) -> Sequence[Any]:
        """Return the events of a process's output."""
        process = self.start()
        with capturedLogs() as events:
            for descriptor, data in written:
                process.write(descriptor, data)
            if end:
                process.end()
        return events

    def test_event(self) -> None:
        """An event is logged here, with the name of its process."""
        passed = io.StringIO()

        class Beginner:
            def beginLoggingTo(self, observers: Any, **_: object) -> None:  # noqa: ANN401 - as LogBeginner
                self.observers = observers

        beginner: Any = Beginner()
        pass_on(passed, beginner)
        Logger("cats", observer=beginner.observers[0]).warn("{n} cats", n=3)
        line = passed.getvalue().encode()
        (event,) = self.events((LOG, line[:10]), (LOG, line[10:]))
        self.assertEqual(formatEvent(event), "3 cats")
        self.assertEqual(
            (event["process"], event["log_level"], event["log_namespace"]),
            ("cat", LogLevel.warn, "cats"),
        )

    def test_printed(self) -> None:
        """Text printed without a pause is one event, whatever bytes it has."""
        events = self.events((OUTPUT, b"on\xff\nt"), (OUTPUT, b"wo\n"), (LOG, b"{}\n"))
        self.assertEqual([formatEvent(event) for event in events], ["cat: {}"])
        with capturedLogs() as later:
            self.reactor.advance(1)
        self.assertEqual(
            [formatEvent(event) for event in later],
            ["cat: on\N{REPLACEMENT CHARACTER}\ntwo"],
        )

    def test_without_end(self) -> None:
        """Unfinished output is logged when the process ends."""
        event, _ = self.events((OUTPUT, b"one"), end=True)
        self.assertEqual(formatEvent(event), "cat: one")

    def test_long(self) -> None:
        """Long output is split: the buffer is bounded."""
        long = b"x" * 300_000
        events = self.events((OUTPUT, long), (LOG, long))
        self.assertEqual([len(event["text"]) for event in events], [300_000] * 2)
