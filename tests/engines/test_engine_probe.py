"""The health of stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lmdb
from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._engine_probe import PROBE_EVERY, PROBE_TIMEOUT, EngineProbe
from asciid.engines._fault_log import SETTLED
from asciid.engines.generations import Generations
from asciid.engines.lmdb import _reserve
from asciid.engines.lmdb._environment import Environment
from asciid.engines.lmdb.sharing import LMDBReader
from asciid.engines.remote.worker_side import RemoteEngine
from asciid.errors import (
    StorageFailedError,
    StorageFullError,
    StoreBusyError,
    WriterGoneError,
)
from asciid.store import ImageStore, StoreHealth
from asciid.store.background import Background
from asciid.store.operations import Probe
from asciid.store.queries import Several
from asciid.testing import ManualReactor, ManualThreadPool
from tests.engines.test_lmdb import Failing
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.engines.remote.worker_side import WriterClient
    from asciid.store.operations import AnyOperation
    from asciid.store.queries import Query

READY = StoreHealth(open=True, writes=True, reads=True, has_room=True)
CAT = b"/\\_/\\\n( o.o )\n >^<\n"


class EngineProbeTests(SynchronousTestCase):
    """Probes, and their outcomes."""

    def setUp(self) -> None:
        """Make a probe of a writer whose results the test sets."""
        self.now = 7.0
        self.probes: list[Deferred[Any]] = []
        self.read_probes: list[Deferred[Any]] = []
        self.engine_probe = EngineProbe(
            self.apply, self.ask, Background().run, lambda: self.now
        )

    def apply(self, operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """Take operations."""
        self.assertEqual(operations, (Probe(),))
        self.probes.append(Deferred())
        return self.probes[-1]

    def ask(self, query: Query[Any]) -> Deferred[Any]:
        """Take a read."""
        self.assertEqual(query, Several(()))
        self.read_probes.append(Deferred())
        return self.read_probes[-1]

    def probe(self) -> Deferred[Any]:
        """Begin a probe; return the Deferred of its outcome."""
        self.now += PROBE_EVERY
        self.engine_probe.begin()
        return self.probes[-1]

    def state(self) -> tuple[bool, bool]:
        """Return whether the store writes and has room."""
        return self.engine_probe.writes, self.engine_probe.has_room

    def test_outcomes(self) -> None:
        """The outcome of a probe is kept until the next one."""
        self.assertEqual(self.state(), (True, True))
        for error, expected in (
            (StorageFailedError(), (False, True)),
            (StoreBusyError(), (False, True)),
            (None, (True, True)),
            (StorageFullError(), (True, False)),
            (StoreBusyError(), (True, False)),
            (None, (True, True)),
            (WriterGoneError(), (False, True)),
        ):
            outcome = self.probe()
            if error is None:
                outcome.callback([None])
            else:
                outcome.errback(error)
            self.assertEqual(self.state(), expected, error)

    def test_one_at_a_time(self) -> None:
        """However often health is read, one probe at a time runs, and one a second."""
        first = self.probe()
        self.probe()
        self.assertEqual(len(self.probes), 1)
        first.callback([None])
        self.probe().callback([None])
        self.now += PROBE_EVERY / 2
        self.engine_probe.begin()
        self.assertEqual(len(self.probes), 2)

    def test_hangs(self) -> None:
        """A probe that is not answered for long is bad news, until it is."""
        outcome = self.probe()
        self.assertFalse(self.engine_probe.writes_hang)
        self.now += PROBE_TIMEOUT
        self.assertTrue(self.engine_probe.writes_hang)
        outcome.callback([None])
        self.assertFalse(self.engine_probe.writes_hang)

    def test_reads(self) -> None:
        """A read that fails or hangs is noticed, and that reads succeed again."""
        for error, reads in (
            (StorageFailedError(), False),
            (StoreBusyError(), False),
            (None, True),
            (StoreBusyError(), True),
        ):
            self.probe()
            outcome = self.read_probes[-1]
            if error is None:
                outcome.callback([None])
            else:
                outcome.errback(error)
            self.assertEqual(self.engine_probe.reads, reads, error)
        self.probe()
        self.now += PROBE_TIMEOUT
        self.assertFalse(self.engine_probe.reads)
        self.probe()
        self.assertEqual(len(self.read_probes), 5)
        self.read_probes[-1].callback(None)
        self.assertTrue(self.engine_probe.reads)


class FakeWriter:
    """A writer whose results the test sets."""

    def __init__(self) -> None:
        self.outcome: Deferred[Any] = succeed([None])

    def submit(
        self,
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any],
    ) -> Deferred[Any]:
        """Return the test's result."""
        assert list(operations) == [Probe()]
        return self.outcome.addCallback(then)

    def drain(self) -> Deferred[None]:
        """Have nothing to wait for."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Have nothing to stop."""
        return succeed(None)


