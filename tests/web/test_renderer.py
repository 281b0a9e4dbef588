"""The client of the renderer, with simulated processes."""

from __future__ import annotations

import os
from itertools import pairwise
from signal import SIG_BLOCK, pthread_sigmask
from typing import TYPE_CHECKING, Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid import __version__
from asciid.web.jobs import (
    ANSWERS,
    BLOCKED_AT_START,
    JOBS,
    MAX_MESSAGE,
    PREFIX,
    PRINTED,
    TIME_LIMIT,
    CSSJob,
    Failed,
    MessageReader,
    Missing,
    Ready,
    Refused,
    Rendered,
    SVGJob,
    decode_job,
    framed,
)
from asciid.web.renderer import (
    IDLE_TIME,
    MAX_RESTART_DELAY,
    MAX_WAITING_BYTES,
    NO_RENDERER,
    START_LIMIT,
    NotRenderableError,
    Renderer,
    RendererBusyError,
    RenderingFailedError,
)
from tests._played_process import PlayedProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.protocol import ProcessProtocol

    from asciid.web.jobs import AnyAnswer, AnyJob

JOB = CSSJob(text=b"art")
OTHER = SVGJob(text=b"other art")


@define(eq=False)
class Process(PlayedProcess):
    """A renderer, as far as its client sees it."""

    mask: set[Any] = field(factory=lambda: set(pthread_sigmask(SIG_BLOCK, [])))
    """The signals that were blocked when it was started."""
    reader: MessageReader = field(factory=MessageReader)

    def jobs(self) -> list[AnyJob]:
        """Return the jobs that arrived since the last call."""
        received = self.received.pop(JOBS, b"")
        return [decode_job(body) for body in self.reader.feed(received)]

    def send(self, answer: AnyAnswer, *, pieces: int = 1) -> None:
        """Have it answer, in pieces."""
        data = framed(answer)
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            self.write(ANSWERS, data[start : start + size])

    def ready(self) -> None:
        """Have it be ready."""
        self.send(Ready(version=__version__))


