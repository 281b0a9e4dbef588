"""A store on a disk that is nearly full, and its log lines."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines import _abandoned
from asciid.engines._fault_log import SETTLED
from asciid.engines.lmdb import _reserve
from asciid.engines.lmdb._reserve import (
    CHECK_EVERY,
    NO_ROOM,
    PAGE,
    PLENTY,
    SCATTERED,
    Reserve,
    free_bytes,
    is_full,
    lacks_room,
)
from asciid.errors import ChunkExistsError, StorageFailedError, StorageFullError
from asciid.store import Lifetimes
from tests.engines.test_lmdb import Failing
from tests.store._support import DrivenStore, lmdb_error, registered, spec_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.logger import LogEvent

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
LARGE = bytes(600_000)
RESERVE = 1_000


def texts(events: Sequence[LogEvent], level: LogLevel) -> list[str]:
    """Return the log lines of a level on the disk's state."""
    return [
        formatEvent(event)
        for event in events
        if event["log_level"] is level
        and event["log_namespace"].endswith(("._fault_log", "._reserve"))
    ]


class Disk:
    """A file system whose free space the test sets."""

    def __init__(self) -> None:
        self.left = RESERVE + 100 * PAGE
        self.reads = 0
        self.error: OSError | None = None

    def free(self, _: Path) -> int:
        """Return the free bytes."""
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.left


