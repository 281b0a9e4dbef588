"""Every store against a model of the contract, whatever the order of calls."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid import errors
from asciid.model import About, ImageSpec, ImageState
from asciid.store import GONE_FOR, IImageStore, Lifetimes
from asciid.store.rules import PIECE
from asciid.testing import MemoryStore
from tests._thoroughness import examples
from tests.engines._postgresql import DrivenDatabase, clean_database, server
from tests.store._support import DrivenStore, chunk_of, registered, spec_of
from tests.workers._support import DrivenWorkers, InTurn

if TYPE_CHECKING:
    from unittest import TestCase

ResultT = TypeVar("ResultT")

IMAGES = [b"", b"x", b"/\\_/\\\n( o.o )\n", bytes(range(40)), b"ab" * 30]
SETTINGS = settings(
    examples(30),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)


LIFETIMES = Lifetimes(upload=100, image=1_000)


@define
class Expected:
    """The model of one image."""

    spec: ImageSpec
    data: bytes
    active: float
    number: int
    """In the order of registrations and of images that are received whole."""
    chunks: dict[int, bytes] = field(factory=dict)
    about: About = field(factory=About)
    deadline: float = float("inf")
    completed: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return len(self.chunks) == self.spec.chunks


class MemoryMachine(RuleBasedStateMachine):
    """The store in memory against the model; there are no restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, Expected] = {}
        self.gone: dict[str, float] = {}
        self.blocked: dict[str, str] = {}
        self.last_number = 0
        self.elapsed = 0.0
        # Seconds by which the wall clock was moved, now and at the start.
        self.jumped = self.started = 0.0
        self.store: IImageStore = self.open()

    def clock(self) -> float:
        """Return the wall clock's time."""
        return 1_000_000_000.0 + self.elapsed + self.jumped

    def stamp(self) -> float:
        """Return the time of a store that was opened at the last start."""
        return self.elapsed + self.started

    def open(self) -> IImageStore:
        """Return a started store."""
        return MemoryStore(
            lifetimes=LIFETIMES, clock=self.clock, monotonic=lambda: self.elapsed
        )

    @rule(seconds=st.sampled_from([1, 40, 99, 100, 101, 500, GONE_FOR]))
    def pass_time(self, seconds: float) -> None:
        """Advance the time."""
        self.elapsed += seconds
        self.expire()

    @rule(seconds=st.sampled_from([-86_400, -50, 50, 3_600, 86_400]))
    def set_time(self, seconds: float) -> None:
        """Set the wall clock, which stores read at their start."""
        self.jumped += seconds
        self.expire()

    def expire(self) -> None:
        """Have the store remove expired entries, and nothing else."""
        old = [
            sha256
            for sha256, image in self.expected.items()
            if self.stamp() > image.deadline
            or self.stamp() - image.active
            > (LIFETIMES.image if image.complete else LIFETIMES.upload)
        ]
        for sha256 in old:
            if self.expected.pop(sha256).complete:
                self.gone[sha256] = self.stamp()
        self.gone = {
            sha256: stamp
            for sha256, stamp in self.gone.items()
            if self.stamp() - stamp <= GONE_FOR
        }
        assert self.outcome(self.store.expire()) == len(old)
        self.settle()

    def outcome(self, awaited: Deferred[ResultT]) -> ResultT | type[Exception]:
        """Return the result of `awaited`, or the class of its error."""
        outcome: list[ResultT | type[Exception]] = []
        awaited.addCallbacks(
            outcome.append, lambda failure: outcome.append(type(failure.value))
        )
        self.settle()
        (result,) = outcome
        return result

    def settle(self) -> None:
        """Let everything happen."""

    @rule(
        data=st.sampled_from(IMAGES), chunk_size=st.integers(1, 20), lie=st.booleans()
    )
    def register(self, data: bytes, chunk_size: int, *, lie: bool) -> None:
        """Register an image, or another one under its hash."""
        truth = spec_of(data, chunk_size)
        spec = ImageSpec(truth.sha256, len(data) + 3 * lie, chunk_size)
        expected: type[Exception] | None = None
        if spec.sha256 in self.blocked:
            expected = errors.ImageBlockedError
        elif spec.sha256 in self.expected:
            expected = errors.ImageExistsError
        else:
            content = data + b"lie" * lie
            image = Expected(spec, content, self.stamp(), self.next_number())
            image.completed = self.clock()
            self.expected[spec.sha256] = image
        assert self.outcome(self.store.register(spec)) is expected

    def next_number(self) -> int:
        """Return the number of another upload."""
        self.last_number += 1
        return self.last_number

    @rule(
        data=st.sampled_from(IMAGES),
        chunk_id=st.integers(0, 45),
        change=st.sampled_from(["", "", "", "longer", "shorter", "other"]),
    )
    def add_chunk(self, data: bytes, chunk_id: int, change: str) -> None:
        """Upload a chunk: the right one, or one of another length or content."""
        sha256 = spec_of(data).sha256
        image = self.expected.get(sha256)
        if image is None:
            adding = self.store.add_chunk(sha256, chunk_id, b"")
            self.check(adding, self.absent(sha256))
            return
        right = chunk_of(image.data, image.spec, chunk_id)
        sent = {
            "longer": right + b"x",
            "shorter": right[:-1],
            "other": right.swapcase()[::-1],
        }.get(change, right)
        adding = self.store.add_chunk(sha256, chunk_id, sent)
        if chunk_id >= image.spec.chunks:
            self.check(adding, "ChunkOutOfRange")
        elif len(sent) != len(right):
            self.check(adding, "ChunkSize")
        elif chunk_id in image.chunks:
            self.check(adding, "ChunkExists")
        else:
            image.chunks[chunk_id] = sent
            image.active = self.stamp()
            image.completed = self.clock()
            content = b"".join(chunk for _, chunk in sorted(image.chunks.items()))
            if image.complete and content != data:
                del self.expected[sha256]
                self.check(adding, "HashMismatch")
            else:
                assert self.outcome(adding) is image.complete

    @rule(data=st.sampled_from(IMAGES), lie=st.booleans())
    def create(self, data: bytes, *, lie: bool) -> None:
        """Send a whole image, or other bytes under its hash."""
        sha256 = spec_of(data).sha256

        async def send() -> bool:
            writer = await self.store.create(sha256)
            await writer.write(data + b"lie" * lie)
            return await writer.finish()

        sending = Deferred.fromCoroutine(send())
        image = self.expected.get(sha256)
        if sha256 in self.blocked:
            self.check(sending, "ImageBlocked")
        elif lie:
            self.check(sending, "HashMismatch")
        elif image is not None and image.complete:
            assert self.outcome(sending) is False
        else:
            chunk_size = image.spec.chunk_size if image else PIECE
            spec = spec_of(data, chunk_size)
            chunks = {i: chunk_of(data, spec, i) for i in range(spec.chunks)}
            number = self.next_number()
            new = Expected(spec, data, self.stamp(), number, chunks)
            new.completed = self.clock()
            # Without an edit key nothing of the registration is kept.
            self.expected[sha256] = new
            assert self.outcome(sending) is True

    @rule(data=st.sampled_from(IMAGES))
    def delete(self, data: bytes) -> None:
        """Delete an image, complete or not."""
        sha256 = spec_of(data).sha256
        deleting = self.store.delete(sha256)
        if self.expected.pop(sha256, None) is None:
            self.check(deleting, self.absent(sha256))
        else:
            self.gone.pop(sha256, None)
            assert self.outcome(deleting) is None

    @rule(
        data=st.sampled_from(IMAGES),
        listed=st.booleans(),
        seconds=st.sampled_from([0, 0, -10, 50, 300, 5_000]),
    )
    def set_about(self, data: bytes, *, listed: bool, seconds: int) -> None:
        """List an image, or not, and set the time at which it expires."""
        sha256 = spec_of(data).sha256
        expires = int((self.clock() + seconds) * 1000) if seconds else 0
        about = About(listed=listed, expires=expires)
        setting = self.store.set_about(sha256, about)
        image = self.expected.get(sha256)
        if image is None:
            self.check(setting, self.absent(sha256))
            return
        assert type(self.outcome(setting)) is int
        image.about = about
        self.set_deadline(image)

    def set_deadline(self, image: Expected) -> None:
        """Have an image expire at the time that it has."""
        expires = image.about.expires / 1000
        image.deadline = float("inf")
        if expires:
            image.deadline = self.stamp() + expires - self.clock()

    @rule(data=st.sampled_from(IMAGES), reason=st.sampled_from(["spam", "fraud"]))
    def block(self, data: bytes, reason: str) -> None:
        """Block an image, stored or not."""
        sha256 = spec_of(data).sha256
        stored = self.expected.pop(sha256, None) is not None
        self.blocked[sha256] = reason
        assert self.outcome(self.store.block(sha256, reason)) is stored

    @rule(data=st.sampled_from(IMAGES))
    def unblock(self, data: bytes) -> None:
        """Accept an image again."""
        sha256 = spec_of(data).sha256
        blocked = self.blocked.pop(sha256, None) is not None
        assert self.outcome(self.store.unblock(sha256)) is blocked

    def absent(self, sha256: str) -> str:
        """Return the error for an image that is not registered."""
        if sha256 in self.blocked:
            return "ImageBlocked"
        return "ImageGone" if sha256 in self.gone else "ImageNotFound"

    def check(self, awaited: Deferred[ResultT], name: str) -> None:
        """Check that `awaited` fails with the domain error of that name."""
        assert self.outcome(awaited) is getattr(errors, f"{name}Error")

    @rule(data=st.sampled_from(IMAGES))
    def download(self, data: bytes) -> None:
        """Download an image."""
        sha256 = spec_of(data).sha256
        image = self.expected.get(sha256)
        opening = self.store.open(sha256)
        if image is None:
            self.check(opening, self.absent(sha256))
        elif not image.complete:
            self.check(opening, "ImageIncomplete")
        else:
            reader = self.outcome(opening)
            assert not isinstance(reader, type)
            assert self.outcome(reader.read(0, len(data))) == data

    @invariant()
    def listing(self) -> None:
        """List the images that are listed, the newest first."""
        images = [
            image
            for image in self.expected.values()
            if image.complete and image.about.listed
        ]
        images.sort(key=lambda image: (image.completed, image.number), reverse=True)
        found = self.outcome(self.store.list_images(None, 99))
        assert not isinstance(found, type)
        assert [(one.spec, one.record.about) for one in found] == [
            (image.spec, image.about) for image in images
        ]
        blocked = self.outcome(self.store.blocked())
        assert not isinstance(blocked, type)
        assert {one.sha256: one.reason for one in blocked} == self.blocked

    @invariant()
    def statuses(self) -> None:
        """Every status matches the model, and nothing else is registered."""
        assert self.outcome(registered(self.store)) == len(self.expected)
        for sha256, image in self.expected.items():
            status = self.outcome(self.store.status(sha256))
            assert not isinstance(status, type)
            assert status.spec == image.spec
            assert (status.state is ImageState.COMPLETE) == image.complete
            assert status.received == sum(map(len, image.chunks.values()))
            missing = {i for a, b in status.missing for i in range(a, b + 1)}
            assert missing == set(range(image.spec.chunks)) - set(image.chunks)
            expires = None
            if not image.complete:
                left = LIFETIMES.upload - (self.stamp() - image.active)
                expires = self.clock() + left
            assert status.expires == expires


