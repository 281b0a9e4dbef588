"""What every store promises, checked on each of them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from attrs import fields
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from asciid.engines.lmdb._batch import (
    VERIFY_IN_TRANSACTION,
    VERIFY_IN_TRANSACTION_CHUNKS,
)
from asciid.errors import (
    AboutChangedError,
    ChunkExistsError,
    ChunkOutOfRangeError,
    ChunkSizeError,
    ClientUploadsError,
    EditKeyError,
    HashMismatchError,
    ImageBlockedError,
    ImageExistsError,
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
    InvalidAboutError,
    StoreClosedError,
    TooManyUploadsError,
)
from asciid.model import (
    EMPTY_SHA256,
    About,
    ImageSpec,
    ImageState,
    NewImage,
    UploadStatus,
)
from asciid.store import (
    GONE_FOR,
    IImageReader,
    IImageStore,
    IImageWriter,
    Lifetimes,
    PendingLimits,
)
from asciid.store.rules import MAX_MISSING_RANGES
from asciid.testing import MemoryStore
from tests.engines._postgresql import DrivenDatabase, clean_database, server
from tests.store._support import DrivenStore, Turned, chunk_of, registered, spec_of

if TYPE_CHECKING:
    from random import Random

    Base = SynchronousTestCase
else:
    Base = object

ResultT = TypeVar("ResultT")
CAT = b"/\\_/\\\n( o.o )\n >^<\n"
KEY = bytes(range(32))
"""The hash of an edit key."""
LARGE = bytes(range(256)) * (VERIFY_IN_TRANSACTION // 256 + 1)


def happened(case: SynchronousTestCase, awaited: Deferred[ResultT]) -> ResultT:
    """Return what `awaited` has fired with already, or raise it."""
    outcome: list[ResultT] = []
    awaited.addCallback(outcome.append)
    if not outcome:
        case.failureResultOf(awaited).raiseException()
    return outcome[0]


class Seen:
    """An observer of a store."""

    def __init__(self) -> None:
        self.images: list[ImageSpec] = []
        self.hashes: list[str] = []
        self.completed = self.images.append
        self.deleted = self.hashes.append


class StoreContract(Base):
    """The promises of `IImageStore`."""

    store: IImageStore
    now: float
    elapsed: float

    @cached_property
    def seen(self) -> Seen:
        """What observes the store of `setUp`."""
        return Seen()

    def keep(self, lifetimes: Lifetimes) -> None:
        """Put a new store in the place of the one of `setUp`."""
        raise NotImplementedError

    def pass_time(self, seconds: float) -> int:
        """Let time go by; return how many uploads and images that removed."""
        self.now += seconds
        self.elapsed += seconds
        return self.run_(self.store.expire())

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Make `awaited` fire and return its result."""
        raise NotImplementedError

    def add(self, data: bytes, spec: ImageSpec, chunk_id: int) -> bool:
        """Upload one chunk of `data`."""
        chunk = chunk_of(data, spec, chunk_id)
        added: bool = self.run_(self.store.add_chunk(spec.sha256, chunk_id, chunk))
        return added

    def upload(self, data: bytes, chunk_size: int = 4) -> ImageSpec:
        """Register and upload a whole image."""
        spec = spec_of(data, chunk_size)
        self.run_(self.store.register(spec))
        for chunk_id in range(spec.chunks):
            self.add(data, spec, chunk_id)
        return spec

    def download(self, sha256: str) -> bytes:
        """Read a whole image."""
        reader = self.run_(self.store.open(sha256))
        return self.run_(reader.read(0, reader.spec.size))

    def status(self, spec: ImageSpec) -> UploadStatus:
        """Return the status of an image."""
        return self.run_(self.store.status(spec.sha256))

    def test_interfaces(self) -> None:
        """The store and its readers provide their interfaces."""
        verifyObject(IImageStore, self.store)
        spec = self.upload(CAT)
        verifyObject(IImageReader, self.run_(self.store.open(spec.sha256)))
        verifyObject(IImageWriter, self.run_(self.store.create(spec.sha256)))

    def put(
        self, data: bytes, sha256: str | None = None, new: NewImage | None = None
    ) -> tuple[str, bool]:
        """Store a whole image; return its hash, and whether it is new."""
        writer = self.run_(self.store.create(sha256, new))
        self.run_(writer.write(data))
        is_new = self.run_(writer.finish())
        return writer.sha256, is_new

    def test_put_without_hash(self) -> None:
        """An image without a given hash gets that of its bytes."""
        for data in (CAT, LARGE, b""):
            new = NewImage(About("Cat"), KEY)
            writer = self.run_(self.store.create(None, new))
            self.assertEqual((writer.sha256, writer.exists), ("", False))
            self.run_(writer.write(data))
            self.assertTrue(self.run_(writer.finish()))
            sha256 = spec_of(data).sha256
            self.assertEqual(writer.sha256, sha256)
            self.assertEqual(self.download(sha256), data)
            self.assertEqual(self.run_(self.store.about(sha256)).about.title, "Cat")
            self.assertEqual(self.put(data), (sha256, False))

    def test_about(self) -> None:
        """What an upload brings is stored, and can be changed with the key."""
        spec = spec_of(CAT)
        new = NewImage(About("Cat"), KEY)
        self.run_(self.store.register(spec, "", new))
        before = self.run_(self.store.about(spec.sha256))
        self.assertEqual((before.about, before.key_hash), (About("Cat"), KEY))
        set_about = self.store.set_about
        wrong = set_about(spec.sha256, About("Tom"), None, bytes(32))
        self.assertRaises(EditKeyError, self.run_, wrong)
        changing = set_about(spec.sha256, About("Tom"), before.revision, KEY)
        revision = self.run_(changing)
        self.assertEqual(self.run_(self.store.about(spec.sha256)).revision, revision)
        old = set_about(spec.sha256, About("Tim"), before.revision)
        self.assertRaises(AboutChangedError, self.run_, old)
        deleting = self.store.delete(spec.sha256, bytes(32))
        self.assertRaises(EditKeyError, self.run_, deleting)
        self.run_(self.store.delete(spec.sha256, KEY))

    def test_invalid_about(self) -> None:
        """What breaks a rule is refused, and nothing is stored."""
        spec, about = spec_of(CAT), About("a\nb")
        for awaited in (
            self.store.register(spec, "", NewImage(about)),
            self.store.create(spec.sha256, NewImage(about)),
            self.store.create(None, NewImage(about)),
            self.store.set_about(spec.sha256, about),
        ):
            self.assertRaises(InvalidAboutError, self.run_, awaited)
        self.assertEqual(self.run_(registered(self.store)), 0)

    def test_listing(self) -> None:
        """Listed images are listed, found and drawn."""
        self.assertTrue(self.store.listed_by_default)
        random = self.store.random
        self.assertRaises(ImageNotFoundError, self.run_, random())
        self.put(LARGE, None, NewImage(About(listed=False)))
        specs = [self.upload(data) for data in (CAT, b"dog")]
        newest, oldest = self.run_(self.store.list_images(None, 10**9))
        self.assertEqual([oldest.spec, newest.spec], specs)
        pair = self.run_(self.store.neighbours(specs[0].sha256))
        self.assertEqual(pair, (newest, None))
        found = self.run_(self.store.find(specs[1].sha256[:12]))
        self.assertEqual(found, [(specs[1].sha256, True)])
        self.assertIn(self.run_(random()), [spec.sha256 for spec in specs])

    def test_blocked(self) -> None:
        """A blocked hash is neither served nor accepted, from memory neither."""
        spec, block = self.upload(CAT), self.store.block
        self.download(spec.sha256)
        for reason in ("", "a\nb"):
            self.assertRaises(ValueError, self.run_, block(spec.sha256, reason))
        self.assertTrue(self.run_(block(spec.sha256, "spam")))
        self.assertFalse(self.run_(block(spec.sha256, "spam")))
        for awaited in (
            self.store.open(spec.sha256),
            self.store.status(spec.sha256),
            self.store.about(spec.sha256),
            self.store.create(spec.sha256),
            self.store.register(spec),
            self.store.delete(spec.sha256),
        ):
            error = self.assertRaises(ImageBlockedError, self.run_, awaited)
            self.assertEqual(error.reason, "spam")
        self.assertRaises(ImageBlockedError, self.put, CAT)
        (blocked,) = self.run_(self.store.blocked())
        self.assertEqual((blocked.sha256, blocked.reason), (spec.sha256, "spam"))
        self.assertTrue(self.run_(self.store.unblock(spec.sha256)))
        self.assertFalse(self.run_(self.store.unblock(spec.sha256)))
        self.upload(CAT)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_blocked_while_received(self) -> None:
        """What is received while its hash is blocked is refused at its end."""
        for data in (CAT, LARGE):
            writer = self.run_(self.store.create(None))
            self.run_(writer.write(data))
            self.run_(self.store.block(spec_of(data).sha256, "spam"))
            self.assertRaises(ImageBlockedError, self.run_, writer.finish())
        self.assertEqual(self.run_(registered(self.store)), 0)

    def test_own_expiry(self) -> None:
        """An image is deleted once its own time has passed, whatever the clock."""
        expires = int((self.now + 100) * 1000)
        sha256, _ = self.put(CAT, None, NewImage(About(expires=expires)))
        other = self.upload(b"dog")
        self.now += 10**6
        self.assertEqual(self.pass_time(99), 0)
        self.assertEqual(self.pass_time(2), 1)
        self.assertRaises(ImageGoneError, self.run_, self.store.open(sha256))
        self.assertEqual(self.download(other.sha256), b"dog")

    def test_upload_in_any_order(self) -> None:
        """Chunks may arrive in any order; the last one returns True."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        order = [2, 4, 0, 3, 1]
        self.assertEqual(spec.chunks, len(order))
        answers = [self.add(CAT, spec, chunk_id) for chunk_id in order]
        self.assertEqual(answers, [False, False, False, False, True])
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_one_chunk(self) -> None:
        """An image may have one chunk, shorter than the chunk size."""
        spec = self.upload(CAT, chunk_size=1_000_000)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_reader(self) -> None:
        """A reader has the spec and the time of completion."""
        self.now = 1_234.5
        spec = self.upload(CAT)
        reader = self.run_(self.store.open(spec.sha256))
        self.assertEqual(reader.spec, spec)
        self.assertEqual(reader.completed, 1_234.5)

    def test_cached(self) -> None:
        """An image that was just stored is in memory, until it is removed."""
        self.assertIsNone(self.store.cached(spec_of(CAT).sha256))
        spec = self.upload(CAT)
        reader = self.store.cached(spec.sha256)
        assert reader is not None
        self.assertEqual((reader.spec, reader.content), (spec, CAT))
        self.run_(self.store.delete(spec.sha256))
        self.assertIsNone(self.store.cached(spec.sha256))

    def test_count(self) -> None:
        """Complete and incomplete images are counted."""
        self.assertEqual(self.run_(registered(self.store)), 0)
        self.upload(CAT)
        self.run_(self.store.register(spec_of(b"dog")))
        self.assertEqual(self.run_(registered(self.store)), 2)

    def test_completed_is_observed(self) -> None:
        """Each image that becomes complete is reported once, in whichever way."""
        specs = [self.upload(CAT), self.upload(LARGE, 4096), self.upload(b"")]
        writer = self.run_(self.store.create(spec_of(b"dog").sha256))
        self.run_(writer.write(b"dog"))
        self.run_(writer.finish())
        again = self.run_(self.store.create(spec_of(b"dog").sha256))
        self.run_(again.write(b"dog"))
        self.run_(again.finish())
        self.run_(self.store.register(spec_of(b"pending")))
        self.assertEqual(
            [(spec.sha256, spec.size) for spec in self.seen.images],
            [(spec.sha256, spec.size) for spec in (*specs, spec_of(b"dog"))],
        )

    def test_deleted_is_observed(self) -> None:
        """Each image or upload that is deleted is reported once, and no other."""
        image, pending = self.upload(CAT), spec_of(b"dog")
        self.run_(self.store.register(pending))
        for sha256 in (image.sha256, pending.sha256):
            self.run_(self.store.delete(sha256))
            self.assertRaises(ImageNotFoundError, self.run_, self.store.delete(sha256))
        self.assertEqual(self.seen.hashes, [image.sha256, pending.sha256])

    def test_register_twice(self) -> None:
        """A hash is registered once, whether its image is complete or not."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        other = ImageSpec(spec.sha256, size=5, chunk_size=5)
        self.assertRaises(ImageExistsError, self.run_, self.store.register(other))
        for chunk_id in range(spec.chunks):
            self.add(CAT, spec, chunk_id)
        self.assertRaises(ImageExistsError, self.run_, self.store.register(spec))
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_empty(self) -> None:
        """The empty image is complete once it is registered."""
        spec = spec_of(b"")
        self.run_(self.store.register(spec))
        self.assertEqual(self.download(EMPTY_SHA256), b"")
        self.assertIs(self.status(spec).state, ImageState.COMPLETE)
        self.assertRaises(
            ChunkOutOfRangeError, self.run_, self.store.add_chunk(EMPTY_SHA256, 0, b"")
        )

    def test_empty_without_a_client(self) -> None:
        """Its completion is reported even if the registration was cancelled."""
        registering = self.store.register(spec_of(b""))
        registering.cancel()
        registering.addErrback(lambda failure: failure.trap(CancelledError))
        self.run_(self.store.register(spec_of(CAT)))
        self.assertEqual([spec.size for spec in self.seen.images], [0])

    def test_empty_with_another_hash(self) -> None:
        """Size 0 under another hash is refused and leaves nothing."""
        spec = ImageSpec(spec_of(CAT).sha256, size=0, chunk_size=1)
        self.assertRaises(HashMismatchError, self.run_, self.store.register(spec))
        self.assertEqual(self.run_(registered(self.store)), 0)

    def test_unknown(self) -> None:
        """A hash that is not registered is unknown to every method."""
        sha256 = spec_of(CAT).sha256
        for awaited in (
            self.store.add_chunk(sha256, 0, b"/\\_/"),
            self.store.status(sha256),
            self.store.open(sha256),
            self.store.delete(sha256),
        ):
            self.assertRaises(ImageNotFoundError, self.run_, awaited)

    def test_incomplete(self) -> None:
        """An image that misses a chunk cannot be opened."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.add(CAT, spec, 1)
        self.assertRaises(ImageIncompleteError, self.run_, self.store.open(spec.sha256))

    def test_out_of_range(self) -> None:
        """A chunk id that the image does not have is refused."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        for chunk_id in (spec.chunks, 2**32 - 1, 2**32, 2**63 - 1):
            awaited = self.store.add_chunk(spec.sha256, chunk_id, b"1234")
            self.assertRaises(ChunkOutOfRangeError, self.run_, awaited)

    def test_wrong_length(self) -> None:
        """A chunk must be as long as its place requires, the last one too."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        for chunk_id, data in ((0, b""), (0, b"123"), (0, b"12345"), (4, b"1234")):
            awaited = self.store.add_chunk(spec.sha256, chunk_id, data)
            error = self.assertRaises(ChunkSizeError, self.run_, awaited)
            self.assertEqual(error.actual, len(data))
        self.assertEqual(self.status(spec).received, 0)

    def test_chunk_twice(self) -> None:
        """A stored chunk is kept; the refusal states whether the bytes are equal."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.add(CAT, spec, 0)
        for data, identical in ((b"/\\_/", True), (b"XXXX", False)):
            awaited = self.store.add_chunk(spec.sha256, 0, data)
            error = self.assertRaises(ChunkExistsError, self.run_, awaited)
            self.assertIs(error.identical, identical)
        self.assertEqual(self.status(spec).received, 4)

    def test_what_follows_a_write(self) -> None:
        """The result of a call that follows is that of the write, also if cancelled."""
        called: list[object] = []

        def then(result: object) -> str:
            called.append(result)
            return "result"

        for data in (CAT, LARGE):
            spec = spec_of(data, -(-len(data) // 2))
            awaited = self.store.register(spec, then=then)
            self.assertEqual(self.run_(awaited), "result")
            first, last = chunk_of(data, spec, 0), chunk_of(data, spec, 1)
            cancelled = self.store.add_chunk(spec.sha256, 0, first, then)
            cancelled.cancel()
            cancelled.addErrback(lambda failure: failure.trap(CancelledError))
            awaited = self.store.add_chunk(spec.sha256, 1, last, then)
            self.assertEqual(self.run_(awaited), "result")
            awaited = self.store.add_chunk(spec.sha256, 1, last, then)
            self.assertRaises(ChunkExistsError, self.run_, awaited)
        self.assertEqual(called, [None, False, True] * 2)

    def test_chunk_of_a_complete_image(self) -> None:
        """A complete image answers a repeated chunk as an incomplete one does."""
        spec = self.upload(CAT)
        for chunk_id, data, identical in ((0, b"/\\_/", True), (3, b"XXXX", False)):
            awaited = self.store.add_chunk(spec.sha256, chunk_id, data)
            error = self.assertRaises(ChunkExistsError, self.run_, awaited)
            self.assertIs(error.identical, identical)
        awaited = self.store.add_chunk(spec.sha256, 0, b"12345")
        self.assertRaises(ChunkSizeError, self.run_, awaited)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_wrong_hash(self) -> None:
        """A wrong hash at the last chunk throws the upload away."""
        spec = ImageSpec(spec_of(CAT).sha256, size=8, chunk_size=4)
        self.run_(self.store.register(spec))
        self.run_(self.store.add_chunk(spec.sha256, 1, b"1234"))
        awaited = self.store.add_chunk(spec.sha256, 0, b"5678")
        error = self.assertRaises(HashMismatchError, self.run_, awaited)
        self.assertEqual(error.actual, spec_of(b"56781234").sha256)
        self.assertRaises(ImageNotFoundError, self.run_, self.store.status(spec.sha256))
        self.assertEqual(self.run_(registered(self.store)), 0)
        self.assertEqual(self.upload(CAT).sha256, spec.sha256)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_large(self) -> None:
        """A large image is verified too, and read in ranges."""
        spec = self.upload(LARGE, chunk_size=100_000)
        reader = self.run_(self.store.open(spec.sha256))
        ranges = ((0, 0), (0, 1), (99_999, 100_001), (5, len(LARGE)))
        expected = [LARGE[start:end] for start, end in ranges]
        self.assertEqual([self.run_(reader.read(*each)) for each in ranges], expected)
        self.assertEqual(self.run_(reader.read_ranges(ranges)), expected)
        cat = self.run_(self.store.open(self.upload(CAT).sha256))
        self.assertEqual(
            self.run_(cat.read_ranges([(1, 3), (0, 2)])), [CAT[1:3], CAT[:2]]
        )

    def test_large_in_reverse(self) -> None:
        """The last chunk to arrive may be the first one of a large image."""
        spec = spec_of(LARGE, 100_000)
        self.run_(self.store.register(spec))
        answers = [self.add(LARGE, spec, i) for i in reversed(range(spec.chunks))]
        self.assertEqual(answers, [False, False, True])
        self.assertEqual(self.download(spec.sha256), LARGE)
        awaited = self.store.add_chunk(spec.sha256, 0, LARGE[:100_000])
        error = self.assertRaises(ChunkExistsError, self.run_, awaited)
        self.assertTrue(error.identical)

    def test_large_with_wrong_hash(self) -> None:
        """A large image with a wrong hash is thrown away too."""
        spec = ImageSpec(spec_of(CAT).sha256, len(LARGE), chunk_size=100_000)
        self.run_(self.store.register(spec))
        for chunk_id in (1, 0):
            self.add(LARGE, spec, chunk_id)
        awaited = self.store.add_chunk(spec.sha256, 2, chunk_of(LARGE, spec, 2))
        error = self.assertRaises(HashMismatchError, self.run_, awaited)
        self.assertEqual(error.actual, spec_of(LARGE).sha256)
        self.assertEqual(self.run_(registered(self.store)), 0)
        self.upload(CAT)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_last_chunk_of_a_large_image_twice(self) -> None:
        """Of two concurrent last chunks, one is refused as existing."""
        spec = spec_of(LARGE, 100_000)
        self.run_(self.store.register(spec))
        self.add(LARGE, spec, 0)
        self.add(LARGE, spec, 2)
        last = chunk_of(LARGE, spec, 1)
        wrong = bytes(len(last))
        first = self.store.add_chunk(spec.sha256, 1, last)
        second = self.store.add_chunk(spec.sha256, 1, last)
        third = self.store.add_chunk(spec.sha256, 1, wrong)
        self.assertTrue(self.run_(first))
        error = self.assertRaises(ChunkExistsError, self.run_, second)
        self.assertTrue(error.identical)
        error = self.assertRaises(ChunkExistsError, self.run_, third)
        self.assertFalse(error.identical)
        self.assertEqual(self.download(spec.sha256), LARGE)

    def test_many_tiny_chunks(self) -> None:
        """An image may be cut into very many chunks."""
        data = b"ab" * VERIFY_IN_TRANSACTION_CHUNKS
        spec = spec_of(data, 1)
        self.run_(self.store.register(spec))
        added = [
            self.store.add_chunk(spec.sha256, i, data[i : i + 1])
            for i in range(spec.chunks)
        ]
        self.assertEqual(sum(map(self.run_, added)), 1)
        self.assertEqual(self.download(spec.sha256), data)

    def test_many_tiny_chunks_with_wrong_hash(self) -> None:
        """Many chunks are thrown away as a few are."""
        data = b"ab" * VERIFY_IN_TRANSACTION_CHUNKS
        spec = ImageSpec(spec_of(CAT).sha256, len(data), 1)
        self.run_(self.store.register(spec))
        added = [
            self.store.add_chunk(spec.sha256, i, data[i : i + 1])
            for i in range(spec.chunks)
        ]
        *others, last = added
        self.assertEqual(sum(map(self.run_, others)), 0)
        self.assertRaises(HashMismatchError, self.run_, last)
        self.upload(CAT)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_status_of_a_pending_upload(self) -> None:
        """A status has the received bytes and the missing ids."""
        self.now = 5.0
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.now = 6.0
        self.add(CAT, spec, 1)
        self.add(CAT, spec, 3)
        self.assertEqual(
            self.status(spec),
            UploadStatus(
                spec,
                ImageState.PENDING,
                received=8,
                created=5.0,
                missing=((0, 0), (2, 2), (4, 4)),
            ),
        )

    def test_status_of_a_complete_image(self) -> None:
        """The status of a complete image has its time of completion."""
        self.now = 5.0
        spec = spec_of(CAT, 10)
        self.run_(self.store.register(spec))
        self.now = 7.0
        self.add(CAT, spec, 0)
        self.add(CAT, spec, 1)
        self.assertEqual(
            self.status(spec),
            UploadStatus(
                spec,
                ImageState.COMPLETE,
                received=len(CAT),
                created=5.0,
                completed=7.0,
            ),
        )

    def test_every_member_of_a_status(self) -> None:
        """No member of a status is left at its default, whatever the image's state."""
        self.keep(Lifetimes(upload=100))
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        statuses = [self.status(spec)]
        self.upload(CAT[::-1])
        statuses.append(self.status(spec_of(CAT[::-1])))
        unset = {
            member.name
            for member in fields(UploadStatus)
            if all(getattr(each, member.name) == member.default for each in statuses)
        }
        # The next test has one that is cut.
        self.assertEqual(unset, {"missing_cut"})

    def test_status_is_bounded(self) -> None:
        """Of very many gaps a status names some, and is marked as truncated."""
        data = bytes(2 * MAX_MISSING_RANGES + 3)
        spec = spec_of(data, 1)
        self.run_(self.store.register(spec))
        added = [
            self.store.add_chunk(spec.sha256, i, b"\0")
            for i in range(1, spec.chunks, 2)
        ]
        for awaited in added:
            self.run_(awaited)
        status = self.status(spec)
        self.assertEqual(len(status.missing), MAX_MISSING_RANGES)
        self.assertEqual(status.missing[-1], (1998, 1998))
        self.assertTrue(status.missing_cut)

    def create(self, data: bytes, *pieces: bytes) -> bool:
        """Send an image in one go; `pieces` are sent in place of `data`."""
        sending = self.begin_create(data, *pieces)
        return self.run_(Deferred.fromCoroutine(sending))

    def test_create(self) -> None:
        """An image may be stored as a whole, whatever its size and its pieces."""
        half = len(LARGE) // 2
        for data, pieces in (
            (b"", ()),
            (CAT, ()),
            (CAT[::-1], (CAT[:4:-1], b"", CAT[4::-1])),
            (LARGE, (LARGE[:half], LARGE[half:])),
            (LARGE[::-1], ()),
            (LARGE * 3, (LARGE, LARGE, LARGE)),
        ):
            self.assertTrue(self.create(data, *pieces))
            self.assertEqual(self.download(spec_of(data).sha256), data)
            status = self.status(spec_of(data))
            self.assertEqual(status.received, len(data))
            self.assertIs(status.state, ImageState.COMPLETE)
            self.assertRaises(
                ImageExistsError, self.run_, self.store.register(spec_of(data))
            )
            self.assertFalse(self.create(data))
        self.assertEqual(self.run_(registered(self.store)), 6)

    def test_create_with_wrong_hash(self) -> None:
        """Bytes with another hash are refused, and leave nothing."""
        for wrong in (b"", CAT[1:], LARGE, LARGE * 2):
            error = self.assertRaises(HashMismatchError, self.create, CAT, wrong)
            self.assertEqual(error.actual, spec_of(wrong).sha256)
        self.assertEqual(self.run_(registered(self.store)), 0)
        self.create(CAT)
        self.assertRaises(HashMismatchError, self.create, CAT, LARGE)
        self.assertEqual(self.download(spec_of(CAT).sha256), CAT)

    def test_create_finishes_a_registration(self) -> None:
        """A whole image completes a pending upload, whatever its chunks so far."""
        for data, chunk_size in ((CAT, 4), (LARGE, 100_000)):
            self.now = 5.0
            spec = spec_of(data, chunk_size)
            self.run_(self.store.register(spec))
            wrong = b"X" * chunk_size
            self.run_(self.store.add_chunk(spec.sha256, 0, wrong))
            self.now = 6.0
            self.assertTrue(self.create(data))
            self.assertEqual(self.download(spec.sha256), data)
            self.assertEqual(
                self.status(spec),
                UploadStatus(
                    spec,
                    ImageState.COMPLETE,
                    received=len(data),
                    created=5.0,
                    completed=6.0,
                ),
            )
            for chunk_id in range(spec.chunks):
                chunk = chunk_of(data, spec, chunk_id)
                awaited = self.store.add_chunk(spec.sha256, chunk_id, chunk)
                error = self.assertRaises(ChunkExistsError, self.run_, awaited)
                self.assertTrue(error.identical)

    def test_create_corrects_a_registration(self) -> None:
        """A registration under the wrong size does not keep the right bytes out."""
        spec = ImageSpec(spec_of(CAT).sha256, size=5, chunk_size=5)
        self.run_(self.store.register(spec))
        self.assertTrue(self.create(CAT))
        self.assertEqual(self.status(spec).spec.size, len(CAT))
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_abandon(self) -> None:
        """An abandoned image leaves nothing, and can be uploaded again."""

        async def begin() -> None:
            writer = await self.store.create(spec_of(LARGE).sha256)
            await writer.write(LARGE[:300_000])
            await writer.abandon()

        self.run_(Deferred.fromCoroutine(begin()))
        self.assertEqual(self.run_(registered(self.store)), 0)
        self.assertTrue(self.create(LARGE))

    def test_two_create_the_same(self) -> None:
        """Of two concurrent uploads of an image, one is answered as new."""

        async def race(data: bytes) -> list[bool]:
            sha256 = spec_of(data).sha256
            writers = [await self.store.create(sha256) for _ in range(2)]
            for writer in writers:
                await writer.write(data)
            return [await writer.finish() for writer in writers]

        for data in (CAT, LARGE):
            answers = self.run_(Deferred.fromCoroutine(race(data)))
            self.assertEqual(answers, [True, False])
            self.assertEqual(self.download(spec_of(data).sha256), data)

    def test_described(self) -> None:
        """A writer knows whether what it brought is stored, its key included."""
        for data in (CAT, LARGE):
            spec = spec_of(data, 100_000)
            writers = [
                self.run_(self.store.create(sha256, NewImage(About("PUT"), KEY)))
                for sha256 in (spec.sha256, None, None)
            ]
            for writer in writers:
                self.run_(writer.write(data))
            for new in (NewImage(About("Mine"), KEY[::-1]), NewImage(About("Spam"))):
                self.run_(self.store.register(spec, "", new))
                writer = writers.pop(0)
                self.assertTrue(self.run_(writer.finish()))
                self.assertEqual(writer.described, not new.key_hash)
                record = self.run_(self.store.about(spec.sha256))
                self.assertEqual(record.key_hash, new.key_hash or KEY)
                title = "Mine" if new.key_hash else "PUT"
                self.assertEqual(record.about.title, title)
                if new.key_hash:
                    self.run_(self.store.delete(spec.sha256))
            self.assertFalse(self.run_(writers[0].finish()))
            self.assertFalse(writers[0].described)

    def test_create_while_chunks_come(self) -> None:
        """Chunks and the whole may arrive at the same time."""
        spec = spec_of(LARGE, 100_000)
        self.run_(self.store.register(spec))
        self.add(LARGE, spec, 0)
        self.add(LARGE, spec, 1)
        last = self.store.add_chunk(spec.sha256, 2, chunk_of(LARGE, spec, 2))
        whole = Deferred.fromCoroutine(self.begin_create(LARGE))
        answers = [self.run_(whole)]
        try:
            answers.append(self.run_(last))
        except ChunkExistsError as error:
            self.assertTrue(error.identical)
        self.assertEqual(answers.count(True), 1)
        self.assertEqual(self.download(spec.sha256), LARGE)

    async def begin_create(self, data: bytes, *pieces: bytes) -> bool:
        """Send an image in one go; `pieces` are sent in place of `data`."""
        writer = await self.store.create(spec_of(data).sha256)
        for piece in pieces or [data]:
            await writer.write(piece)
        return await writer.finish()

    def test_upload_expires(self) -> None:
        """An upload without activity is removed, and can be registered again."""
        self.keep(Lifetimes(upload=100))
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.add(CAT, spec, 0)
        self.assertEqual(self.pass_time(100), 0)
        self.assertEqual(self.pass_time(1), 1)
        self.assertRaises(ImageNotFoundError, self.status, spec)
        awaited = self.store.add_chunk(spec.sha256, 1, chunk_of(CAT, spec, 1))
        self.assertRaises(ImageNotFoundError, self.run_, awaited)
        self.assertEqual(self.run_(registered(self.store)), 0)
        self.upload(CAT, chunk_size=5)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_activity_keeps_an_upload(self) -> None:
        """Each chunk postpones the expiry, which the status states."""
        self.keep(Lifetimes(upload=100))
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        for chunk_id in range(spec.chunks - 1):
            self.assertEqual(self.status(spec).expires, self.now + 100)
            self.assertEqual(self.pass_time(99), 0)
            self.add(CAT, spec, chunk_id)
        self.assertEqual(self.status(spec).expires, self.now + 100)
        self.add(CAT, spec, spec.chunks - 1)
        self.assertIsNone(self.status(spec).expires)
        self.assertEqual(self.pass_time(1e9), 0)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_last_chunk_at_the_last_moment(self) -> None:
        """An upload does not expire while its last chunk is stored."""
        self.keep(Lifetimes(upload=100))
        spec = spec_of(LARGE, 100_000)
        self.run_(self.store.register(spec))
        for chunk_id in range(spec.chunks - 1):
            self.add(LARGE, spec, chunk_id)
        self.now += 101
        self.elapsed += 101
        last = chunk_of(LARGE, spec, spec.chunks - 1)
        adding = self.store.add_chunk(spec.sha256, spec.chunks - 1, last)
        expiring = self.store.expire()
        self.assertTrue(self.run_(adding))
        self.assertEqual(self.run_(expiring), 0)
        self.assertEqual(self.download(spec.sha256), LARGE)

    def test_time_that_is_set(self) -> None:
        """Whatever the system's time is set to, only time that passes counts."""
        self.keep(Lifetimes(upload=100, image=200))
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.upload(b"dog")
        for jump in (86_400.0, -2 * 86_400.0, 86_400.0 * 366):
            self.now += jump
            self.assertEqual(self.pass_time(20), 0)
            self.assertEqual(self.status(spec).expires, self.now + 100 - 20)
            self.add(CAT, spec, self.status(spec).missing[0][0])
        self.assertEqual(self.pass_time(101), 1)
        self.assertEqual(self.download(spec_of(b"dog").sha256), b"dog")
        self.assertEqual(self.pass_time(40), 1)

    def test_kept_for_ever(self) -> None:
        """Without lifetimes nothing is ever removed."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.assertEqual(self.pass_time(1e10), 0)
        self.assertIsNone(self.status(spec).expires)

    def test_image_expires(self) -> None:
        """An expired image is `ImageGoneError` for a while, then it is not found."""
        self.keep(Lifetimes(image=100))
        spec = self.upload(CAT)
        other = self.upload(LARGE, 100_000)
        self.run_(self.store.register(spec_of(b"pending")))
        self.assertEqual(self.pass_time(100), 0)
        self.assertEqual(self.download(spec.sha256), CAT)
        self.assertEqual(self.pass_time(1), 2)
        for sha256 in (spec.sha256, other.sha256):
            for awaited in (
                self.store.open(sha256),
                self.store.status(sha256),
                self.store.add_chunk(sha256, 0, b"/\\_/"),
                self.store.delete(sha256),
            ):
                self.assertRaises(ImageGoneError, self.run_, awaited)
        self.assertEqual(self.pass_time(GONE_FOR), 0)
        self.assertRaises(ImageGoneError, self.status, spec)
        self.pass_time(1)
        self.assertRaises(ImageNotFoundError, self.status, spec)
        self.assertEqual(self.run_(registered(self.store)), 1)

    def test_image_comes_again(self) -> None:
        """An expired image can be uploaded again, in chunks or as a whole."""
        self.keep(Lifetimes(image=100))
        self.upload(CAT)
        self.assertEqual(self.pass_time(101), 1)
        spec = self.upload(CAT, chunk_size=7)
        self.assertEqual(self.download(spec.sha256), CAT)
        self.assertEqual(self.pass_time(101), 1)
        self.assertTrue(self.create(CAT))
        self.assertEqual(self.download(spec.sha256), CAT)
        self.assertEqual(self.pass_time(99), 0)

    def delete(self, spec: ImageSpec) -> None:
        """Delete an image, and check that nothing finds it any more."""
        self.run_(self.store.delete(spec.sha256))
        for awaited in (
            self.store.open(spec.sha256),
            self.store.status(spec.sha256),
            self.store.add_chunk(spec.sha256, 0, b"/\\_/"),
            self.store.delete(spec.sha256),
        ):
            self.assertRaises(ImageNotFoundError, self.run_, awaited)
        self.assertEqual(self.run_(registered(self.store)), 0)

    def test_delete(self) -> None:
        """A deleted image is not found, and can be uploaded again at once."""
        for data in (b"", CAT, LARGE):
            spec = self.upload(data, 100_000)
            self.assertEqual(self.download(spec.sha256), data)
            self.delete(spec)
            spec = self.upload(data, 90_000)
            self.assertEqual(self.download(spec.sha256), data)
            self.assertEqual(self.status(spec).spec, spec)
            self.delete(spec)
            self.assertTrue(self.create(data))
            self.assertEqual(self.download(spec.sha256), data)
            self.delete(spec)

    def test_open_at_once_after_delete(self) -> None:
        """A request that a client has sent ahead does not find the deleted image."""
        spec = self.upload(CAT, 4)
        self.assertEqual(self.download(spec.sha256), CAT)
        deleting = self.store.delete(spec.sha256)
        opening = deleting.addCallback(lambda _: self.store.open(spec.sha256))
        self.assertRaises(ImageNotFoundError, self.run_, opening)

    def test_delete_a_pending_upload(self) -> None:
        """Of a deleted upload no chunk is left for the next one."""
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.add(CAT, spec, 1)
        self.delete(spec)
        self.run_(self.store.register(spec))
        self.assertEqual(self.status(spec).received, 0)
        for chunk_id in range(spec.chunks):
            self.add(CAT, spec, chunk_id)
        self.assertEqual(self.download(spec.sha256), CAT)

    def test_delete_while_a_whole_image_comes(self) -> None:
        """A whole image whose registration was deleted meanwhile is stored."""
        spec = spec_of(LARGE, 100_000)
        self.run_(self.store.register(spec))
        writer = self.run_(self.store.create(spec.sha256))
        self.run_(writer.write(LARGE))
        self.delete(spec)
        self.assertTrue(self.run_(writer.finish()))
        self.assertEqual(self.download(spec.sha256), LARGE)

    def test_delete_what_was_gone_before(self) -> None:
        """An expired image uploaded again and deleted is not found."""
        self.keep(Lifetimes(image=100))
        self.upload(CAT)
        self.assertEqual(self.pass_time(101), 1)
        self.delete(self.upload(CAT))

    def test_stopped(self) -> None:
        """A store that was stopped takes nothing more."""
        spec = self.upload(CAT)
        self.run_(self.store.stop())
        for awaited in (
            self.store.register(spec_of(b"dog")),
            self.store.add_chunk(spec.sha256, 0, b"/\\_/"),
            self.store.status(spec.sha256),
            self.store.create(spec.sha256),
            self.store.delete(spec.sha256),
            self.store.expire(),
            registered(self.store),
        ):
            self.assertRaises(StoreClosedError, self.run_, awaited)
        self.restart()

    def restart(self) -> None:
        """Make the store usable again, for the cleanup."""

    @settings(max_examples=25)
    @given(st.binary(min_size=1, max_size=60), st.integers(1, 70), st.randoms())
    def test_any_image_in_any_order(
        self, data: bytes, chunk_size: int, random: Random
    ) -> None:
        """Whatever the bytes, the chunk size and the order, images are intact."""
        spec = spec_of(data, chunk_size)
        # First of all: drawn values must not depend on stored images.
        order = list(range(spec.chunks))
        random.shuffle(order)
        try:
            self.run_(self.store.register(spec))
        except ImageExistsError:
            self.assertEqual(self.download(spec.sha256), data)
            return
        self.assertEqual(sum(self.add(data, spec, i) for i in order), 1)
        self.assertEqual(self.download(spec.sha256), data)


class PendingContract(Base):
    """The bounds on pending uploads: 3 in all, 2 of a client."""

    limits = PendingLimits(total=3, per_client=2)
    store: IImageStore

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Make `awaited` fire and return its result."""
        raise NotImplementedError

    def register(self, data: bytes, client: str) -> ImageSpec:
        """Register an image of two chunks."""
        spec = spec_of(data, 2)
        self.run_(self.store.register(spec, client))
        return spec

    def finish(self, data: bytes) -> None:
        """Upload both chunks."""
        for chunk_id in (0, 1):
            chunk = data[2 * chunk_id :][:2]
            sha256 = spec_of(data).sha256
            self.run_(self.store.add_chunk(sha256, chunk_id, chunk))

    def test_per_client(self) -> None:
        """A client with two uploads pending gets no third, until one ends."""
        self.register(b"one1", "a")
        self.register(b"two2", "a")
        self.assertRaises(ClientUploadsError, self.register, b"thr3", "a")
        self.assertRaises(ImageExistsError, self.register, b"one1", "a")
        self.register(b"thr3", "b")
        self.finish(b"one1")
        self.finish(b"thr3")
        self.register(b"fou4", "a")
        self.assertRaises(ClientUploadsError, self.register, b"fiv5", "a")

    def test_in_all(self) -> None:
        """Past the limit of all uploads, none begins until one ends."""
        for data, client in ((b"one1", "a"), (b"two2", "b"), (b"thr3", "")):
            self.register(data, client)
        self.assertRaises(TooManyUploadsError, self.register, b"fou4", "c")
        self.assertRaises(ImageExistsError, self.register, b"two2", "c")
        self.finish(b"two2")
        self.register(b"fou4", "c")
        self.assertRaises(TooManyUploadsError, self.register, b"fiv5", "d")

    def test_nobody(self) -> None:
        """The limit of a client does not apply without a client."""
        for data in (b"one1", b"two2", b"thr3"):
            self.register(data, "")

    def test_every_end_counts(self) -> None:
        """Wrong hashes, whole images and empty ones leave nothing pending."""
        wrong = ImageSpec(spec_of(CAT).sha256, size=2, chunk_size=2)
        self.run_(self.store.register(wrong, "a"))
        awaited = self.store.add_chunk(wrong.sha256, 0, b"xx")
        self.assertRaises(HashMismatchError, self.run_, awaited)
        self.run_(self.store.register(spec_of(b""), "a"))
        spec = self.register(b"one1", "a")

        async def create() -> None:
            writer = await self.store.create(spec.sha256)
            await writer.write(b"one1")
            await writer.finish()

        self.run_(Deferred.fromCoroutine(create()))
        self.run_(self.store.delete(self.register(b"zer0", "a").sha256))
        self.register(b"two2", "a")
        self.register(b"thr3", "a")
        self.assertRaises(ClientUploadsError, self.register, b"fou4", "a")
        self.register(b"fou4", "b")
        self.assertRaises(TooManyUploadsError, self.register, b"fiv5", "b")


class MemoryStorePendingTests(PendingContract, SynchronousTestCase):
    """`MemoryStore` keeps the bounds."""

    def setUp(self) -> None:
        """Make a store."""
        self.store = MemoryStore(pending=self.limits)

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Everything has happened already."""
        return happened(self, awaited)


class LMDBPendingTests(PendingContract, SynchronousTestCase):
    """The store over an LMDB file keeps the bounds."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp(), pending=self.limits)
        self.store = self.driven.store
        self.driven.start()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop whatever store the test left."""
        self.driven.stop()

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn the reactor and the threads."""
        return self.driven.run(awaited)

    def test_restart(self) -> None:
        """The count of uploads survives a restart, the counts of clients do not."""
        self.register(b"one1", "a")
        self.register(b"two2", "a")
        self.driven.stop()
        self.driven = DrivenStore(str(self.driven.path), pending=self.limits)
        self.store = self.driven.store
        self.driven.start()
        self.register(b"thr3", "a")
        self.assertRaises(TooManyUploadsError, self.register, b"fou4", "a")

    def test_ended_elsewhere(self) -> None:
        """Uploads that another process has finished do not count."""
        self.register(b"one1", "a")
        self.register(b"two2", "a")
        memory = self.driven.engine._environment._memory
        memory.pending.started(10**6, "a")
        self.finish(b"one1")
        memory.clear()
        self.register(b"thr3", "a")


class PostgreSQLPendingTests(PendingContract, SynchronousTestCase):
    """The store over a PostgreSQL database keeps the bounds."""

    def setUp(self) -> None:
        """Make a store."""
        self.begin(clean_database())
        self.addCleanup(self.stop)

    def begin(self, conninfo: str) -> None:
        """Start a store."""
        self.driven = DrivenDatabase(conninfo, pending=self.limits)
        self.store = self.driven.store
        self.driven.start()

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn the reactor and the threads."""
        return self.driven.run(awaited)

    def test_restart(self) -> None:
        """The count of uploads survives a restart, the counts of clients do not."""
        self.register(b"one1", "a")
        self.register(b"two2", "a")
        self.driven.stop()
        self.begin(server())
        self.register(b"thr3", "a")
        self.assertRaises(TooManyUploadsError, self.register, b"fou4", "a")

    def test_ended_elsewhere(self) -> None:
        """Uploads that another node has finished do not count, after a second."""
        self.register(b"one1", "a")
        self.register(b"two2", "a")
        self.assertRaises(ClientUploadsError, self.register, b"thr3", "a")
        other = DrivenDatabase(server())
        other.start()
        sha256 = spec_of(b"one1").sha256
        for chunk_id, chunk in enumerate((b"on", b"e1")):
            other.run(other.store.add_chunk(sha256, chunk_id, chunk))
        other.stop()
        self.assertRaises(ClientUploadsError, self.register, b"thr3", "a")
        self.driven.pass_time(1)
        self.register(b"thr3", "a")

    def test_begun_elsewhere(self) -> None:
        """Uploads that another node has begun count, after a second."""
        self.register(b"one1", "a")
        other = DrivenDatabase(server())
        other.start()
        for data in (b"two2", b"thr3"):
            other.run(other.store.register(spec_of(data)))
        other.stop()
        self.driven.pass_time(1)
        self.assertRaises(TooManyUploadsError, self.register, b"fou4", "b")

    def stop(self) -> None:
        """Stop the store that the test left."""
        self.driven.stop()


class MemoryStoreTests(StoreContract, SynchronousTestCase):
    """`MemoryStore` keeps the promises."""

    def setUp(self) -> None:
        """Make a store."""
        self.now = 1_000_000.0
        self.elapsed = 0.0
        self.keep(Lifetimes())

    def keep(self, lifetimes: Lifetimes) -> None:
        """Make a store."""
        self.store = MemoryStore(
            lifetimes=lifetimes,
            clock=lambda: self.now,
            monotonic=lambda: self.elapsed,
            observers=[self.seen],
        )
        self.successResultOf(self.store.start())

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Everything has happened already."""
        return happened(self, awaited)


class DrivenContract(StoreContract):
    """The promises of a store whose clocks and threads a test drives."""

    driven: Turned

    @property
    def now(self) -> float:
        """The time of the engine's clock."""
        return self.driven.now

    @now.setter
    def now(self, now: float) -> None:
        self.driven.now = now

    @property
    def elapsed(self) -> float:
        """The elapsed time."""
        return self.driven.elapsed

    @elapsed.setter
    def elapsed(self, elapsed: float) -> None:
        self.driven.elapsed = elapsed

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn the reactor and the threads."""
        return self.driven.run(awaited)

    def stop(self) -> None:
        """Stop whatever store the test left."""
        self.driven.stop()


class LMDBTests(DrivenContract, SynchronousTestCase):
    """The store over an LMDB file keeps the promises."""

    driven: DrivenStore

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp(), observers=[self.seen])
        self.store = self.driven.store
        self.driven.start()
        self.addCleanup(self.stop)

    def keep(self, lifetimes: Lifetimes) -> None:
        """Make a store on the same directory."""
        self.driven.stop()
        self.driven = DrivenStore(str(self.driven.path), lifetimes=lifetimes)
        self.store = self.driven.store
        self.driven.start()

    def restart(self) -> None:
        """Open the same directory again."""
        self.driven = DrivenStore(str(self.driven.path))
        self.driven.start()


class PostgreSQLTests(DrivenContract, SynchronousTestCase):
    """The store over a PostgreSQL database keeps the promises."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenDatabase(clean_database(), observers=[self.seen])
        self.store = self.driven.store
        self.driven.start()
        self.addCleanup(self.stop)

    def keep(self, lifetimes: Lifetimes) -> None:
        """Make a store on the same database."""
        self.driven.stop()
        self.driven = DrivenDatabase(server(), lifetimes=lifetimes)
        self.store = self.driven.store
        self.driven.start()

    def test_own_expiry(self) -> None:
        """An image is deleted once its own time has passed on the database's clock."""
        expires = int((self.now + 100) * 1000)
        sha256, _ = self.put(CAT, None, NewImage(About(expires=expires)))
        other = self.upload(b"dog")
        self.assertEqual(self.pass_time(99), 0)
        self.now += 2
        self.assertEqual(self.pass_time(0), 1)
        self.assertRaises(ImageGoneError, self.run_, self.store.open(sha256))
        self.assertEqual(self.download(other.sha256), b"dog")

    def test_time_that_is_set(self) -> None:
        """The database's clock counts, also where it is set; no node's clock does."""
        self.keep(Lifetimes(upload=100, image=200))
        spec = spec_of(CAT)
        self.run_(self.store.register(spec))
        self.elapsed += 86_400
        self.assertEqual(self.run_(self.store.expire()), 0)
        self.assertEqual(self.status(spec).expires, self.now + 100)
        self.now -= 86_400
        self.assertEqual(self.pass_time(101), 0)
        self.now += 86_400
        self.assertEqual(self.pass_time(0), 1)
        self.assertRaises(ImageNotFoundError, self.run_, self.store.status(spec.sha256))
