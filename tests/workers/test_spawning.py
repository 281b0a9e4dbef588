"""Tests of asciid.workers._spawning."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.runner.procmon import ProcessMonitor
from twisted.trial.unittest import SynchronousTestCase

from asciid.logs import pass_on
from asciid.workers._spawning import (
    ALIVE,
    FIRST_INHERITED,
    GENERATIONS,
    LIFELINE,
    LOCK,
    LOG,
    READY,
    REREAD,
    SIGNS,
    Spawner,
)
from asciid.workers._watching import READY_WITHIN, SIGN_EVERY, SILENT_FOR
from tests.workers._played import PlayedProcess, PlayedReactor

if TYPE_CHECKING:
    from collections.abc import Sequence

PRINTED = 2


class SpawningTestCase(SynchronousTestCase):
    """One process, started by a monitor."""

    def setUp(self) -> None:
        """Start it."""
        self.reactor = PlayedReactor()
        self.ends: list[tuple[str, str]] = []
        self.ready: list[str] = []
        self.late: list[str] = []
        self.spawner = Spawner(
            self.reactor,
            self.ready.append,
            self.late.append,
            lambda *end: self.ends.append(end),
        )
        self.spawner.shared = {LOCK: 16, GENERATIONS: 15}
        self.spawner.inherited["cat"] = [17, 18]
        self.monitor = ProcessMonitor(self.spawner)
        self.monitor.startService()

    def start(self) -> PlayedProcess:
        """Start the process."""
        self.monitor.addProcess("cat", ["cat", "-"], env={"A": "1"})
        return self.reactor.alive["cat"]


class SpawnerTests(SpawningTestCase):
    """How a process is started, and what is known of it."""

    def test_descriptors(self) -> None:
        """It gets pipes to its parent, and what is handed down behind them."""
        process = self.start()
        self.assertEqual(
            process.descriptors,
            {
                LIFELINE: "w",
                LOG: "r",
                PRINTED: "r",
                SIGNS: "r",
                LOCK: 16,
                GENERATIONS: 15,
                FIRST_INHERITED: 17,
                FIRST_INHERITED + 1: 18,
            },
        )
        self.assertEqual(process.arguments, ["cat", "-"])
        self.assertEqual(process.environment, {"A": "1"})

    def test_ready(self) -> None:
        """Who waits for it hears when it does its work; who asks then, at once."""
        waiting = self.spawner.ready("cat")
        process = self.start()
        self.assertNoResult(waiting)
        process.be_ready()
        self.successResultOf(waiting)
        self.successResultOf(self.spawner.ready("cat"))
        self.assertEqual(self.ready, ["cat"])

    def test_alive(self) -> None:
        """One that lives is not ready for that; both may be said at once."""
        process = self.start()
        process.write(SIGNS, ALIVE)
        self.assertEqual(self.ready, [])
        process.write(SIGNS, ALIVE + READY + ALIVE)
        process.write(SIGNS, ALIVE)
        self.assertEqual(self.ready, ["cat"])

    def test_hangs(self) -> None:
        """One that gives no sign of life is killed, and the log says why, once."""
        process = self.start()
        process.be_ready()
        steps = round(SILENT_FOR / SIGN_EVERY)
        with capturedLogs() as events:
            self.reactor.pump([SIGN_EVERY] * steps)
            process.write(SIGNS, ALIVE)
            self.reactor.pump([SIGN_EVERY] * steps)
            self.assertEqual((process.signals, events), ([], []))
            self.reactor.pump([SIGN_EVERY] * steps)
        self.assertEqual(process.signals, ["KILL"])
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.error)
        self.assertEqual(
            formatEvent(event), "cat is killed: it gave no sign of life for 30 seconds"
        )
        process.end(ProcessTerminated(signal=9))
        self.reactor.advance(1)
        self.assertIn("cat", self.reactor.alive)

    def test_late(self) -> None:
        """The owner hears of one that lives and does not do its work."""
        process = self.start()
        for _ in range(20):
            process.write(SIGNS, ALIVE)
            self.reactor.advance(READY_WITHIN / 6)
        self.assertEqual((self.late, process.signals), (["cat"], []))

    def test_ready_given_up(self) -> None:
        """Who gave up waiting is told nothing."""
        waiting = self.spawner.ready("cat")
        waiting.addTimeout(1, self.reactor).addErrback(lambda _: None)
        self.reactor.advance(1)
        self.start().be_ready()
        self.successResultOf(waiting)

    def test_ended(self) -> None:
        """Who waits for its end hears of it, and so does the owner, and how it was."""
        self.successResultOf(self.spawner.ended("cat"))
        process = self.start()
        ended, given_up = self.spawner.ended("cat"), self.spawner.ended("cat")
        given_up.addErrback(lambda _: None).cancel()
        self.assertNoResult(ended)
        process.end(ProcessTerminated(signal=9))
        self.successResultOf(ended)
        self.successResultOf(self.spawner.ended("cat"))
        ((name, reason),) = self.ends
        self.assertEqual(name, "cat")
        self.assertIn("signal 9", reason)

    def test_started_again(self) -> None:
        """The monitor starts another one, which is not ready because the first was."""
        first = self.start()
        first.be_ready()
        self.reactor.advance(2)
        first.end()
        waiting = self.spawner.ready("cat")
        self.reactor.advance(1)
        second = self.reactor.alive["cat"]
        self.assertIsNot(second, first)
        self.assertNoResult(waiting)
        second.be_ready()
        self.successResultOf(waiting)

    def test_cannot_be_started(self) -> None:
        """Nobody waits for the end of one that never began."""
        self.reactor.spawn_error = BlockingIOError("no more processes")
        with capturedLogs() as events:
            self.monitor.addProcess("cat", ["cat"])
        (line,) = [formatEvent(event) for event in events]
        self.assertEqual(line, "cat cannot be started: no more processes")
        self.successResultOf(self.spawner.ended("cat"))
        self.reactor.advance(self.monitor.minRestartDelay)
        self.reactor.alive["cat"].be_ready()
        self.successResultOf(self.spawner.ready("cat"))

    def test_signals(self) -> None:
        """SIGHUP announces a successor; files are reread by who does its work."""
        self.spawner.announce_successor("cat")
        process = self.start()
        self.spawner.reread()
        self.spawner.announce_successor("cat")
        process.be_ready()
        self.spawner.reread()
        self.assertEqual(process.signals, ["HUP", REREAD])
        process.runs = False
        self.spawner.reread()
        self.assertEqual(process.signals, ["HUP", REREAD])

    def test_all_ended(self) -> None:
        """Who waits for the end of all hears of it when there is no process."""
        process = self.start()
        ended = Deferred.fromCoroutine(self.spawner.all_ended())
        self.assertNoResult(ended)
        process.end()
        self.successResultOf(ended)

    def test_killed(self) -> None:
        """One that does not heed SIGTERM is killed, by the reactor's clock."""
        process = self.start()
        self.monitor.stopService()
        self.assertEqual(len(self.spawner.getDelayedCalls()), 2)  # one is the watch's
        self.assertEqual(self.spawner.seconds(), 0)
        self.reactor.advance(self.monitor.killTime)
        self.assertEqual(process.signals, ["TERM", "KILL"])


