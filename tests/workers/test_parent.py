"""Tests of asciid.workers.parent."""

from __future__ import annotations

import io
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ProcessTerminated
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings
from asciid.daemon import storing
from asciid.daemon.host import Host
from asciid.engines.lmdb import _lock
from asciid.engines.lmdb._environment import DATA_FILE
from asciid.engines.lmdb.maintenance import StorageLock
from asciid.net.listener import StartError
from asciid.net.sockets import open_sockets
from asciid.testing import ManualThreadPool
from asciid.workers import parent as parent_module
from asciid.workers._inheritance import (
    FIRST_INHERITED,
    HAS_SUCCESSOR,
    HEARTBEAT,
    REREAD,
    STATUS,
)
from asciid.workers._processes import KILL_AFTER, REPLACED_WITHIN, WRITER
from asciid.workers._record import recorded_exits
from asciid.workers._watchdog import (
    HEARTBEAT_INTERVAL,
    HEARTBEAT_TIMEOUT,
    READY_TIMEOUT,
)
from asciid.workers.parent import Parent
from tests.integration._certificate import write_certificate
from tests.workers._played import PlayedProcess, PlayedReactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.net.description import Description
    from asciid.net.sockets import ListeningSockets

DRAIN = 10
PORT = "tcp:0:interface=127.0.0.1"


class RecordedHost(Host):
    """A process that records its reports."""

    def __init__(self, reactor: PlayedReactor) -> None:
        super().__init__(reactor)
        self.reports: list[str] = []

    def serving(self, status: str) -> None:
        """Note it."""
        self.reports.append(status)

    def stopping(self) -> None:
        """Note it."""
        self.reports.append("stopping")

    def fail(self) -> None:
        """Note it."""
        self.reports.append("failed")


class ParentTestCase(SynchronousTestCase):
    """A parent whose processes are played."""

    def setUp(self) -> None:
        """Make a parent of two."""
        self.reactor = PlayedReactor()
        self.storage = Path(self.mktemp())
        self.host = RecordedHost(self.reactor)
        self.environment: dict[str, str] = {}
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)
        self.sockets: list[socket.socket] = []
        """The opened sockets."""
        self.patch(parent_module, "open_sockets", self.open_sockets)

    def open_sockets(self, description: Description, count: int) -> ListeningSockets:
        """Open the sockets of an endpoint."""
        opened = open_sockets(description, count)
        self.sockets += opened.sockets
        return opened

    def make(self, **options: Any) -> Parent:  # noqa: ANN401 - those of Settings
        """Return a parent."""
        chosen = {"sync": True, "workers": 2, "drain_timeout": DRAIN, **options}
        environment = {"ASCIID_WORKERS": "2", **self.environment}
        self.parent = Parent(
            Settings(PORT, self.storage, 1, 1, **chosen), self.host, environment
        )
        return self.parent

    def start(self, **options: Any) -> list[str]:  # noqa: ANN401 - as make
        """Start a parent and all processes; return the log lines."""
        with capturedLogs() as events:
            self.make(**options).startService()
            for name in (WRITER, "worker-1.1", "worker-2.1"):
                self.reactor.alive[name].be_ready()
        return [str(formatEvent(event)) for event in events]

    def let_live(self, seconds: float, hung: PlayedProcess | None = None) -> None:
        """Advance the time, with heartbeats of all processes but one."""
        for _ in range(round(seconds / HEARTBEAT_INTERVAL)):
            self.reactor.advance(HEARTBEAT_INTERVAL)
            for process in self.reactor.alive.values():
                if process is not hung:
                    process.write(STATUS, HEARTBEAT)

    def logged(self, act: Callable[[], object]) -> list[str]:
        """Return the log lines meanwhile."""
        with capturedLogs() as events:
            act()
        return [str(formatEvent(event)) for event in events]


