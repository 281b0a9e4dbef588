"""What a store does before the disk is full, and what the log hears of trouble."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import ChunkExistsError, StorageFailedError, StorageFullError
from asciid.store import Lifetimes, _reserve
from asciid.store._health import SETTLED
from asciid.store._reserve import (
    CHECK_EVERY,
    NO_ROOM,
    Reserve,
    free_bytes,
    lacks_room,
)
from tests.store._support import DrivenStore, spec_of
from tests.store.test_lmdb import Failing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.logger import LogEvent

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
LARGE = bytes(600_000)
RESERVE = 1_000


def texts(events: Sequence[LogEvent], level: LogLevel) -> list[str]:
    """Return what the store logged at a level."""
    return [
        formatEvent(event)
        for event in events
        if event["log_level"] is level
        and event["log_namespace"].startswith("asciid.store.")
    ]


class Disk:
    """A file system that is as full as the test says."""

    def __init__(self) -> None:
        self.left = RESERVE
        self.asked = 0
        self.error: OSError | None = None

    def free(self, _: Path) -> int:
        """Tell how much is left."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.left


class ReserveTests(SynchronousTestCase):
    """The reserve alone."""

    def setUp(self) -> None:
        """Make one."""
        self.disk = Disk()
        self.now = 5.0
        self.reserve = Reserve(
            Path("/images"), RESERVE, lambda: self.now, free=self.disk.free
        )

    def test_asks_now_and_then(self) -> None:
        """The file system is asked at most once a second."""
        for _ in range(5):
            self.reserve.check()
        self.assertEqual(self.disk.asked, 1)
        self.now += CHECK_EVERY
        self.reserve.check()
        self.assertEqual(self.disk.asked, 2)

    def test_refuses_and_resumes(self) -> None:
        """Below the reserve all is refused, above it no more; the log hears twice."""
        with capturedLogs() as events:
            for left, refused in (
                (RESERVE, False),
                (RESERVE - 1, True),
                (0, True),
                (RESERVE, False),
                (RESERVE + 1, False),
            ):
                self.disk.left = left
                self.now += CHECK_EVERY
                for _ in range(3):
                    if refused:
                        self.assertRaises(StorageFullError, self.reserve.check)
                    else:
                        self.reserve.check()
        self.assertEqual(
            texts(events, LogLevel.error),
            ["Nothing more is stored: 999 bytes are free, the reserve is 1000"],
        )
        self.assertEqual(
            texts(events, LogLevel.info), ["There is room again: 1000 bytes are free"]
        )

    def test_file_system_that_does_not_answer(self) -> None:
        """What cannot be known refuses nothing."""
        self.disk.error = OSError(errno.EIO, "Input/output error")
        self.reserve.check()

    def test_real_file_system(self) -> None:
        """There is some room where the tests run."""
        path = Path(self.mktemp())
        path.mkdir()
        self.assertGreater(free_bytes(path), 0)
        Reserve(path, 1, lambda: 0.0).check()
        full = Reserve(path, 2**62, lambda: 0.0)
        self.assertRaises(StorageFullError, full.check)


class StoreTests(SynchronousTestCase):
    """A store with a reserve."""

    def setUp(self) -> None:
        """Make a store on a disk that has just enough left."""
        self.driven = DrivenStore(
            self.mktemp(), reserve=RESERVE, lifetimes=Lifetimes(upload=100)
        )
        self.store = self.driven.store
        self.disk = Disk()
        self.store._reserve.free = self.disk.free
        self.driven.start()
        self.addCleanup(self.driven.stop)

    def fill(self, left: int) -> None:
        """Have the disk say that so much is left, and the store look again."""
        self.disk.left = left
        self.driven.pass_time(CHECK_EVERY)

    def test_adding_is_refused(self) -> None:
        """Nothing is added to a disk that is nearly full; the rest goes on."""
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
        self.fill(RESERVE)
        self.driven.upload(b"dog")
        self.assertTrue(self.driven.run(Deferred.fromCoroutine(receive(LARGE))))

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
        left = self.store._environment.read(
            lambda snapshot: snapshot.transaction.stat(snapshot.databases.chunks)
        )
        self.assertEqual(left["entries"], 0)


class HealthTests(SynchronousTestCase):
    """What the log hears of commits that fail."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp())
        self.store = self.driven.store
        self.driven.start()
        self.addCleanup(self.driven.stop)

    def fail_commit(self, error: Exception, data: bytes = CAT) -> None:
        """Have the next commit fail, and only it."""
        environment = self.store._environment
        environment._open = Failing(environment._open, error)  # type: ignore[assignment]
        awaited = self.store.register(spec_of(data))
        self.assertRaises(
            (StorageFullError, StorageFailedError), self.driven.run, awaited
        )

    def test_reads_that_fail(self) -> None:
        """However many reads fail, the log hears when it begins and when it ends."""
        environment = self.store._environment
        whole = environment._open
        with capturedLogs() as events:
            environment._open = Failing(whole, lmdb.Error("Input/output error"))  # type: ignore[assignment]
            for _ in range(3):
                self.assertRaises(
                    StorageFailedError, self.driven.run, self.store.count()
                )
            environment._open = whole
            for _ in range(3):
                self.driven.run(self.store.count())
                self.driven.pass_time(SETTLED)
        self.assertEqual(
            texts(events, LogLevel.error),
            ["Reading from the storage fails: Input/output error"],
        )
        self.assertEqual(
            texts(events, LogLevel.info), ["Reading from the storage works again"]
        )

    def test_logged_once(self) -> None:
        """However many commits fail, the log hears when it begins and when it ends.

        A success between two failures is not the end.
        """
        spec = self.driven.upload(b"dog")
        with capturedLogs() as events:
            for _ in range(3):
                self.fail_commit(lmdb.DiskError("No space left on device"))
                # Commits of nothing say nothing about the disk.
                again = self.store.add_chunk(spec.sha256, 0, b"dog")
                self.assertRaises(ChunkExistsError, self.driven.run, again)
            self.fail_commit(lmdb.Error("Input/output error"))
            self.driven.upload(CAT)
            self.fail_commit(lmdb.DiskError("No space left on device"), b"fish")
            self.driven.pass_time(SETTLED - 1)
            self.driven.upload(b"bird")
            self.assertEqual(texts(events, LogLevel.info), [])
            self.driven.pass_time(1)
            self.driven.upload(b"mouse")
            self.driven.upload(b"snake")
        self.assertEqual(
            texts(events, LogLevel.error),
            [
                "Writing to the storage fails: No space left on device",
                "Writing to the storage fails: Input/output error",
            ],
        )
        self.assertEqual(
            texts(events, LogLevel.info), ["Writing to the storage works again"]
        )


class RoomTests(SynchronousTestCase):
    """Whether a write may have failed for lack of room."""

    def test_room(self) -> None:
        """There is none when nearly nothing is free."""
        free = [NO_ROOM]
        self.patch(_reserve, "free_bytes", lambda _: free[0])
        self.assertFalse(lacks_room(Path()))
        free[0] -= 1
        self.assertTrue(lacks_room(Path()))