class LogTests(SpawningTestCase):
    """What a process writes."""

    def logged(self, *written: tuple[int, bytes], end: bool = False) -> Sequence[Any]:
        """Return the events that come of what a process writes."""
        process = self.start()
        with capturedLogs() as events:
            for descriptor, data in written:
                process.write(descriptor, data)
            if end:
                process.end()
        return events

    def test_event(self) -> None:
        """An event is logged here, and tells which process it is from."""
        passed = io.StringIO()

        class Beginner:
            def beginLoggingTo(self, observers: Any, **_: object) -> None:  # noqa: ANN401 - as LogBeginner
                self.observers = observers

        beginner: Any = Beginner()
        pass_on(passed, beginner)
        Logger("cats", observer=beginner.observers[0]).warn("{n} cats", n=3)
        line = passed.getvalue().encode()
        (event,) = self.logged((LOG, line[:10]), (LOG, line[10:]))
        self.assertEqual(formatEvent(event), "3 cats")
        self.assertEqual(
            (event["process"], event["log_level"], event["log_namespace"]),
            ("cat", LogLevel.warn, "cats"),
        )

    def test_printed(self) -> None:
        """What it prints until it pauses is one event, whatever bytes it has."""
        events = self.logged(
            (PRINTED, b"on\xff\nt"), (PRINTED, b"wo\n"), (LOG, b"{}\n")
        )
        self.assertEqual([formatEvent(event) for event in events], ["cat: {}"])
        with capturedLogs() as later:
            self.reactor.advance(1)
        self.assertEqual(
            [formatEvent(event) for event in later],
            ["cat: on\N{REPLACEMENT CHARACTER}\ntwo"],
        )

    def test_without_end(self) -> None:
        """What was printed last is logged when the process ends."""
        (event,) = self.logged((PRINTED, b"one"), end=True)
        self.assertEqual(formatEvent(event), "cat: one")

    def test_long(self) -> None:
        """What is too long is cut: what is kept of it is bounded."""
        long = b"x" * 300_000
        events = self.logged((PRINTED, long), (LOG, long))
        self.assertEqual([len(event["text"]) for event in events], [300_000] * 2)