class StartTests(ParentTestCase):
    """From the ports to all processes."""

    def test_order(self) -> None:
        """The workers start once the writer writes; then the daemon is announced."""
        parent = self.make(metrics_port=PORT)
        parent.privilegedStartService()
        # One for each of two workers, on each of two ports.
        port, same, metrics_port, _ = (s.getsockname()[1] for s in self.sockets)
        self.assertEqual(port, same)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.processes, [])
        self.assertFalse(self.storage.exists())
        parent.startService()
        self.assertEqual(list(self.reactor.alive), [WRITER])
        self.assertTrue((self.storage / DATA_FILE).exists())
        self.reactor.alive[WRITER].be_ready()
        self.assertEqual(list(self.reactor.alive), [WRITER, "worker-1.1", "worker-2.1"])
        self.reactor.alive["worker-2.1"].be_ready()
        line, metrics = self.logged(self.reactor.alive["worker-1.1"].be_ready)
        self.assertEqual(metrics, f"metrics listening on 127.0.0.1:{metrics_port}")
        self.assertIn(f"listens on 127.0.0.1:{port}, ", line)
        self.assertIn("images 0, pending uploads 0, sync on, workers 2", line)
        self.assertEqual(self.host.reports, [f"Serving on 127.0.0.1:{port}, 2 workers"])

    def test_body_limit(self) -> None:
        """Where workers hold more of bodies than was set, the amount is logged."""
        lines = self.start(max_bodies=1000)
        self.assertIn("may hold 524288 bytes, not 1000", lines[-1])

    def test_processes(self) -> None:
        """
        Workers inherit the sockets; the writer inherits the record of exits alone.

        Each gets the environment.
        """
        self.start(metrics_port=PORT)
        alive = self.reactor.alive
        for name, role in ((WRITER, "writer"), ("worker-1.1", "worker")):
            process = alive[name]
            self.assertEqual(
                process.arguments,
                [sys.executable, "-P", "-m", "asciid.workers", role],
            )
            self.assertEqual(process.environment, {"ASCIID_WORKERS": "2"})
        (record,) = inherited(alive[WRITER])
        self.assertEqual(recorded_exits(record), 0)
        first, second, third, fourth = (each.fileno() for each in self.sockets)
        self.assertEqual(inherited(alive["worker-1.1"]), [second, fourth])
        self.assertEqual(inherited(alive["worker-2.1"]), [first, third])

    def test_systemd(self) -> None:
        """Processes do not look for what systemd has handed to the parent."""
        self.environment = {"ASCIID_PORT": "systemd:domain=INET:index=0"}
        self.start()
        for process in self.reactor.processes:
            self.assertEqual(process.environment["ASCIID_PORT"], "tcp:port=0")

    def test_no_sync(self) -> None:
        """A daemon that does not sync logs the risk."""
        announced, risk = self.start(sync=False)
        self.assertIn("sync off", announced)
        self.assertIn("a power cut loses acknowledged writes", risk)

    def test_start_that_breaks(self) -> None:
        """An unexpected error is logged, and is reported to the owner, once."""
        with capturedLogs():
            self.make().startService()
        self.patch(parent_module, "announce", self.raise_key_error)
        self.reactor.alive[WRITER].be_ready()
        self.reactor.alive["worker-1.1"].be_ready()
        (line,) = self.logged(self.reactor.alive["worker-2.1"].be_ready)
        self.assertEqual(line, "cannot start the processes")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.host.reports, ["failed"])

    def test_start_that_breaks_late(self) -> None:
        """A parent that stops has nothing to report."""
        with capturedLogs():
            self.make().startService()
        self.patch(parent_module, "announce", self.raise_key_error)
        self.reactor.alive[WRITER].be_ready()
        self.reactor.alive["worker-1.1"].be_ready()
        self.parent.running = False
        self.logged(self.reactor.alive["worker-2.1"].be_ready)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.host.reports, [])

    def test_never_started(self) -> None:
        """A parent that was bound alone frees its ports."""
        parent = self.make()
        parent.privilegedStartService()
        self.successResultOf(parent.stopService())
        self.assertEqual({each.fileno() for each in self.sockets}, {-1})

    def raise_key_error(self, *_: object, **__: object) -> None:
        """Break."""
        raise KeyError

    def test_new_storage(self) -> None:
        """The directories above a new storage are synced before a process starts."""
        synced: list[Path] = []

        def sync(path: Path) -> None:
            self.assertEqual(self.reactor.alive, {})
            synced.append(path)

        self.patch(_lock, "sync_directory", sync)
        self.storage = self.storage.absolute() / "a" / "b"
        self.start()
        above = self.storage.parents
        self.assertEqual(synced[:3], [above[0], above[1], above[2]])