class ProcessClock(Clock):
    """A reactor that plays processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.error: OSError | None = None

    def spawnProcess(
        self,
        protocol: ProcessProtocol,
        executable: str,
        arguments: list[str],
        *,
        env: Mapping[str, str],
        childFDs: Mapping[int, int | str],
    ) -> None:
        """Start a process; see `IReactorProcess`."""
        assert executable == arguments[0]
        assert childFDs == {JOBS: "w", ANSWERS: "r", PRINTED: "r"}
        if self.error is not None:
            raise self.error
        process = Process(protocol, arguments, env, childFDs)
        protocol.transport = process  # type: ignore[assignment] # as far as it is used
        self.processes.append(process)


def called(waiting: list[Deferred[Rendered | Missing]]) -> int:
    """Return how many of these have fired."""
    return sum(done.called for done in waiting)


class RendererTests(SynchronousTestCase):
    """The client of the renderer."""

    def setUp(self) -> None:
        """Make a renderer whose process is not started yet."""
        self.reactor = ProcessClock()
        self.renderer = Renderer(self.reactor, max_waiting=6)

    @property
    def process(self) -> Process:
        """The process that was started last."""
        return self.reactor.processes[-1]

    def render_to(self, job: AnyJob = JOB) -> tuple[Deferred[Any], Process]:
        """Return a job that a process has, and the process, which is ready."""
        done = self.renderer.render(job)
        if not self.process.received:
            self.process.ready()
        self.assertEqual(self.process.jobs(), [job])
        return done, self.process

    def test_started_for_the_first_job(self) -> None:
        """The process starts with the first job, and gets it once it is ready."""
        self.assertEqual(self.reactor.processes, [])
        done = self.renderer.render(JOB)
        [process] = self.reactor.processes
        self.assertEqual(process.arguments[1:3], ["-P", "-m"])
        self.assertFalse(process.received)
        process.ready()
        self.assertEqual(process.jobs(), [JOB])
        process.send(Rendered(body=b"css", gzip=b"gz"), pieces=7)
        self.assertEqual(self.successResultOf(done), Rendered(body=b"css", gzip=b"gz"))
        self.assertEqual(len(self.reactor.processes), 1)

    def test_signals(self) -> None:
        """Signals to the whole process group do not end it while it starts."""
        before = pthread_sigmask(SIG_BLOCK, [])
        self.renderer.render(JOB)
        self.assertLessEqual(set(BLOCKED_AT_START), self.process.mask)
        self.assertEqual(pthread_sigmask(SIG_BLOCK, []), before)

    def test_environment(self) -> None:
        """It gets what Python needs, and no secrets of the daemon."""
        for name, value in {
            "ASCIID_WRITE_TOKEN_FILE": "/secret",
            "CREDENTIALS_DIRECTORY": "/secret",
            "PYTHONPATH": "/modules",
            "PYTHONINSPECT": "1",
            "PATH": "/bin",
        }.items():
            self.patch(os, "environ", {**os.environ, name: value})
        self.renderer.render(JOB)
        environment = self.process.environment
        self.assertEqual(environment["PYTHONPATH"], "/modules")
        self.assertEqual(environment["PATH"], "/bin")
        self.assertNotIn("/secret", environment.values())
        self.assertNotIn("PYTHONINSPECT", environment)

    def test_one_at_a_time(self) -> None:
        """Jobs are done in order, each after the answer to the one before."""
        first, process = self.render_to()
        second = self.renderer.render(OTHER)
        self.assertEqual(self.renderer.stats.waiting, 2)
        self.assertEqual(process.jobs(), [])
        process.send(Rendered(body=b"1"))
        self.assertEqual(self.successResultOf(first).body, b"1")
        self.assertEqual(process.jobs(), [OTHER])
        process.send(Missing(hashes=("ab",)))
        self.assertEqual(self.successResultOf(second), Missing(hashes=("ab",)))
        self.assertEqual(self.renderer.stats.waiting, 0)
        self.assertEqual(self.renderer.stats.seconds.count, 2)

    def test_bounded(self) -> None:
        """More jobs than may wait are refused at once."""
        _, process = self.render_to()
        waiting = [self.renderer.render(JOB, str(number)) for number in range(6)]
        self.failureResultOf(self.renderer.render(JOB, "other"), RendererBusyError)
        self.assertEqual(self.renderer.stats.refused, 1)
        process.send(Rendered(body=b""))
        waiting.append(self.renderer.render(JOB, "other"))
        for done in waiting:
            process.send(Rendered(body=b""))
            self.successResultOf(done)

    def test_bounded_by_client(self) -> None:
        """A client leaves as many places free as it has."""
        _, process = self.render_to()
        first = [self.renderer.render(JOB, "a") for _ in range(3)]
        self.failureResultOf(self.renderer.render(JOB, "a"), RendererBusyError)
        second = [self.renderer.render(JOB, "b")]
        self.failureResultOf(self.renderer.render(JOB, "a"), RendererBusyError)
        second.append(self.renderer.render(JOB, "b"))
        self.failureResultOf(self.renderer.render(JOB, "b"), RendererBusyError)
        third = self.renderer.render(JOB, "c")
        process.send(Rendered(body=b""))
        for done in (first[0], second[0], third, first[1], second[1], first[2]):
            self.assertNoResult(done)
            process.send(Rendered(body=b""))
            self.successResultOf(done)

    def test_turns(self) -> None:
        """Clients take turns, however many jobs of theirs wait."""
        _, process = self.render_to()
        jobs = {
            name: [self.renderer.render(JOB, name) for _ in range(count)]
            for name, count in (("a", 3), ("b", 1), ("c", 1))
        }
        order = []
        process.send(Rendered(body=b""))
        for _ in range(5):
            before = {name: called(waiting) for name, waiting in jobs.items()}
            process.send(Rendered(body=b""))
            order += [name for name in jobs if called(jobs[name]) > before[name]]
        self.assertEqual(order, ["a", "b", "c", "a", "a"])

    def test_bounded_by_bytes(self) -> None:
        """More bytes than may wait are refused, and counted off when they are sent."""
        large = CSSJob(text=bytes(MAX_WAITING_BYTES // 2 + 1))
        small = CSSJob(text=bytes(MAX_WAITING_BYTES // 4 + 1))
        _, process = self.render_to()
        first = self.renderer.render(large, "a")
        self.failureResultOf(self.renderer.render(large, "b"), RendererBusyError)
        self.failureResultOf(self.renderer.render(small, "a"), RendererBusyError)
        second = self.renderer.render(small, "b")
        process.send(Rendered(body=b""))
        third = self.renderer.render(large, "c")
        for done in (first, second, third):
            process.send(Rendered(body=b""))
            self.successResultOf(done)

    def test_cancelled_while_waiting(self) -> None:
        """A job that is cancelled before it is begun is not done."""
        first, process = self.render_to()
        second = self.renderer.render(OTHER)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        process.send(Rendered(body=b""))
        self.successResultOf(first)
        self.assertEqual(process.jobs(), [])

    def test_cancelled_while_done(self) -> None:
        """The answer to a cancelled job is ignored, and the next one is done."""
        first, process = self.render_to()
        second = self.renderer.render(OTHER)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        process.send(Rendered(body=b"1"))
        process.send(Rendered(body=b"2"))
        self.assertEqual(self.successResultOf(second), Rendered(body=b"2"))

    def test_not_renderable(self) -> None:
        """An image that has no such rendering is refused with the reason."""
        done, process = self.render_to()
        process.send(Refused(reason="The image is too wide."))
        error = self.failureResultOf(done, NotRenderableError).value
        self.assertEqual(str(error), "The image is too wide.")
        self.assertEqual(self.renderer.stats.failures, 0)

    def test_failed(self) -> None:
        """A mistake in the renderer is logged, and the process goes on."""
        done, process = self.render_to()
        with capturedLogs() as events:
            process.send(Failed(report="Traceback: KeyError"))
        self.failureResultOf(done, RenderingFailedError)
        self.assertIn("KeyError", str(formatEvent(events[0])))
        self.assertEqual(self.renderer.stats.failures, 1)
        done, again = self.render_to()
        self.assertIs(again, process)

    def test_killed(self) -> None:
        """A process that dies fails its job alone; another one does the next."""
        first, process = self.render_to()
        second = self.renderer.render(OTHER)
        with capturedLogs() as events:
            process.write(PRINTED, b"Fatal Python error")
            process.end(ProcessTerminated(signal=9))
        self.failureResultOf(first, RenderingFailedError)
        text = "\n".join(str(formatEvent(event)) for event in events)
        self.assertIn("Fatal Python error", text)
        self.assertIn("signal 9", text)
        self.assertIsNot(self.process, process)
        self.process.ready()
        self.assertEqual(self.process.jobs(), [OTHER])
        self.process.send(Rendered(body=b"2"))
        self.assertEqual(self.successResultOf(second), Rendered(body=b"2"))
        self.assertEqual(self.renderer.stats.starts, 2)

    def test_killed_while_idle(self) -> None:
        """A job that is requested before the exit is reported has the next process."""
        first, process = self.render_to()
        process.send(Rendered(body=b"1"))
        self.successResultOf(first)
        process.close(JOBS)
        second = self.renderer.render(OTHER)
        self.assertNoResult(second)
        process.end(ProcessTerminated(signal=9))
        self.assertIsNot(self.process, process)
        self.process.ready()
        self.assertEqual(self.process.jobs(), [OTHER])
        self.process.send(Rendered(body=b"2"))
        self.assertEqual(self.successResultOf(second), Rendered(body=b"2"))

    def test_closes_its_input(self) -> None:
        """A process that reads no more jobs, but does not exit, is killed."""
        _, process = self.render_to()
        process.close(JOBS)
        self.assertTrue(process.killed)

    def test_hangs(self) -> None:
        """A job that takes too long is killed with its process."""
        done, process = self.render_to()
        self.reactor.advance(TIME_LIMIT - 0.1)
        self.assertFalse(process.killed)
        with capturedLogs() as events:
            self.reactor.advance(0.2)
            self.assertTrue(process.killed)
            # What it had written is too late.
            process.send(Rendered(body=b"late"))
            process.end(ProcessTerminated(signal=9))
        self.failureResultOf(done, RenderingFailedError)
        self.assertIn("more than 5 s", str(formatEvent(events[-1])))

    def test_time_of_each(self) -> None:
        """Each job has its own time, which does not include waiting."""
        first, process = self.render_to()
        second = self.renderer.render(OTHER)
        self.reactor.advance(TIME_LIMIT - 1)
        process.send(Rendered(body=b"1"))
        self.reactor.advance(TIME_LIMIT - 1)
        process.send(Rendered(body=b"2"))
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertFalse(process.killed)

    def test_not_ready(self) -> None:
        """A process that is not ready in time is killed, and its jobs are refused."""
        done = self.renderer.render(JOB)
        self.reactor.advance(START_LIMIT + 1)
        self.assertTrue(self.process.killed)
        self.process.end(ProcessTerminated(signal=9))
        self.failureResultOf(done, RendererBusyError)

    def test_back_off(self) -> None:
        """A process that cannot start is not started for each request."""
        delay = 1.0
        for _ in range(8):
            done = self.renderer.render(JOB)
            self.process.end(ProcessTerminated(1))
            self.failureResultOf(done, RendererBusyError)
            before = len(self.reactor.processes)
            self.reactor.advance(delay - 0.1)
            self.failureResultOf(self.renderer.render(JOB), RendererBusyError)
            self.assertEqual(len(self.reactor.processes), before)
            self.reactor.advance(0.1)
            delay = min(2 * delay, MAX_RESTART_DELAY)
        # One that was ready ends that.
        done, process = self.render_to()
        process.end(ProcessTerminated(signal=9))
        self.failureResultOf(done, RenderingFailedError)
        self.render_to()

    def test_cannot_start(self) -> None:
        """If the system starts no process, jobs are refused for a while."""
        self.reactor.error = OSError(11, "Resource temporarily unavailable")
        with capturedLogs() as events:
            self.failureResultOf(self.renderer.render(JOB), RendererBusyError)
        self.assertIn("temporarily unavailable", str(formatEvent(events[0])))
        self.reactor.error = None
        self.failureResultOf(self.renderer.render(JOB), RendererBusyError)
        self.reactor.advance(1)
        self.render_to()

    def test_another_release(self) -> None:
        """After an upgrade of the files under a running daemon nothing is rendered."""
        done = self.renderer.render(JOB)
        with capturedLogs() as events:
            self.process.send(Ready(version="0"))
            self.assertTrue(self.process.killed)
            self.process.end(ProcessTerminated(signal=9))
        self.failureResultOf(done, RendererBusyError)
        self.assertIn("another release", str(formatEvent(events[-1])))

    def test_garbage(self) -> None:
        """A process whose output is invalid is killed."""
        answer = framed(Rendered(body=b"1"))
        for garbage in (
            b"\0\0\0\4junk",
            b"\0\0\0\0",
            (MAX_MESSAGE + 1).to_bytes(PREFIX, "big"),
            b"Traceback (most recent call last)",
            framed(Ready(version=__version__)),
            answer + answer,
        ):
            with self.subTest(garbage=garbage[:20]):
                done, process = self.render_to()
                process.write(ANSWERS, garbage)
                process.end(ProcessTerminated(signal=9))
                self.assertTrue(done.called)
                done.addErrback(lambda failure: failure.trap(RenderingFailedError))
                self.assertNotEqual(self.renderer.stats.failures, 0)
                process.killed = False

    def test_unasked(self) -> None:
        """A process that answers before it is ready, or without a job, is killed."""
        for ready in (False, True):
            done = self.renderer.render(JOB)
            process = self.process
            if ready:
                process.ready()
                process.send(Rendered(body=b""))
            process.send(Rendered(body=b""))
            self.assertTrue(process.killed)
            process.end(ProcessTerminated(signal=9))
            done.addErrback(lambda failure: failure.trap(RendererBusyError))
            self.reactor.advance(1)

    def test_idle(self) -> None:
        """An idle process is ended, and another one started when it is needed."""
        done, process = self.render_to()
        process.send(Rendered(body=b"1"))
        self.successResultOf(done)
        self.reactor.advance(IDLE_TIME - 1)
        done, _ = self.render_to()
        process.send(Rendered(body=b"1"))
        self.successResultOf(done)
        self.reactor.advance(IDLE_TIME - 1)
        self.assertEqual(process.closed, set())
        self.reactor.advance(1)
        self.assertEqual(process.closed, {JOBS})
        # A job arrives before it has exited.
        done = self.renderer.render(OTHER)
        self.assertFalse(process.received)
        with capturedLogs() as events:
            process.end()
        self.assertEqual(events, [])
        self.assertIsNot(self.process, process)
        self.process.ready()
        self.assertEqual(self.process.jobs(), [OTHER])

    def test_idle_that_hangs(self) -> None:
        """An idle process that does not exit is killed."""
        done, process = self.render_to()
        process.send(Rendered(body=b"1"))
        self.successResultOf(done)
        self.reactor.advance(IDLE_TIME)
        self.reactor.advance(TIME_LIMIT)
        self.assertTrue(process.killed)

    def test_stop(self) -> None:
        """The stop fails all jobs and kills the process, whatever it does."""
        first, process = self.render_to()
        second = self.renderer.render(OTHER)
        stopping = self.renderer.stop()
        self.assertTrue(process.killed)
        self.failureResultOf(second, RendererBusyError)
        self.failureResultOf(self.renderer.render(JOB), RendererBusyError)
        self.assertNoResult(stopping)
        with capturedLogs() as events:
            process.end(ProcessTerminated(signal=9))
        self.assertEqual(events, [])
        self.failureResultOf(first, RenderingFailedError)
        self.successResultOf(stopping)
        self.successResultOf(self.renderer.stop())
        self.assertEqual(len(self.reactor.processes), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_without_process(self) -> None:
        """A renderer that rendered nothing stops at once."""
        self.successResultOf(self.renderer.stop())

    def test_stop_while_it_starts(self) -> None:
        """A process that is not ready yet at the stop gets no job."""
        done = self.renderer.render(JOB)
        stopping = self.renderer.stop()
        self.failureResultOf(done, RendererBusyError)
        self.process.ready()
        self.assertEqual(self.process.jobs(), [])
        self.process.end(ProcessTerminated(signal=9))
        self.successResultOf(stopping)

    def test_exited_when_killed(self) -> None:
        """A process that has exited just before it is killed is no problem."""
        done, process = self.render_to()
        process.killed = True
        self.reactor.advance(TIME_LIMIT)
        process.end()
        self.failureResultOf(done, RenderingFailedError)

    def test_none(self) -> None:
        """A service without a renderer renders nothing."""
        self.failureResultOf(NO_RENDERER.render(JOB), RendererBusyError)
        self.successResultOf(NO_RENDERER.stop())


class MessageReaderTests(SynchronousTestCase):
    """Messages that arrive in pieces."""

    @given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 200)))
    def test_pieces(self, bodies: list[bytes], cuts: list[int]) -> None:
        """Messages arrive whole and in order, wherever the stream is cut."""
        sent = b"".join(len(body).to_bytes(PREFIX, "big") + body for body in bodies)
        ends = sorted({min(cut, len(sent)) for cut in cuts} | {0, len(sent)})
        reader = MessageReader()
        received = [
            body
            for start, end in pairwise(ends)
            for body in reader.feed(sent[start:end])
        ]
        self.assertEqual(received, bodies)