class ReserveTests(SynchronousTestCase):
    """The reserve alone."""

    def setUp(self) -> None:
        """Make one."""
        self.disk = Disk()
        self.now = 5.0
        self.reusable = 0
        self.reserve = Reserve(
            Path("/images"), RESERVE, lambda: self.now, free=self.disk.free
        )

    def accepted(self, size: int, most: int) -> int:
        """Return how many operations of a size are accepted, in one transaction."""
        self.reserve.begin(lambda: self.reusable)
        for number in range(most):
            try:
                self.reserve.take(size)
            except StorageFullError:
                return number
        return most

    def test_cached(self) -> None:
        """With plenty of room free space is read at most once a second."""
        self.disk.left = RESERVE + 2 * PLENTY
        for _ in range(5):
            self.assertEqual(self.accepted(PAGE, 5), 5)
        self.assertEqual(self.disk.reads, 1)
        self.now += CHECK_EVERY
        self.assertEqual(self.accepted(PAGE, 5), 5)
        self.assertEqual(self.disk.reads, 2)

    def test_not_cached(self) -> None:
        """With little room it is read for each transaction, and not within one."""
        for reads in range(1, 5):
            self.assertEqual(self.accepted(PAGE, 5), 5)
            self.assertEqual(self.disk.reads, reads)

    def test_counts(self) -> None:
        """No more is accepted at once than is free, however fast it arrives."""
        self.disk.left = RESERVE + 10 * PAGE
        self.assertEqual(self.accepted(PAGE, 100), 5)
        self.assertEqual(self.accepted(PAGE + 1, 100), 4)
        self.assertEqual(self.accepted(10 * PAGE, 1), 0)
        self.assertEqual(self.accepted(9 * PAGE, 1), 1)

    def test_counts_on(self) -> None:
        """Bytes that several transactions add in a second are counted together."""
        self.disk.left = RESERVE + 3 * PLENTY
        sizes = [self.accepted(PLENTY - PAGE, 100) for _ in range(3)]
        self.assertEqual((sizes, self.disk.reads), ([3, 3, 3], 3))
        self.now += CHECK_EVERY
        sizes = [self.accepted(PLENTY - PAGE, 1) for _ in range(2)]
        self.assertEqual((sizes, self.disk.reads), ([1, 1], 4))
        # Two thirds are taken: the cached value no longer counts.
        self.disk.left = RESERVE
        self.assertEqual(self.accepted(PLENTY - PAGE, 1), 1)
        self.assertEqual(self.accepted(PLENTY - PAGE, 1), 0)

    def test_small_things_still_fit(self) -> None:
        """An operation too large for the room left does not block smaller ones."""
        self.disk.left = RESERVE + 10 * PAGE
        self.reserve.begin(lambda: self.reusable)
        self.assertRaises(StorageFullError, self.reserve.take, 10 * PAGE)
        self.reserve.take(PAGE)

    def test_refuses_and_resumes(self) -> None:
        """Below the reserve all is refused, above it nothing; both are logged."""
        with capturedLogs() as events:
            for left, accepted in (
                (RESERVE + PAGE, 3),
                (RESERVE + PAGE - 1, 0),
                (0, 0),
                (RESERVE + 4 * PAGE, 3),
                (RESERVE, 0),
                (RESERVE + PLENTY, 3),
            ):
                self.disk.left = left
                self.now += CHECK_EVERY
                self.assertEqual(self.accepted(0, 3), min(accepted, left // PAGE))
            self.assertEqual(texts(events, LogLevel.info), [])
            self.now += SETTLED
            for _ in range(3):
                self.assertEqual(self.accepted(0, 3), 3)
        self.assertEqual(
            texts(events, LogLevel.error),
            ["refusing writes: 1000 bytes are free, the reserve is 1000"],
        )
        self.assertEqual(
            texts(events, LogLevel.info),
            [f"accepting writes again: {RESERVE + PLENTY} bytes are free"],
        )

    def test_stays_full(self) -> None:
        """However long nothing is added, there is no room before there is some."""
        self.disk.left = 0
        with capturedLogs() as events:
            for _ in range(3):
                self.assertEqual(self.accepted(0, 1), 0)
                self.now += 2 * SETTLED
                self.reserve.begin(lambda: self.reusable)
        self.assertEqual(len(texts(events, LogLevel.error)), 1)
        self.assertEqual(texts(events, LogLevel.info), [])

    def test_room_inside_the_file(self) -> None:
        """Below the reserve there is room as long as there is much inside the file."""
        self.reserve.size = self.disk.left = 8 * SCATTERED
        self.reusable = 2 * SCATTERED
        most = 2 * SCATTERED * 3 // 4 - SCATTERED
        self.assertEqual(self.accepted(most - PAGE, 2), 1)
        self.assertEqual(self.accepted(most, 1), 0)
        self.reusable = SCATTERED
        self.assertEqual(self.accepted(0, 1), 0)

    def test_room_inside_the_file_and_out(self) -> None:
        """At once no more is accepted than the disk itself could take, and more."""
        self.reserve.size = self.disk.left = 8 * SCATTERED
        self.reusable = 100 * SCATTERED
        self.assertEqual(self.accepted(SCATTERED - PAGE, 100), 4)

    def test_room_inside_the_file_that_is_scattered(self) -> None:
        """If the file grows all the same, half of the reserve is left."""
        self.reusable = 10 * SCATTERED
        self.reserve.size = 16 * PAGE
        self.disk.left = 8 * PAGE
        self.assertEqual(self.accepted(0, 1), 1)
        self.disk.left -= 1
        self.assertEqual(self.accepted(0, 1), 0)

    def test_looks_each_time_inside_the_file(self) -> None:
        """However much is there, it is believed for one transaction only."""
        self.reserve.size = self.disk.left = SCATTERED
        self.reusable = 100 * SCATTERED
        self.assertEqual(self.accepted(PAGE, 5), 5)
        self.reusable = 0
        self.assertEqual(self.accepted(PAGE, 5), 0)

    def test_no_reserve(self) -> None:
        """Without a reserve, free space is not read and nothing is refused."""
        self.disk.left = 0
        self.reserve.size = 0
        self.assertEqual(self.accepted(PLENTY, 3), 3)
        self.assertEqual(self.disk.reads, 0)

    def test_file_system_that_does_not_answer(self) -> None:
        """Unknown free space refuses nothing, and does not end the condition."""
        self.disk.left = 0
        with capturedLogs() as events:
            self.assertEqual(self.accepted(0, 1), 0)
            self.disk.error = OSError(errno.EIO, "Input/output error")
            self.now += SETTLED
            self.assertEqual(self.accepted(PLENTY, 3), 3)
        self.assertEqual(texts(events, LogLevel.info), [])

    def test_real_file_system(self) -> None:
        """There is some room where the tests run."""
        path = Path(self.mktemp())
        path.mkdir()
        self.assertGreater(free_bytes(path), 0)
        for size, refused in ((1, False), (2**62, True)):
            reserve = Reserve(path, size, lambda: 0.0)
            reserve.begin(lambda: 0)
            if refused:
                self.assertRaises(StorageFullError, reserve.take, 1)
            else:
                reserve.take(1)


class StoreTests(SynchronousTestCase):
    """A store with a reserve."""

    def setUp(self) -> None:
        """Make a store on a disk that has just enough left."""
        self.driven = DrivenStore(
            self.mktemp(), reserve=RESERVE, lifetimes=Lifetimes(upload=100)
        )
        self.store = self.driven.store
        self.disk = Disk()
        self.driven.engine._reserve.free = self.disk.free
        self.driven.start()
        self.addCleanup(self.driven.stop)

    def fill(self, left: int) -> None:
        """Set the free bytes, and have the store check again."""
        self.disk.left = left
        self.driven.pass_time(CHECK_EVERY)

    def test_adding_is_refused(self) -> None:
        """Nothing is added to a disk that is nearly full; other operations continue."""
        done = self.driven.upload(CAT)
        pending = spec_of(b"pending")
        self.driven.run(self.store.register(pending))
        self.fill(RESERVE - 1)

        async def receive(data: bytes) -> bool:
            writer = await self.store.create(spec_of(data).sha256)
            await writer.write(data)
            return await writer.finish()

        size = self.driven.path.joinpath("data.mdb").stat().st_size
        for awaited in (
            self.store.register(spec_of(b"dog")),
            self.store.add_chunk(pending.sha256, 0, b"pend"),
            Deferred.fromCoroutine(receive(b"dog")),
            Deferred.fromCoroutine(receive(LARGE)),
        ):
            self.assertRaises(StorageFullError, self.driven.run, awaited)
        self.assertEqual(self.driven.path.joinpath("data.mdb").stat().st_size, size)
        self.assertEqual(self.driven.download(done.sha256), CAT)
        self.driven.pass_time(101)
        self.assertEqual(self.driven.run(self.store.expire()), 1)
        self.fill(RESERVE + 2**20)
        self.driven.upload(b"dog")
        self.assertTrue(self.driven.run(Deferred.fromCoroutine(receive(LARGE))))

    def test_room_of_what_expired(self) -> None:
        """Expired images on a full disk make room for uploads, inside the file."""
        data = [bytes([number]) * 1_000_000 for number in range(12)]
        self.fill(RESERVE + 100 * len(LARGE))
        for one in data:
            self.driven.run(self.store.register(spec_of(one + b".", len(one))))
            adding = self.store.add_chunk(spec_of(one + b".").sha256, 0, one)
            self.assertFalse(self.driven.run(adding))
        self.driven.upload(CAT)
        file = self.driven.path / "data.mdb"
        size = file.stat().st_size
        self.driven.engine._reserve.size = 2 * SCATTERED
        self.fill(2 * SCATTERED)
        registering = self.store.register(spec_of(b"dog"))
        self.assertRaises(StorageFullError, self.driven.run, registering)
        self.driven.pass_time(101)
        self.assertEqual(self.driven.run(self.store.expire()), 12)
        self.driven.settle()
        self.driven.upload(b"dog")
        for one in data[:5]:
            self.driven.upload(one, len(one))
        # To remove things took a few pages.
        self.assertLess(file.stat().st_size, size + 10 * PAGE)

    def test_image_that_was_coming(self) -> None:
        """An image that the disk fills up under can be abandoned."""

        async def begin() -> None:
            writer = await self.store.create(spec_of(LARGE).sha256)
            await writer.write(LARGE[:300_000])
            self.fill(0)
            try:
                await writer.write(LARGE[300_000:])
            finally:
                await writer.abandon()

        beginning = Deferred.fromCoroutine(begin())
        self.assertRaises(StorageFullError, self.driven.run, beginning)
        self.driven.settle()
        self.assertEqual(self.entries(), (0, 0))

    def test_fast_uploads(self) -> None:
        """Concurrent uploads take no more than is free above the reserve."""
        self.fill(RESERVE + 10 * PAGE)
        outcomes: list[object] = []
        for number in range(40):
            registering = self.store.register(spec_of(bytes([number])))
            registering.addBoth(outcomes.append)
        self.driven.settle()
        self.assertEqual(outcomes[:10], [None] * 10)
        for failure in outcomes[10:]:
            self.assertIsInstance(failure, Failure)
            self.assertIsInstance(failure.value, StorageFullError)  # type: ignore[attr-defined]
        self.assertEqual(len(outcomes), 40)

    def test_image_that_cannot_be_discarded(self) -> None:
        """On a full disk an abandoned image stays, until there is room again."""

        async def receive(number: int) -> None:
            data = LARGE + bytes([number])
            writer = await self.store.create(spec_of(data).sha256)
            await writer.write(data)
            environment = self.driven.engine._environment
            full = lmdb_error(errno.ENOSPC)
            environment._open = Failing(environment._open, full)  # type: ignore[assignment]
            await writer.abandon()

        self.fill(RESERVE + 10 * len(LARGE))
        for number in range(2):
            self.driven.run(Deferred.fromCoroutine(receive(number)))
        self.driven.settle()
        self.assertEqual(self.entries()[1], 2)
        environment = self.driven.engine._environment
        full = lmdb_error(errno.ENOSPC)
        environment._open = Failing(environment._open, full, writes=True)  # type: ignore[assignment]
        self.assertRaises(StorageFullError, self.driven.run, self.store.expire())
        self.assertEqual(self.entries()[1], 2)
        self.driven.run(self.store.expire())
        self.assertEqual(self.entries(), (0, 0))
        transaction = self.last_transaction()
        self.driven.run(self.store.expire())
        self.assertEqual(self.last_transaction(), transaction)

    def test_bounded_number_to_be_discarded(self) -> None:
        """The number of staged uploads kept for a later discard is bounded."""
        abandoned = self.driven.engine._abandoned
        self.patch(_abandoned, "MOST", 2)
        for number in range(3):
            abandoned.note(number)
        self.assertEqual(abandoned._numbers, {0, 1})

    def entries(self) -> tuple[int, int]:
        """Return the numbers of chunks and of staged uploads."""
        return self.driven.engine._environment.read(
            lambda snapshot: (
                snapshot.transaction.stat(snapshot.databases.chunks)["entries"],
                snapshot.transaction.stat(snapshot.databases.staged)["entries"],
            )
        )

    def last_transaction(self) -> int:
        """Return the number of the last transaction that changed anything."""
        return self.driven.engine._environment._env.info()["last_txnid"]


class HealthTests(SynchronousTestCase):
    """Log lines of failing commits."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp())
        self.store = self.driven.store
        self.driven.start()
        self.addCleanup(self.driven.stop)

    def fail_commit(self, error: Exception, data: bytes = CAT) -> None:
        """Have the next commit fail, and only it."""
        environment = self.driven.engine._environment
        environment._open = Failing(environment._open, error)  # type: ignore[assignment]
        awaited = self.store.register(spec_of(data))
        self.assertRaises(
            (StorageFullError, StorageFailedError), self.driven.run, awaited
        )

    def test_reads_that_fail(self) -> None:
        """However many reads fail, only the begin and the end are logged."""
        environment = self.driven.engine._environment
        whole = environment._open
        with capturedLogs() as events:
            environment._open = Failing(whole, lmdb.Error("Input/output error"))  # type: ignore[assignment]
            for _ in range(3):
                self.assertRaises(
                    StorageFailedError, self.driven.run, registered(self.store)
                )
            environment._open = whole
            for _ in range(3):
                self.driven.run(registered(self.store))
                self.driven.pass_time(SETTLED)
        self.assertEqual(
            texts(events, LogLevel.error),
            ["reading from the storage fails: Input/output error"],
        )
        self.assertEqual(
            texts(events, LogLevel.info), ["reading from the storage works again"]
        )

    def test_logged_once(self) -> None:
        """However many commits fail, only the begin and the end are logged.

        A success between two failures is not the end.
        """
        spec = self.driven.upload(b"dog")
        with capturedLogs() as events:
            for _ in range(3):
                self.fail_commit(lmdb_error(errno.ENOSPC))
                # Empty commits are no evidence about the disk.
                again = self.store.add_chunk(spec.sha256, 0, b"dog")
                self.assertRaises(ChunkExistsError, self.driven.run, again)
            self.fail_commit(lmdb.Error("Input/output error"))
            self.driven.upload(CAT)
            self.fail_commit(lmdb_error(errno.ENOSPC), b"fish")
            self.driven.pass_time(SETTLED - 1)
            self.driven.upload(b"bird")
            self.assertNotIn(
                "writing to the storage works again", texts(events, LogLevel.info)
            )
            self.driven.pass_time(1)
            self.driven.upload(b"mouse")
            self.driven.upload(b"snake")
        self.assertEqual(
            texts(events, LogLevel.error),
            [
                "writing to the storage fails: No space left on device",
                "writing to the storage fails: Input/output error",
            ],
        )
        infos = texts(events, LogLevel.info)
        self.assertEqual(infos.count("writing to the storage works again"), 1)


class RoomTests(SynchronousTestCase):
    """Whether a write may have failed for lack of room."""

    def test_room(self) -> None:
        """There is none when nearly nothing is free."""
        free = [NO_ROOM]
        self.patch(_reserve, "free_bytes", lambda _: free[0])
        file = Path(self.mktemp())
        file.write_bytes(b"cat")
        self.assertFalse(lacks_room(file))
        free[0] -= 1
        self.assertTrue(lacks_room(file))

    def test_quota(self) -> None:
        """There is none when nothing can be added, whatever is free."""
        file = Path(self.mktemp())
        file.write_bytes(b"cat")
        error = OSError()

        def allocate(_: int, offset: int, size: int) -> None:
            self.assertEqual((offset, size), (3, NO_ROOM))
            raise error

        self.patch(os, "posix_fallocate", allocate)
        for number, full in (
            (errno.ENOSPC, True),
            (errno.EDQUOT, True),
            (errno.EFBIG, True),
            (errno.EIO, False),
            (errno.EROFS, False),
        ):
            error = OSError(number, os.strerror(number))
            self.assertEqual(lacks_room(file), full)

    def test_errors(self) -> None:
        """Errors of the system and of LMDB are recognised by their number alone."""
        self.assertTrue(is_full(OSError(errno.EDQUOT, "")))
        self.assertFalse(is_full(OSError("no space left on device")))
        self.assertFalse(is_full(lmdb_error(errno.EIO)))
        self.assertTrue(is_full(lmdb_error(errno.EFBIG)))