class RemoteTests(SynchronousTestCase):
    """The health of an engine whose operations another process carries out."""

    def setUp(self) -> None:
        """Make one."""
        self.now = 7.0
        self.writer = FakeWriter()
        reactor = ManualReactor()
        reader = LMDBReader(
            Path(self.mktemp()),
            reactor=reactor,
            file_generation=lambda: 0,
            read_pool=ManualThreadPool(),
        )
        self.engine = RemoteEngine(
            cast("WriterClient", self.writer),
            reader,
            Generations(),
            monotonic=lambda: self.now,
        )
        self.store = ImageStore(self.engine, reactor=reactor)

    def health(self) -> StoreHealth:
        """Return the health, a while after the last time."""
        self.now += PROBE_EVERY
        return self.store.health()

    def test_learns_from_probes(self) -> None:
        """Health is the outcome of the last probe."""
        self.assertEqual(self.health(), READY)
        for error, health in (
            (StorageFullError(), evolve(READY, has_room=False)),
            (None, READY),
            (WriterGoneError(), evolve(READY, writes=False)),
            (None, READY),
        ):
            self.writer.outcome = succeed([error])
            self.assertEqual(self.health(), health)

    def test_writer_that_hangs(self) -> None:
        """A writer that does not answer is noticed."""
        self.writer.outcome = Deferred()
        self.assertEqual(self.health(), READY)
        self.now += PROBE_TIMEOUT
        # Nor can anything be read: the file is opened when the writer answers.
        self.assertEqual(self.store.health(), evolve(READY, writes=False, reads=False))

    def test_stopped(self) -> None:
        """A store that stops is not open, and sends its writer nothing."""
        self.store.stop()
        self.writer.outcome = succeed([StorageFailedError()])
        self.assertEqual(self.health(), evolve(READY, open=False))


class LMDBTests(SynchronousTestCase):
    """The health of a store on a disk."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp(), reserve=1)
        self.store = self.driven.store

    def start(self) -> None:
        """Start it."""
        self.driven.start()
        self.addCleanup(self.driven.stop)

    def health_after(self, seconds: float) -> StoreHealth:
        """Return the health `seconds` after another reading."""
        self.store.health()
        self.driven.settle()
        self.driven.pass_time(seconds)
        return self.store.health()

    def fail_writing(self) -> None:
        """Have a write fail."""
        environment: Any = self.driven.engine._environment
        environment._open = Failing(environment._env, lmdb.Error("made up"))
        registering = self.store.register(spec_of(CAT))
        self.assertRaises(StorageFailedError, self.driven.run, registering)

    def test_open(self) -> None:
        """A store is open from its start to its stop; nothing is tried outside."""
        closed = StoreHealth(open=False, writes=True, reads=True, has_room=True)
        self.assertEqual(self.store.health(), closed)
        self.driven.start()
        self.assertEqual(self.store.health(), READY)
        self.driven.settle()
        self.driven.stop()
        self.assertEqual(self.health_after(PROBE_EVERY), closed)

    def test_nothing_is_written(self) -> None:
        """While everything works, reading health writes nothing."""
        self.start()
        before = self.driven.engine._environment._env.info()["last_txnid"]
        for _ in range(3):
            self.assertEqual(self.health_after(PROBE_EVERY), READY)
        self.assertEqual(
            self.driven.engine._environment._env.info()["last_txnid"], before
        )

    def test_write_failed(self) -> None:
        """After a write that failed the health is bad until one succeeds."""
        self.start()
        self.fail_writing()
        self.driven.pass_time(PROBE_EVERY)
        self.assertFalse(self.store.health().writes)
        self.driven.settle()
        # The probe has written.
        self.assertEqual(self.store.health(), READY)

    def test_next_write_succeeds(self) -> None:
        """A client's write is as good as a probe."""
        self.start()
        self.fail_writing()
        self.driven.upload(CAT)
        self.assertEqual(self.store.health(), READY)

    def test_file_cannot_be_opened(self) -> None:
        """While the file cannot be opened again, the health is bad."""
        self.start()

        def refuse(_: Environment) -> None:
            raise OSError

        opening = self.patch(Environment, "open", refuse)
        self.fail_writing()
        for _ in range(3):
            self.assertFalse(self.health_after(PROBE_EVERY).writes)
        opening.restore()
        self.assertEqual(self.health_after(PROBE_EVERY), READY)

    def test_no_room(self) -> None:
        """A disk that is full at the start is noticed at once."""
        left = 0
        lacking = StoreHealth(open=True, writes=True, reads=True, has_room=False)
        self.patch(self.driven.engine._reserve, "free", lambda _: left)
        self.start()
        # The start has checked, so the first reading has the result.
        self.assertEqual(self.store.health(), lacking)

    def test_full_disk_recovers(self) -> None:
        """A disk filled by others is noticed, and so is free space afterwards."""
        left = 10**9
        self.patch(self.driven.engine._reserve, "free", lambda _: left)
        self.start()
        self.assertEqual(self.health_after(_reserve.CHECK_EVERY), READY)
        left = 0
        lacking = StoreHealth(open=True, writes=True, reads=True, has_room=False)
        self.assertEqual(self.health_after(_reserve.CHECK_EVERY), lacking)
        left = 10**9
        # Not at once: on a disk that is nearly full it would flap.
        self.assertEqual(self.health_after(SETTLED), lacking)
        self.assertEqual(self.health_after(0), READY)

    def test_disk_hangs(self) -> None:
        """A disk that does not answer is noticed, once it has not for long."""
        self.start()
        self.driven.pass_time(PROBE_EVERY)
        self.assertEqual(self.store.health(), READY)
        self.driven.pass_time(PROBE_TIMEOUT)
        self.assertFalse(self.store.health().writes)
        self.driven.settle()
        self.assertEqual(self.store.health(), READY)

    def test_reads_hang(self) -> None:
        """So is a read that does not end, such as of a thread that never ran."""
        self.start()
        self.store.health()
        self.driven.reactor.advance(0)
        while self.driven.writer_pool.step():
            self.driven.reactor.advance(0)
        self.driven.pass_time(PROBE_TIMEOUT)
        self.assertEqual(self.store.health(), evolve(READY, reads=False))
        self.driven.settle()
        self.assertEqual(self.store.health(), READY)
