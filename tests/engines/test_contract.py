"""
What every engine promises, checked on each of them.

`tests.store.test_contract` and `tests.store.test_machine` check what follows from it
for the store.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from asciid.errors import (
    ChunkExistsError,
    HashMismatchError,
    ImageExistsError,
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
    StorageFailedError,
    StoreClosedError,
    TooManyUploadsError,
)
from asciid.model import ImageSpec, ImageState
from asciid.store.engine import IEngine
from asciid.store.operations import (
    Abandon,
    AddChunk,
    AddPieces,
    Adopt,
    Begin,
    DeleteDiscarded,
    Expired,
    Finish,
    Probe,
    Put,
    Register,
    Remove,
    RemoveExpired,
    Unverified,
    single_outcome,
)
from asciid.store.pending import PendingLimits
from asciid.store.queries import (
    BRIEF_CHUNKS,
    FindComplete,
    FindExpired,
    HashWith,
    IsComplete,
    MeasureUsage,
    ReadBriefStatus,
    ReadRanges,
    ReadStatus,
    Several,
)
from asciid.store.rules import PIECE
from asciid.store.stats import StoreHealth
from tests.engines._case import EngineCase
from tests.engines._driven import (
    DrivenLMDB,
    DrivenMemory,
    DrivenPostgreSQL,
    DrivenRemote,
)
from tests.engines._operations import pieces_of
from tests.store._support import chunk_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.store.operations import AnyOperation, Kind
    from asciid.store.queries import StoredImage

CAT, DOG = b"/\\_/\\\n( o.o )\n >^<\n", b"woof"
LARGE = bytes(range(256)) * 1_100
"""More than any engine hashes in one operation."""
NOWHERE = "0" * 64


class EngineContract(EngineCase):
    """The promises of `IEngine`."""

    is_replicated = True
    """Whether it should have a standby, and has one."""

    def find(self, spec: ImageSpec) -> StoredImage:
        """Return the location of a complete image."""
        return self.driven.ask(FindComplete(spec.sha256, 0)).image

    def turn_until_known(self) -> None:
        """Run everything until the engine has received all removals."""
        self.driven.run(self.driven.engine.apply(()))
        self.assertTrue(self.driven.engine.removals_known)

    def test_interface(self) -> None:
        """It provides `IEngine`."""
        verifyObject(IEngine, self.driven.engine)

    def test_outcomes(self) -> None:
        """Each operation has its own outcome; a domain error spoils no other one."""
        spec = spec_of(DOG)
        outcomes = self.driven.apply(
            Register(spec),
            Register(spec),
            AddChunk(NOWHERE, 0, DOG),
            AddChunk(spec.sha256, 0, DOG),
        )
        first, second, third, last = outcomes
        self.assertIsNone(first)
        self.assertIsInstance(second, ImageExistsError)
        self.assertIsInstance(third, ImageNotFoundError)
        self.assertEqual((last.spec, last.content), (spec, DOG))
        self.assertEqual(last.completed, 1_000_000_000)

    def test_order(self) -> None:
        """Outcomes arrive in the order of the calls, also that of an empty one."""
        arrived: list[str] = []
        spec = spec_of(CAT)
        calls: dict[str, Sequence[AnyOperation]] = {
            "register": [Register(spec)],
            "nothing": [],
            "chunk": [AddChunk(spec.sha256, 0, CAT[:4])],
        }
        for name, operations in calls.items():
            applying = self.driven.engine.apply(operations)
            applying.addCallback(partial(lambda name, _: arrived.append(name), name))
        self.assertEqual(self.driven.apply(), [])
        self.assertEqual(arrived, list(calls))

    def test_expired_numbers(self) -> None:
        """An image stored after the expired one was found is not removed."""
        spec = self.upload(CAT)
        self.driven.pass_time(9)
        old = Expired(10**9, spec.sha256)
        self.assertEqual(self.driven.apply(RemoveExpired("images", 5, [old])), [0])
        self.assertTrue(self.driven.ask(IsComplete(spec.sha256)))

    def test_cancelled(self) -> None:
        """An accepted operation is carried out even if its Deferred is cancelled."""
        spec = spec_of(CAT)
        applying = self.driven.engine.apply([Register(spec)])
        applying.cancel()
        self.failureResultOf(applying, CancelledError)
        self.driven.apply()
        self.assertEqual(self.driven.ask(ReadStatus(spec.sha256, 0)).spec, spec)

    def test_then(self) -> None:
        """What follows from the outcomes is done even if the Deferred is cancelled."""
        arrived: list[Sequence[Any]] = []
        registering = [Register(spec_of(CAT))]
        cancelled = self.driven.engine.apply(registering, arrived.append)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        applied = self.driven.engine.apply(registering, single_outcome)
        self.assertRaises(ImageExistsError, self.driven.run, applied)
        self.assertEqual(arrived, [[None]])

    def test_then_fails(self) -> None:
        """An exception of what follows is the result of that call alone."""

        def fail_with(outcomes: Sequence[Any]) -> None:
            raise ZeroDivisionError(str(outcomes))

        failing = self.driven.engine.apply([], fail_with)
        self.driven.apply()
        self.failureResultOf(failing, ZeroDivisionError)

    def test_then_waits(self) -> None:
        """A Deferred of what follows is awaited, and not cancelled with the call's."""
        following: list[Deferred[int]] = [Deferred(), Deferred()]
        waiting = iter(following)
        cancelled, applied = [
            self.driven.engine.apply([], lambda _: next(waiting)) for _ in following
        ]
        self.driven.apply()
        cancelled.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self.successResultOf(cancelled)
        self.assertNoResult(applied)
        for one in following:
            self.assertFalse(one.called)
            one.callback(7)
        self.assertEqual(self.successResultOf(applied), 7)

    def test_acknowledged(self) -> None:
        """Queries see all acknowledged operations."""
        spec = spec_of(CAT)
        self.assertFalse(self.driven.ask(IsComplete(spec.sha256)))
        self.upload(CAT)
        self.assertTrue(self.driven.ask(IsComplete(spec.sha256)))
        found = self.driven.ask(FindComplete(spec.sha256, len(CAT)))
        self.assertEqual((found.image.spec, found.content), (spec, CAT))
        self.assertEqual(found.image.completed, 1_000_000.0)
        without = self.driven.ask(FindComplete(spec.sha256, len(CAT) - 1))
        self.assertIsNone(without.content)
        ranges = ((0, 0), (0, 1), (3, 9), (0, len(CAT)))
        self.assertEqual(
            self.driven.ask(ReadRanges(found.image, ranges)),
            [CAT[start:end] for start, end in ranges],
        )

    def test_removed(self) -> None:
        """Caches are notified of a removal in the turn that acknowledges it."""
        spec = spec_of(CAT)
        notified: list[bool] = []

        def check(_: object) -> None:
            removed = [spec.sha256] in self.driven.removed
            notified.append(removed and self.driven.engine.removals_known)

        for expired in (False, True):
            self.upload(CAT)
            self.turn_until_known()
            self.driven.removed.clear()
            found = [Expired(self.find(spec).number, spec.sha256)]
            self.driven.pass_time(1)
            operation = (
                RemoveExpired("images", 0.5, found) if expired else Remove(spec.sha256)
            )
            removing = self.driven.engine.apply([operation])
            removing.addCallback(lambda _: self.driven.reactor.callLater(0, check, _))
            self.driven.run(removing)
            self.driven.reactor.advance(0)
        self.assertEqual(notified, [True, True])

    def test_removed_at_once(self) -> None:
        """No cache is used for what follows at once from the outcome of a removal."""
        spec = self.upload(CAT)
        self.turn_until_known()
        self.driven.removed.clear()
        known: list[bool] = []

        def check(_: object) -> None:
            notified = [spec.sha256] in self.driven.removed
            known.append(notified or not self.driven.engine.removals_known)

        removing = self.driven.engine.apply([Remove(spec.sha256)]).addCallback(check)
        self.driven.run(removing)
        self.assertEqual(known, [True])
        self.turn_until_known()

    def test_removed_while_pending(self) -> None:
        """Nothing that could be cached is removed with a pending upload."""
        spec = spec_of(CAT)
        self.driven.apply(Register(spec), Remove(spec.sha256))
        self.turn_until_known()
        self.assertNotIn([spec.sha256], self.driven.removed)

    def test_stored_again(self) -> None:
        """An image that was stored again is not the one that was found before."""
        spec = self.upload(CAT)
        found = self.find(spec)
        self.driven.apply(Remove(spec.sha256))
        self.upload(CAT)
        while self.driven.apply(DeleteDiscarded()) == [True]:
            pass
        asking = self.driven.engine.ask(ReadRanges(found, ((0, 1),)))
        self.assertRaises(ImageNotFoundError, self.driven.run, asking)

    def test_several(self) -> None:
        """Of several queries each has its own answer, or domain error."""
        spec, pending = self.upload(CAT), spec_of(DOG)
        self.driven.apply(Register(pending))
        complete, unknown, incomplete = self.driven.ask(
            Several(
                [
                    IsComplete(spec.sha256),
                    FindComplete(NOWHERE, 0),
                    FindComplete(pending.sha256, 0),
                ]
            )
        )
        self.assertTrue(complete)
        self.assertIsInstance(unknown, ImageNotFoundError)
        self.assertIsInstance(incomplete, ImageIncompleteError)
        self.assertEqual(self.driven.ask(Several([])), [])

    def begin_large(self, spec: ImageSpec) -> Unverified:
        """Upload a large image but for its last chunk; return the upload to hash."""
        first = chunk_of(LARGE, spec, 0)
        last = chunk_of(LARGE, spec, 1)
        *_, outcome = self.driven.apply(
            Register(spec),
            AddChunk(spec.sha256, 0, first),
            AddChunk(spec.sha256, 1, last),
        )
        self.assertIsInstance(outcome, Unverified)
        unverified: Unverified = outcome
        return unverified

    def test_large(self) -> None:
        """A large image is hashed by a query, and complete only then."""
        spec = spec_of(LARGE, 200_000)
        last = chunk_of(LARGE, spec, 1)
        upload = self.begin_large(spec)
        actual = self.driven.ask(HashWith(upload, 1, last))
        self.assertEqual(actual, spec.sha256)
        self.assertFalse(self.driven.ask(IsComplete(spec.sha256)))
        (completed,) = self.driven.apply(Finish(upload, 1, last, actual))
        self.assertEqual(completed.spec, spec)
        self.assertEqual(
            self.driven.ask(ReadRanges(self.find(spec), ((199_999, 200_001),))),
            [LARGE[199_999:200_001]],
        )
        (again,) = self.driven.apply(Finish(upload, 1, last, actual))
        self.assertIsInstance(again, ChunkExistsError)

    def test_large_with_wrong_hash(self) -> None:
        """With another hash it is discarded."""
        spec = spec_of(LARGE, 200_000)
        upload = self.begin_large(spec)
        last = bytes(len(chunk_of(LARGE, spec, 1)))
        actual = self.driven.ask(HashWith(upload, 1, last))
        self.assertEqual(actual, sha256(LARGE[:200_000] + last).hexdigest())
        (outcome,) = self.driven.apply(Finish(upload, 1, last, actual))
        self.assertIsInstance(outcome, HashMismatchError)
        status = self.driven.engine.ask(ReadStatus(spec.sha256, 0))
        self.assertRaises(ImageNotFoundError, self.driven.run, status)

    def test_large_that_was_replaced(self) -> None:
        """A hash is not accepted for an upload that replaced the hashed one."""
        spec = spec_of(LARGE, 200_000)
        upload = self.begin_large(spec)
        last = chunk_of(LARGE, spec, 1)
        removed, none = self.driven.apply(
            Remove(spec.sha256), Finish(upload, 1, last, spec.sha256)
        )
        self.assertIsNone(removed)
        self.assertIsInstance(none, ImageNotFoundError)
        self.driven.apply(Register(spec))
        (outcome,) = self.driven.apply(Finish(upload, 1, last, spec.sha256))
        self.assertIsNone(outcome)
        status = self.driven.ask(ReadStatus(spec.sha256, 0))
        self.assertEqual(status.missing, ((0, 0),))

    def test_staged(self) -> None:
        """A staged image has no hash until it is adopted, in place of a pending one."""
        spec = spec_of(LARGE, 1_000)
        self.driven.apply(Register(spec))
        (number,) = self.driven.apply(Begin())
        pieces = pieces_of(LARGE)
        self.driven.apply(AddPieces(number, 0, pieces[:2]))
        self.driven.apply(AddPieces(number, 2, pieces[2:]))
        self.assertFalse(self.driven.ask(IsComplete(spec.sha256)))
        (completed,) = self.driven.apply(Adopt(number, spec.sha256, len(LARGE)))
        self.assertEqual(completed.spec, spec)
        ranges = ((PIECE - 1, PIECE + 1), (len(LARGE) - 2, len(LARGE)))
        self.assertEqual(
            self.driven.ask(ReadRanges(self.find(spec), ranges)),
            [LARGE[start:end] for start, end in ranges],
        )
        usage = self.driven.ask(MeasureUsage())
        self.assertEqual((usage.images, usage.pending), (1, 0))
        for again in (Put(spec.sha256, LARGE), Abandon(number)):
            self.assertEqual(self.driven.apply(again), [None])
        self.assertTrue(self.driven.ask(IsComplete(spec.sha256)))

    def test_staged_pieces_beyond_the_end(self) -> None:
        """Of what was staged, only the length that is adopted belongs to the image."""
        (number,) = self.driven.apply(Begin())
        spec = spec_of(CAT, PIECE)
        *_, completed = self.driven.apply(
            AddPieces(number, 0, pieces_of(LARGE)),
            AddPieces(number, 0, [CAT]),
            Adopt(number, spec.sha256, len(CAT)),
        )
        self.assertEqual(completed.spec, spec)
        found = self.driven.ask(FindComplete(spec.sha256, len(CAT)))
        self.assertEqual(found.content, CAT)

    def test_abandoned(self) -> None:
        """An image that was abandoned cannot go on."""
        (number,) = self.driven.apply(Begin())
        outcomes = self.driven.apply(
            Abandon(number), AddPieces(number, 0, [DOG]), Adopt(number, NOWHERE, 4)
        )
        self.assertIsNone(outcomes[0])
        for outcome in outcomes[1:]:
            self.assertIsInstance(outcome, StorageFailedError)

    def expired(self, kind: Kind, older_than: float) -> list[Expired]:
        """Return all that has expired."""
        found: list[Expired] = []
        start = b""
        while True:
            page = self.driven.ask(FindExpired(kind, older_than, start))
            found += page.found
            start = page.rest
            if not start:
                return found

    def test_expired(self) -> None:
        """Expired entries are found by kind, and removed if still expired."""
        image, pending, active = self.upload(CAT), spec_of(DOG), spec_of(LARGE, 9)
        (number,) = self.driven.apply(Begin())
        self.driven.apply(Register(pending), Register(active))
        self.driven.pass_time(10)
        self.assertEqual(self.expired("uploads", 11), [])
        uploads, images, staged = (
            self.expired(kind, 9) for kind in ("uploads", "images", "staged")
        )
        self.assertEqual(
            {old.sha256 for old in uploads}, {pending.sha256, active.sha256}
        )
        self.assertEqual([old.sha256 for old in images], [image.sha256])
        self.assertEqual([old.number for old in staged], [number])
        self.driven.apply(AddChunk(active.sha256, 0, LARGE[:9]))
        other = [Expired(images[0].number + 77, image.sha256)]
        self.assertEqual(
            self.driven.apply(
                RemoveExpired("uploads", 9, uploads),
                RemoveExpired("images", 9, other),
                RemoveExpired("images", 9, images),
                RemoveExpired("staged", 9, staged),
            ),
            [1, 0, 1, 1],
        )
        self.driven.ask(ReadStatus(active.sha256, 0))
        for sha256_hex, error in (
            (pending.sha256, ImageNotFoundError),
            (image.sha256, ImageGoneError),
        ):
            asking = self.driven.engine.ask(ReadStatus(sha256_hex, 0))
            self.assertRaises(error, self.driven.run, asking)
        self.driven.pass_time(10)
        gone = self.expired("gone", 9)
        self.assertEqual([old.sha256 for old in gone], [image.sha256])
        self.assertEqual(self.driven.apply(RemoveExpired("gone", 9, gone)), [1])
        asking = self.driven.engine.ask(ReadStatus(image.sha256, 0))
        self.assertRaises(ImageNotFoundError, self.driven.run, asking)

    def test_status(self) -> None:
        """A status has the missing chunks and the time of expiry."""
        spec = spec_of(CAT)
        self.driven.apply(Register(spec), AddChunk(spec.sha256, 1, CAT[4:8]))
        self.driven.pass_time(3)
        status = self.driven.ask(ReadStatus(spec.sha256, 100))
        self.assertIs(status.state, ImageState.PENDING)
        self.assertEqual((status.created, status.expires), (1_000_000, 1_000_100))
        self.assertEqual(status.missing, ((0, 0), (2, 4)))
        self.assertIsNone(self.driven.ask(ReadStatus(spec.sha256, 0)).expires)

    def test_brief_status(self) -> None:
        """A brief status is the same, or None where an upload has many chunks."""
        few, many = (
            ImageSpec(digit * 64, chunks, 1)
            for digit, chunks in (("a", BRIEF_CHUNKS), ("b", BRIEF_CHUNKS + 1))
        )
        complete = self.upload(CAT)
        self.driven.apply(Register(few), Register(many))
        for spec in (few, many, complete):
            status = self.driven.ask(ReadStatus(spec.sha256, 100))
            brief = self.driven.ask(ReadBriefStatus(spec.sha256, 100))
            self.assertIn(brief, (status,) if spec is not many else (status, None))
        asking = self.driven.engine.ask(ReadBriefStatus(NOWHERE, 0))
        self.assertRaises(ImageNotFoundError, self.driven.run, asking)

    def test_pending_limits(self) -> None:
        """The bound on pending uploads holds, and what ends makes room."""
        self.stop()
        self.begin(pending=PendingLimits(total=1))
        first, second = spec_of(CAT), spec_of(DOG)
        registered, refused = self.driven.apply(Register(first), Register(second))
        self.assertIsNone(registered)
        self.assertIsInstance(refused, TooManyUploadsError)
        removed, accepted = self.driven.apply(Remove(first.sha256), Register(second))
        self.assertEqual((removed, accepted), (None, None))

    def test_discarded(self) -> None:
        """Discarded chunks are deleted in bounded steps."""
        spec = spec_of(bytes(2_500), 1)
        chunks = [AddChunk(spec.sha256, i, b"\0") for i in range(2_499)]
        self.driven.apply(Register(spec), *chunks, Remove(spec.sha256))
        steps = 0
        while self.driven.apply(DeleteDiscarded()) == [True]:
            steps += 1
        self.assertIn(steps, (2, 3))

    def test_health(self) -> None:
        """It is well, and probing changes nothing."""
        well = StoreHealth(
            open=True,
            writes=True,
            reads=True,
            has_room=True,
            is_replicated=self.is_replicated,
        )
        self.assertEqual(self.driven.engine.health(), well)
        self.assertEqual(self.driven.apply(Probe()), [None])
        self.assertEqual(self.driven.engine.health(), well)
        self.driven.run(self.driven.engine.tidy())

    def test_stopped(self) -> None:
        """While it drains operations are accepted, and nothing after the stop."""
        spec = spec_of(CAT)
        before = self.driven.engine.apply([Register(spec)])
        draining = self.driven.engine.drain()
        follow_up = self.driven.engine.apply([Remove(spec.sha256)])
        self.driven.run(draining)
        self.successResultOf(before)
        self.assertEqual(self.driven.run(follow_up), [None])
        self.stop()
        self.assertFalse(self.driven.engine.health().open)
        self.failureResultOf(self.driven.engine.apply([Probe()]), StoreClosedError)
        asking = self.driven.engine.ask(IsComplete(NOWHERE))
        self.failureResultOf(asking, StoreClosedError)


class LMDBTests(EngineContract, SynchronousTestCase):
    """An LMDB file."""

    kind = DrivenLMDB


class MemoryTests(EngineContract, SynchronousTestCase):
    """Memory."""

    kind = DrivenMemory


class RemoteTests(EngineContract, SynchronousTestCase):
    """Another process, which has an LMDB file."""

    kind = DrivenRemote


class PostgreSQLTests(EngineContract, SynchronousTestCase):
    """A PostgreSQL database."""

    kind = DrivenPostgreSQL
    is_replicated = False
