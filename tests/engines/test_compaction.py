"""Compaction of a storage whose store runs, stepped by hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _compaction
from asciid.engines.lmdb._copying import _WORK
from asciid.engines.lmdb._environment import Environment
from asciid.engines.lmdb._peers import ALONE
from asciid.engines.lmdb.maintenance import DamagedError
from asciid.errors import StoreClosedError
from tests.engines._damage import flip
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.model import ImageSpec

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
DOG = b"/^ ^\\\n/ 0 0 \\\nV\\ Y /V\n"
LARGE = bytes(range(251)) * 4_000


class CompactionTests(SynchronousTestCase):
    """A store that compacts its own file."""

    def setUp(self) -> None:
        """Make a store most of whose file is unused."""
        self.driven = DrivenStore(self.mktemp(), map_size=64 * 1024)
        self.store = self.driven.store
        self.path = self.driven.path
        self.driven.start()
        self.addCleanup(self.stop)
        self.cat = self.driven.upload(CAT)
        self.large = self.driven.upload(LARGE, 100_000)
        unused = self.driven.upload(os.urandom(4_000_000), 1_000_000)
        self.driven.run(
            self.driven.engine._run(
                lambda batch: batch.discard(batch.find(unused.sha256))
            )
        )
        self.driven.settle()
        self.pending = spec_of(b"pending", 4)
        self.driven.run(self.store.register(self.pending))
        self.driven.run(self.store.add_chunk(self.pending.sha256, 0, b"pend"))

    def stop(self) -> None:
        """Stop the store, if it is not."""
        if not self.driven.writer_pool.stopped:
            self.driven.stop()

    @property
    def size(self) -> int:
        """The length of the file."""
        return (self.path / "data.mdb").stat().st_size

    def assert_works(self, *also: tuple[ImageSpec, bytes]) -> None:
        """Check that all images exist, and that more can be stored, durably."""
        dog = self.driven.upload(DOG, 5)
        last = self.store.add_chunk(self.pending.sha256, 1, b"ing")
        self.assertTrue(self.driven.run(last))
        self.assertFalse((self.path / _WORK).exists())
        stored = [(self.cat, CAT), (self.large, LARGE), (dog, DOG), *also]
        for _ in range(2):
            for spec, data in stored:
                self.assertEqual(self.driven.download(spec.sha256), data)
            self.assertEqual(self.driven.download(self.pending.sha256), b"pending")
            self.stop()
            self.driven = DrivenStore(str(self.path))
            self.driven.start()

    def turn_until_copying(self) -> None:
        """Let the compaction get to where the writer's thread is to copy."""
        self.driven.reactor.advance(0)
        self.assertEqual(len(self.driven.writer_pool.work), 1)

    def test_shrinks(self) -> None:
        """The file shrinks, and everything is there, also for the next store."""
        before = self.size
        copied = self.driven.run(self.driven.engine.compact())
        self.assertEqual((copied.before, copied.after), (before, self.size))
        self.assertEqual(copied.images, 2)
        self.assertLess(copied.after, before - 3_000_000)
        self.assert_works()

    def test_again(self) -> None:
        """A second compaction runs after the first."""
        first, second = self.driven.engine.compact(), self.driven.engine.compact()
        self.assertEqual(self.driven.run(second).before, self.driven.run(first).after)
        self.assert_works()

    def test_write_meanwhile(self) -> None:
        """A write during compaction waits, and is in the new file."""
        compacting = self.driven.engine.compact()
        self.turn_until_copying()
        bird = b"(v)"
        writing = self.store.register(spec_of(bird))
        self.driven.reactor.advance(0)
        self.assertEqual(len(self.driven.writer_pool.work), 1)
        self.assertNoResult(writing)
        self.driven.run(compacting)
        self.driven.run(writing)
        self.driven.run(self.store.add_chunk(spec_of(bird).sha256, 0, bird))
        self.assert_works((spec_of(bird), bird))

    def test_write_before(self) -> None:
        """A write that was accepted before is carried out before."""
        writing = self.store.register(spec_of(b"(v)"))
        self.driven.reactor.advance(0)
        self.driven.run(self.driven.engine.compact())
        self.successResultOf(writing)

    def test_read_meanwhile(self) -> None:
        """A read need not wait for the copy."""
        compacting = self.driven.engine.compact()
        self.turn_until_copying()
        opening = self.store.open(self.large.sha256)
        self.driven.reactor.advance(0)
        self.assertTrue(self.driven.read_pool.step())
        self.driven.reactor.advance(0)
        reader = self.successResultOf(opening)
        self.assertNoResult(compacting)
        self.driven.run(compacting)
        # A reader outlives the exchange of the file.
        self.assertEqual(self.driven.run(reader.read(0, 9)), LARGE[:9])

    def test_read_under_way(self) -> None:
        """The file is not exchanged while a read has it open."""
        compacting = self.driven.engine.compact()
        self.turn_until_copying()
        opening = self.store.open(self.large.sha256)
        self.driven.writer_pool.step()
        for _ in range(3):
            self.driven.reactor.advance(0)
        self.assertEqual(len(self.driven.writer_pool.work), 0)
        self.driven.run(compacting)
        self.successResultOf(opening)

    def test_file_that_does_not_open(self) -> None:
        """If the file cannot be opened again, the other processes still try to."""
        uses: list[str] = []

        def use(how: str) -> Deferred[None]:
            uses.append(how)
            return succeed(None)

        # Of which that of a store alone makes nothing.
        self.patch(type(ALONE), "close_file", lambda _: use("closed"))
        self.patch(type(ALONE), "open_file", lambda _: use("open"))

        def reopen(environment: Environment) -> None:
            environment.close()
            message = "Too many open files"
            raise OSError(message)

        works = Environment.reopen
        self.patch(Environment, "reopen", reopen)
        self.assertRaises(OSError, self.driven.run, self.driven.engine.compact())
        self.patch(Environment, "reopen", works)
        self.assertEqual(uses, ["closed", "open"])
        self.assert_works()

    def test_damaged(self) -> None:
        """A storage with a damaged image is not changed, and is still served."""
        self.stop()
        flip(self.path, LARGE[:100_000])
        self.driven = DrivenStore(str(self.path))
        self.store = self.driven.store
        self.driven.start()
        before = self.size
        self.assertRaises(DamagedError, self.driven.run, self.driven.engine.compact())
        self.assertEqual(self.size, before)
        self.assertFalse((self.path / _WORK).exists())
        self.assertEqual(self.driven.download(self.cat.sha256), CAT)
        self.driven.upload(DOG)

    def test_disk_that_fails(self) -> None:
        """If the file cannot be exchanged, the old one stays in use."""

        def failing(_: Path) -> None:
            message = "Input/output error"
            raise OSError(message)

        before = self.size
        self.patch(_compaction, "put_in_place", failing)
        self.assertRaises(OSError, self.driven.run, self.driven.engine.compact())
        self.assertEqual(self.size, before)
        self.driven.upload(DOG)

    def test_stopped_meanwhile(self) -> None:
        """A store that is to stop gives up at the next image."""
        compacting = self.driven.engine.compact()
        self.turn_until_copying()
        stopping = self.store.stop()
        self.assertRaises(StoreClosedError, self.driven.run, compacting)
        self.driven.run(stopping)
        self.assertFalse((self.path / _WORK).exists())
        self.assertFalse(self.failureResultOf(self.driven.engine.compact()) is None)

    def test_leftovers(self) -> None:
        """Files of a killed compaction are deleted at the next start."""
        self.stop()
        (self.path / _WORK).mkdir()
        (self.path / _WORK / "data.mdb").write_bytes(b"half")
        self.driven = DrivenStore(str(self.path))
        self.store = self.driven.store
        self.driven.start()
        self.assert_works()