class LMDBMachine(MemoryMachine):
    """The store over an LMDB file against the model, restarts included."""

    def open(self) -> IImageStore:
        """Return a started store on a new directory."""
        self.path = Path(tempfile.mkdtemp(prefix="asciid-"))
        return self.open_again()

    def open_again(self) -> IImageStore:
        """Return a started store on the same directory."""
        self.driven = DrivenStore(
            str(self.path),
            map_size=64 * 1024,
            lifetimes=LIFETIMES,
            clock=self.clock,
            monotonic=lambda: self.elapsed,
        )
        self.driven.start()
        return self.driven.store

    def settle(self) -> None:
        """Turn the reactor and the threads."""
        self.driven.settle()

    @rule()
    def restart(self) -> None:
        """Stop the store and start another one on its directory."""
        self.driven.stop()
        self.started = self.jumped
        self.store = self.open_again()

    def teardown(self) -> None:
        """Remove the directory."""
        self.driven.stop()
        shutil.rmtree(self.path)


class PostgreSQLMachine(MemoryMachine):
    """The store over a PostgreSQL database against the model, restarts included."""

    def open(self) -> IImageStore:
        """Return a started store on an empty database."""
        clean_database()
        return self.open_again()

    def open_again(self) -> IImageStore:
        """Return a started store on the same database."""
        self.driven = DrivenDatabase(
            server(),
            lifetimes=LIFETIMES,
            clock=lambda _: self.clock(),
            monotonic=lambda: self.elapsed,
        )
        self.driven.start()
        return self.driven.store

    def stamp(self) -> float:
        """Return the time: all of it is the database's."""
        return self.elapsed + self.jumped

    def settle(self) -> None:
        """Turn the reactor and the threads."""
        self.driven.settle()

    @rule()
    def restart(self) -> None:
        """Stop the store and start another one on its database."""
        self.driven.stop()
        self.store = self.open_again()

    def teardown(self) -> None:
        """Stop the store."""
        self.driven.stop()