class RefusalTests(ParentTestCase):
    """Starts that cannot succeed: one line on stderr and in the log."""

    def assert_refused(self, what: str, **options: Any) -> None:  # noqa: ANN401 - as make
        """Check that the start fails, and that no port is kept and no process runs."""
        parent = self.make(**options)
        with capturedLogs() as events:
            error = self.assertRaises(StartError, parent.startService)
        self.assertIn(what, str(error))
        self.assertEqual(self.stderr.getvalue(), f"{error}\n")
        self.assertEqual([formatEvent(event) for event in events], [str(error)])
        self.assertEqual({each.fileno() for each in self.sockets} - {-1}, set())
        self.assertEqual(self.reactor.processes, [])

    def test_port(self) -> None:
        """If one of two ports is taken, the other is freed."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            self.assert_refused(f"cannot listen on {taken}", metrics_port=taken)
        self.assertEqual(len(self.sockets), 2)

    def test_plugin(self) -> None:
        """The sockets of an endpoint that a plugin opens cannot be shared."""
        self.assert_refused(
            "--workers requires an endpoint tcp, tcp6, ssl, unix or systemd",
            metrics_port="tls:certificates:tcp:0",
        )

    def test_storage(self) -> None:
        """The storage is none."""
        self.storage.touch()
        self.assert_refused("cannot use the storage")

    def test_storage_of_something_else(self) -> None:
        """The storage holds a file that is not LMDB's."""
        self.storage.mkdir()
        (self.storage / DATA_FILE).write_bytes(b"not a storage file" * 1000)
        self.assert_refused("does not hold asciid images")

    def test_second(self) -> None:
        """Another process has the storage."""
        self.patch(storing, "StorageLock", partial(StorageLock, timeout=0.0))
        other = StorageLock(self.storage)
        other.acquire()
        self.addCleanup(other.release)
        self.assert_refused(f": in use by asciid, pid {os.getpid()} on host ")
        # A refused parent leaves nothing locked itself.
        other.release()
        other.acquire()

    def test_tokens(self) -> None:
        """The token file has no token."""
        path = Path(self.mktemp())
        path.touch()
        self.assert_refused(
            f"cannot use the write tokens in {path}", write_token_file=path
        )

    def test_certificate(self) -> None:
        """The certificate for the metrics cannot be read any more."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        write_certificate(directory)
        files = f"privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        parent = self.make(metrics_port=f"ssl:0:{files}")
        (directory / "key.pem").write_text("no key")
        error = self.assertRaises(StartError, parent.startService)
        self.assertIn(
            f"no PEM private key in privateKey {directory}/key.pem", str(error)
        )


class EndTests(ParentTestCase):
    """Processes that exit unexpectedly, and stopped ones."""

    def test_started_again(self) -> None:
        """One that exits is restarted, and its exit is logged."""
        self.start()
        killed = self.reactor.alive["worker-1.1"]
        (line,) = self.logged(lambda: killed.end(ProcessTerminated(signal=9)))
        self.assertTrue(line.startswith("worker-1.1 exited: "), line)
        # At once: it had done its work, however short its life.
        self.reactor.advance(0)
        self.assertIn("worker-1.1", self.reactor.alive)
        (record,) = inherited(self.reactor.alive[WRITER])
        self.assertEqual(recorded_exits(record), 1)
        self.assertEqual(
            inherited(self.reactor.alive["worker-1.1"]), [self.sockets[1].fileno()]
        )

    def test_hangs(self) -> None:
        """One that hangs is killed, and another takes its place."""
        self.start()
        hung = self.reactor.alive["worker-1.1"]
        (line,) = self.logged(lambda: self.let_live(2 * HEARTBEAT_TIMEOUT, hung))
        self.assertIn("killing worker-1.1: ", line)
        self.assertEqual(hung.signals, ["KILL"])
        hung.end(ProcessTerminated(signal=9))
        self.reactor.advance(0)
        self.assertIsNot(self.reactor.alive["worker-1.1"], hung)
        self.assertEqual(self.reactor.alive["worker-2.1"].signals, [])

    def test_late(self) -> None:
        """One that is not ready after a restart is logged, once."""
        self.start()
        self.reactor.alive["worker-1.1"].end(ProcessTerminated(signal=9))
        lines = self.logged(lambda: self.let_live(2 * READY_TIMEOUT))
        late = [line for line in lines if "not ready" in line]
        self.assertEqual(late, ["worker-1.1 is not ready after 30 s"])

    def test_stop(self) -> None:
        """All are stopped, and the ports are closed; it exits after them."""
        self.start()
        processes = self.reactor.alive
        (record,) = inherited(processes[WRITER])
        stopped = self.parent.stopService()
        self.assertEqual(self.host.reports[1:], ["stopping"])
        for process in processes.values():
            self.assertEqual(process.signals, ["TERM"])
            self.assertNoResult(stopped)
            self.assertEqual({each.fileno() for each in self.sockets}, {-1})
            self.assertEqual(recorded_exits(record), 0)
            self.assertEqual(self.logged(process.end), [])
        self.successResultOf(stopped)
        self.assertRaises(OSError, recorded_exits, record)
        self.reactor.advance(60)
        self.assertEqual(self.reactor.alive, {})

    def test_stop_before_all_run(self) -> None:
        """Stopped while the writer starts, no worker is started any more."""
        self.make().startService()
        stopped = self.parent.stopService()
        self.reactor.alive[WRITER].be_ready()
        self.reactor.alive[WRITER].end()
        self.successResultOf(stopped)
        self.assertEqual(len(self.reactor.processes), 1)

    def test_killed(self) -> None:
        """One that does not end after the time to drain is killed."""
        self.start()
        worker = self.reactor.alive["worker-1.1"]
        self.parent.stopService()
        self.reactor.advance(DRAIN + KILL_AFTER)
        self.assertEqual(worker.signals, ["TERM", "KILL"])


class RestartTests(ParentTestCase):
    """Every process is replaced, one after the other."""

    def replace_workers(self, generation: int) -> None:
        """Have a successor of each worker be ready, and the old one exit."""
        for number in (1, 2):
            old = self.reactor.alive[f"worker-{number}.{generation}"]
            new = self.reactor.alive[f"worker-{number}.{generation + 1}"]
            self.assertEqual(old.signals, [])
            new.be_ready()
            self.assertEqual(old.signals, [HAS_SUCCESSOR, "TERM"])
            old.end()

    def replace_writer(self) -> None:
        """Have the writer exit, and the next one be ready."""
        old = self.reactor.alive[WRITER]
        self.assertEqual(old.signals, [HAS_SUCCESSOR, "TERM"])
        old.end()
        self.reactor.advance(0)
        self.reactor.alive[WRITER].be_ready()

    def test_one_after_the_other(self) -> None:
        """A worker ends once there is another, the writer before; each in its turn."""
        self.start()
        self.parent.restart()
        self.assertNotIn("worker-2.2", self.reactor.alive)
        self.assertEqual(
            inherited(self.reactor.alive["worker-1.2"]), [self.sockets[1].fileno()]
        )
        lines = self.logged(lambda: self.replace_workers(1))
        self.assertEqual(lines, [])
        self.assertEqual(self.logged(self.replace_writer), ["rolling restart complete"])
        (record,) = inherited(self.reactor.alive[WRITER])
        self.assertEqual(recorded_exits(record), 0)
        self.reactor.advance(60)
        self.assertEqual(
            sorted(self.reactor.alive), ["worker-1.2", "worker-2.2", WRITER]
        )

    def test_requested_meanwhile(self) -> None:
        """Requests during a restart cause one more, so that changes reach all."""
        self.start()
        self.parent.restart()
        self.replace_workers(1)
        self.parent.restart()
        self.parent.restart()
        self.replace_writer()
        self.replace_workers(2)
        self.replace_writer()
        self.assertEqual(len(self.reactor.processes), 9)

    def test_requested_while_processes_start(self) -> None:
        """Requested while the processes start, it waits until all of them are ready."""
        self.make().startService()
        self.parent.restart()
        self.reactor.alive[WRITER].be_ready()
        self.parent.restart()
        self.reactor.alive["worker-1.1"].be_ready()
        self.assertEqual(list(self.reactor.alive), [WRITER, "worker-1.1", "worker-2.1"])
        self.reactor.alive["worker-2.1"].be_ready()
        self.replace_workers(1)
        self.assertEqual(self.logged(self.replace_writer), ["rolling restart complete"])
        self.assertEqual(len(self.reactor.processes), 6)

    def test_stopped_before_it_began(self) -> None:
        """Nothing is replaced by a parent that was stopped while it started."""
        self.make().startService()
        self.parent.restart()
        self.parent.stopService()
        self.reactor.alive[WRITER].be_ready()
        self.assertEqual(list(self.reactor.alive), [WRITER])

    def test_stopped_while_certificates_are_read(self) -> None:
        """No process is started after the stop."""
        directory = Path(self.mktemp())
        directory.mkdir()
        write_certificate(directory)
        files = f"privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        self.start(metrics_port=f"ssl:0:{files}:interface=127.0.0.1")
        pool = ManualThreadPool()
        self.patch(self.reactor, "getThreadPool", lambda: pool)
        restarted = self.parent.restart()
        stopped = self.parent.stopService()
        pool.step()
        self.assertEqual(len(self.reactor.processes), 3)
        for process in list(self.reactor.alive.values()):
            process.end()
        self.successResultOf(stopped)
        self.successResultOf(restarted)

    def test_stopped_while_the_writer_is_replaced(self) -> None:
        """No other writer is started."""
        self.start()
        restarted = self.parent.restart()
        self.replace_workers(1)
        stopped = self.parent.stopService()
        for process in list(self.reactor.alive.values()):
            process.end()
        self.successResultOf(stopped)
        self.successResultOf(restarted)
        self.assertEqual(self.reactor.alive, {})

    def test_not_running(self) -> None:
        """A parent that stops replaces nothing."""
        self.start()
        self.parent.stopService()
        self.parent.restart()
        self.assertNotIn("worker-1.2", self.reactor.alive)

    def test_tokens(self) -> None:
        """With tokens that cannot be used no process is replaced."""
        tokens = Path(self.mktemp())
        tokens.write_text("good\n")
        tokens.chmod(0o600)
        self.start(write_token_file=tokens)
        tokens.write_text("no good\n")
        (line,) = self.logged(self.parent.restart)
        self.assertIn("keeping the previous write tokens: ", line)
        self.assertEqual(self.reactor.alive["worker-1.1"].signals, [])
        self.assertNotIn("worker-1.2", self.reactor.alive)
        tokens.write_text("better\n")
        self.parent.restart()
        self.assertEqual(self.reactor.alive["worker-1.1"].signals, [REREAD])
        self.assertIn("worker-1.2", self.reactor.alive)

    def test_tokens_of_all(self) -> None:
        """The replacement of a dead worker reads the tokens that the others have.

        Later changes of the file apply from the next SIGHUP.
        """
        tokens = Path(self.mktemp())
        tokens.write_text("# mine\ngood\n")
        tokens.chmod(0o600)
        self.start(write_token_file=tokens, metrics_port=PORT)
        tokens.write_text("no good\n")
        self.reactor.alive["worker-1.1"].end(ProcessTerminated(signal=9))
        self.reactor.advance(1)
        worker = self.reactor.alive["worker-1.1"]
        number = FIRST_INHERITED + 2
        self.assertEqual(
            worker.environment["ASCIID_WRITE_TOKEN_FILE"], f"/proc/self/fd/{number}"
        )
        copy = Path(f"/proc/self/fd/{worker.descriptors[number]}")
        self.assertEqual(copy.read_text(), "good\n")
        worker.be_ready()
        tokens.write_text("better\nbest\n")
        self.parent.restart()
        self.assertEqual(copy.read_text(), "better\nbest\n")
        tokens.write_text("new\n")
        self.parent.restart()
        self.assertEqual(copy.read_text(), "new\n")
        stopped = self.parent.stopService()
        for process in list(self.reactor.alive.values()):
            process.end()
        self.successResultOf(stopped)
        self.assertFalse(copy.exists())

    def test_does_not_come_up(self) -> None:
        """The old one keeps running, as do the others; a restart can be retried."""
        self.start()
        self.parent.restart()
        failed = self.reactor.alive["worker-1.2"]
        with capturedLogs() as events:
            self.let_live(REPLACED_WITHIN)
        lines = [formatEvent(event) for event in events]
        self.assertEqual(
            lines, ["rolling restart failed: worker-1.2 is not ready after 30 s"]
        )
        self.assertEqual(failed.signals, ["TERM"])
        # It was logged already.
        late = self.logged(lambda: self.let_live(2 * HEARTBEAT_INTERVAL))
        self.assertEqual(late, [])
        self.assertEqual(self.logged(failed.end), [])
        self.reactor.advance(60)
        self.assertEqual(
            sorted(self.reactor.alive), ["worker-1.1", "worker-2.1", WRITER]
        )
        self.parent.restart()
        self.replace_workers(1)
        self.replace_writer()

    def test_while_one_is_to_start_again(self) -> None:
        """A process that had exited before it is replaced is logged when it exits."""
        self.start()
        writer = self.reactor.alive[WRITER]
        for _ in range(3):
            # Each time it is started later: it does no work.
            writer.end()
            while self.reactor.alive.get(WRITER, writer) is writer:
                self.reactor.advance(0.05)
            writer = self.reactor.alive[WRITER]
        writer.end()
        self.parent.restart()
        for number in (1, 2):
            self.reactor.alive[f"worker-{number}.2"].be_ready()
            self.reactor.alive[f"worker-{number}.1"].end()
        writer = self.reactor.alive[WRITER]
        writer.be_ready()
        (line,) = self.logged(lambda: writer.end(ProcessTerminated(signal=9)))
        self.assertTrue(line.startswith("writer exited: "), line)

    def test_one_that_has_ended(self) -> None:
        """One that ends while another takes its place is not started again."""
        self.start()
        self.parent.restart()
        (line,) = self.logged(self.reactor.alive["worker-1.1"].end)
        self.assertTrue(line.startswith("worker-1.1 exited: "), line)
        self.reactor.alive["worker-1.2"].be_ready()
        self.reactor.advance(1)
        self.assertNotIn("worker-1.1", self.reactor.alive)


def inherited(process: PlayedProcess) -> list[Any]:
    """Return the sockets that a process has inherited."""
    return [
        descriptor
        for number, descriptor in process.descriptors.items()
        if number >= FIRST_INHERITED
    ]