class WorkersMachine(MemoryMachine):
    """Two workers in turn, and the process that writes for them, against the model."""

    def open(self) -> IImageStore:
        """Return what calls the workers in turn."""
        self.path = Path(tempfile.mkdtemp(prefix="asciid-"))
        self.driven = DrivenWorkers(str(self.path), 2, lifetimes=LIFETIMES)
        self.driven.start()
        return cast("IImageStore", InTurn(self.driven))

    def settle(self) -> None:
        """Turn the reactor and the threads."""
        self.driven.writer.now = self.clock()
        self.driven.writer.elapsed = self.elapsed
        self.driven.settle()

    def teardown(self) -> None:
        """Remove the directory."""
        self.driven.stop()
        shutil.rmtree(self.path)


def _run(
    machine: type[RuleBasedStateMachine], settings_: settings = SETTINGS
) -> type[TestCase]:
    case: type[TestCase] = machine.TestCase
    case.settings = settings_  # type: ignore[attr-defined]
    return case


class MachineTests(SynchronousTestCase):
    """Runs the machines."""

    def test_memory(self) -> None:
        """`MemoryStore` matches the model."""
        _run(MemoryMachine)("runTest").debug()

    def test_workers(self) -> None:
        """Workers match the model."""
        _run(WorkersMachine)("runTest").debug()

    def test_lmdb(self) -> None:
        """It matches the model, and loses nothing in a restart."""
        _run(LMDBMachine)("runTest").debug()

    def test_postgresql(self) -> None:
        """A database matches the model, with fewer examples: each takes longer."""
        server()
        _run(PostgreSQLMachine, settings(SETTINGS, max_examples=6))("runTest").debug()
