"""What every engine promises of what is stored beside images, and of blocked hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import (
    AboutChangedError,
    EditKeyError,
    ImageBlockedError,
    ImageExistsError,
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
)
from asciid.model import About, AboutRecord, BlockedHash, Cursor, ImageSpec, NewImage
from asciid.store.operations import (
    AddChunk,
    AddPieces,
    Adopt,
    Begin,
    BlockHash,
    Completed,
    DeleteDiscarded,
    Expired,
    Put,
    Register,
    Remove,
    RemoveExpired,
    SetAbout,
    UnblockHash,
)
from asciid.store.queries import (
    FindComplete,
    FindExpired,
    FindNeighbours,
    FindPrefix,
    IsComplete,
    ListBlocked,
    ListImages,
    MeasureUsage,
    PickRandom,
    ReadAbout,
    ReadStatus,
)
from tests.engines._case import EngineCase
from tests.engines._driven import (
    DrivenLMDB,
    DrivenMemory,
    DrivenPostgreSQL,
    DrivenRemote,
)
from tests.store._support import spec_of

if TYPE_CHECKING:
    from asciid.store.queries import Query

CAT, DOG, OWL = b"/\\_/\\\n", b"woof", b"(o,o)"
KEY, WRONG = bytes(range(32)), bytes(32)
UNLISTED = NewImage(About(listed=False))
NOWHERE = "0" * 64


class ListingContract(EngineCase):
    """The promises of `IEngine` besides those on bytes."""

    def refused(self, query: Query[Any], error: type[Exception]) -> Any:  # noqa: ANN401 - the error
        """Check that a query fails with that error, which is returned."""
        asking = self.driven.engine.ask(query)
        return self.assertRaises(error, self.driven.run, asking)

    def about(self, spec: ImageSpec) -> AboutRecord:
        """Return what is stored beside an image."""
        return self.driven.ask(ReadAbout(spec.sha256))

    def set_about(self, spec: ImageSpec, *arguments: Any) -> Any:  # noqa: ANN401 - its
        """Return the outcome of `SetAbout`."""
        (outcome,) = self.driven.apply(SetAbout(spec.sha256, *arguments))
        return outcome

    def listed(self, before: Cursor | None = None, limit: int = 9) -> list[str]:
        """Return the hashes in the listing."""
        images = self.driven.ask(ListImages(before, limit))
        return [image.spec.sha256 for image in images]

    def test_listing(self) -> None:
        """Images are listed by completion, the newest first, page by page."""
        specs = [self.upload(data) for data in (CAT, DOG)]
        self.driven.pass_time(1)
        self.driven.apply(Put(spec_of(OWL).sha256, OWL))
        hashes = [spec_of(OWL).sha256, specs[1].sha256, specs[0].sha256]
        newest, second, oldest = images = self.driven.ask(ListImages(None, 9))
        self.assertEqual([image.spec.sha256 for image in images], hashes)
        self.assertEqual((second.spec, oldest.spec), (specs[1], specs[0]))
        self.assertEqual(newest.completed, 1_000_001_000)
        self.assertEqual(oldest.completed, 1_000_000_000)
        self.assertEqual(oldest.record, self.about(specs[0]))
        self.assertEqual(self.listed(limit=1), hashes[:1])
        self.assertEqual(self.listed(newest.cursor), hashes[1:])
        self.assertEqual(self.listed(second.cursor, 1), hashes[2:])
        self.assertEqual(self.listed(oldest.cursor), [])
        self.assertEqual(self.listed(Cursor(2**60, 0)), hashes)
        self.assertEqual(self.listed(Cursor(1_000_000_500, 0)), hashes[1:])

    def test_listed_once_complete(self) -> None:
        """A pending upload is not listed, however it is to be."""
        spec = spec_of(DOG)
        self.driven.apply(Register(spec, "", NewImage(About("Dog"))))
        self.assertEqual(self.listed(), [])
        self.driven.apply(AddChunk(spec.sha256, 0, DOG))
        self.assertEqual(self.listed(), [spec.sha256])

    def test_unlisted(self) -> None:
        """What says that it is not listed is named by nothing but its hash."""
        cat = self.upload(CAT, new=UNLISTED)
        dog = spec_of(DOG)
        self.driven.apply(Register(dog, listed=False), AddChunk(dog.sha256, 0, DOG))
        owl = spec_of(OWL)
        self.driven.apply(Put(owl.sha256, OWL, listed=False))
        self.assertEqual(self.listed(), [])
        self.assertIsNone(self.driven.ask(PickRandom(7)))
        self.assertEqual(self.driven.ask(FindNeighbours(cat.sha256)), (None, None))
        for spec in (cat, dog, owl):
            self.assertFalse(self.about(spec).about.listed)
            self.assertEqual(
                self.driven.ask(FindPrefix(spec.sha256[:12])), [(spec.sha256, False)]
            )
            self.assertTrue(self.driven.ask(IsComplete(spec.sha256)))

    def test_says_that_it_is_listed(self) -> None:
        """What an upload says counts, and not the default."""
        spec = spec_of(DOG)
        new = NewImage(About("Dog"))
        self.driven.apply(Register(spec, "", new, listed=False))
        self.driven.apply(AddChunk(spec.sha256, 0, DOG))
        self.assertEqual(self.listed(), [spec.sha256])

    def test_about(self) -> None:
        """What an upload brings is stored, and the defaults if it brings nothing."""
        about = About("Cat", "A cat.\nIt sits.", "me", "CC0-1.0", ("cat", "pet"))
        spec = self.upload(CAT, new=NewImage(about, KEY, "cp437"))
        record = self.about(spec)
        self.assertEqual(
            (record.about, record.key_hash, record.charset), (about, KEY, "cp437")
        )
        other = self.about(self.upload(DOG))
        self.assertEqual((other.about, other.key_hash), (About(), b""))
        empty = self.about(self.upload(b"empty", new=NewImage()))
        self.assertEqual((empty.about, empty.key_hash), (About(), b""))
        pending = spec_of(OWL)
        self.driven.apply(Register(pending, "", NewImage(key_hash=KEY)))
        self.assertEqual(self.about(pending).about, About())
        self.assertEqual(self.about(pending).key_hash, KEY)
        self.refused(ReadAbout(NOWHERE), ImageNotFoundError)

    def test_set_about(self) -> None:
        """It is replaced, and key and charset are kept."""
        spec = self.upload(CAT, new=NewImage(None, KEY, "cp437"))
        about = About("Tom", tags=("cat",))
        revision = self.set_about(spec, about, None, KEY)
        record = AboutRecord(about, revision, KEY, "cp437")
        self.assertEqual(self.about(spec), record)
        (image,) = self.driven.ask(ListImages(None, 9))
        self.assertEqual(image.record, record)

    def test_revisions(self) -> None:
        """No revision is used twice for a hash, and a change may name the current."""
        spec = self.upload(CAT)
        first = self.about(spec).revision
        self.assertIsInstance(self.set_about(spec, About("a"), first + 1), Exception)
        second = self.set_about(spec, About("a"), first)
        self.assertEqual(self.about(spec).revision, second)
        outcome = self.set_about(spec, About("b"), first)
        self.assertIsInstance(outcome, AboutChangedError)
        self.assertEqual((outcome.sha256, outcome.revision), (spec.sha256, second))
        third = self.set_about(spec, About("b"))
        self.driven.apply(Remove(spec.sha256))
        self.upload(CAT)
        revisions = {first, second, third, self.about(spec).revision}
        self.assertEqual(len(revisions), 4)

    def test_edit_keys(self) -> None:
        """Without the right key nothing is changed; an image without a key has none."""
        spec = self.upload(CAT, new=NewImage(None, KEY))
        without = self.upload(DOG)
        for one, key in ((spec, WRONG), (spec, b""), (without, KEY), (without, b"")):
            outcome = self.set_about(one, About("x"), None, key)
            self.assertIsInstance(outcome, EditKeyError)
            (outcome,) = self.driven.apply(Remove(one.sha256, key))
            self.assertIsInstance(outcome, EditKeyError)
            self.assertEqual(self.about(one).about, About())
        self.assertEqual(self.driven.apply(Remove(spec.sha256, KEY)), [None])
        self.assertEqual(self.driven.apply(Remove(without.sha256)), [None])

    def test_key_is_gone_with_the_image(self) -> None:
        """What was stored beside a removed image is not there for the next one."""
        new = NewImage(About("Cat", expires=1_000_005_000), KEY)
        spec = self.upload(CAT, new=new)
        self.driven.apply(Remove(spec.sha256))
        self.refused(ReadAbout(spec.sha256), ImageNotFoundError)
        self.upload(CAT)
        record = self.about(spec)
        self.assertEqual((record.about, record.key_hash), (About(), b""))
        self.assertEqual(self.listed(), [spec.sha256])
        self.driven.pass_time(10)
        self.assertEqual(self.driven.ask(FindExpired("dated", 0, b"")).found, [])

    def test_listed_later(self) -> None:
        """An image that is listed later has the place of its completion."""
        first, second = self.upload(CAT, new=UNLISTED), self.upload(DOG)
        self.set_about(first, About())
        self.assertEqual(self.listed(), [second.sha256, first.sha256])
        self.set_about(second, About(listed=False))
        self.assertEqual(self.listed(), [first.sha256])
        pending = spec_of(OWL)
        self.driven.apply(Register(pending))
        self.set_about(pending, About(listed=False))
        self.driven.apply(AddChunk(pending.sha256, 0, OWL[:4]))
        self.driven.apply(AddChunk(pending.sha256, 1, OWL[4:]))
        self.assertEqual(self.listed(), [first.sha256])
        self.set_about(pending, About())
        self.assertEqual(self.listed(), [pending.sha256, first.sha256])

    def test_replaced(self) -> None:
        """A PUT keeps what a registration with a key brought, and the key."""
        cat, dog, owl = spec_of(CAT), spec_of(DOG), spec_of(OWL)
        about = About("Cat", listed=False, expires=1_000_005_000)
        for spec in (cat, dog):
            self.driven.apply(Register(spec, "", NewImage(about, KEY, "cp850")))
        self.driven.apply(Register(owl, "", NewImage(None, KEY)))
        outcomes = [self.put_whole(spec, None) for spec in (cat, owl)]
        outcomes += [self.put_whole(dog, NewImage(About("Dog"), WRONG, "cp437"))]
        for outcome in outcomes:
            self.assertTrue(outcome.keeps_record)
        for spec in (cat, dog):
            record = self.about(spec)
            kept = (record.about, record.key_hash, record.charset)
            self.assertEqual(kept, (about, KEY, "cp850"))
        self.assertEqual(self.about(owl).key_hash, KEY)
        self.assertEqual(self.listed(), [owl.sha256])
        self.driven.pass_time(10)
        found = self.driven.ask(FindExpired("dated", 0, b"")).found
        self.assertEqual([old.sha256 for old in found], [cat.sha256, dog.sha256])
        removing = RemoveExpired("dated", 0, found)
        self.assertEqual(self.driven.apply(removing), [2])

    def put_whole(self, spec: ImageSpec, new: NewImage | None) -> Completed:
        """Send an image whole: short ones at once, DOG in pieces."""
        data = {spec_of(each).sha256: each for each in (CAT, DOG, OWL)}[spec.sha256]
        if data != DOG:
            (outcome,) = self.driven.apply(Put(spec.sha256, data, new))
        else:
            (number,) = self.driven.apply(Begin())
            _, outcome = self.driven.apply(
                AddPieces(number, 0, [data]), Adopt(number, spec.sha256, len(data), new)
            )
        assert isinstance(outcome, Completed)
        return outcome

    def test_replaced_without_a_key(self) -> None:
        """What a registration without a key brought is not kept by a PUT."""
        cat, dog, owl = spec_of(CAT), spec_of(DOG), spec_of(OWL)
        about = About("Spam", listed=False, expires=1_000_005_000)
        for spec in (cat, dog):
            self.driven.apply(Register(spec, "", NewImage(about, b"", "cp850")))
        self.driven.apply(Register(owl, listed=False))
        new = NewImage(About("Dog"), KEY, "cp437")
        outcomes = [
            self.put_whole(cat, NewImage(None, KEY)),
            self.put_whole(dog, new),
            self.put_whole(owl, None),
        ]
        for outcome in outcomes:
            self.assertFalse(outcome.keeps_record)
        records = [self.about(spec) for spec in (cat, dog, owl)]
        self.assertEqual(
            [(each.about, each.key_hash, each.charset) for each in records],
            [(About(), KEY, ""), (About("Dog"), KEY, "cp437"), (About(), b"", "")],
        )
        self.assertEqual(set(self.listed()), {cat.sha256, dog.sha256, owl.sha256})
        self.driven.pass_time(10)
        self.assertEqual(self.driven.ask(FindExpired("dated", 0, b"")).found, [])

    def test_put_at_once(self) -> None:
        """Of PUTs of an image at once the first one has its key stored."""
        cat, dog = spec_of(CAT), spec_of(DOG)
        mine, other = NewImage(About("a"), KEY), NewImage(About("b"), WRONG)
        self.driven.apply(Register(dog))
        for spec, data in ((cat, CAT), (dog, DOG)):
            first, second = self.driven.apply(
                Put(spec.sha256, data, mine), Put(spec.sha256, data, other)
            )
            self.assertFalse(first.keeps_record)
            self.assertIsNone(second)
            record = self.about(spec)
            self.assertEqual((record.about, record.key_hash), (About("a"), KEY))
        owl = spec_of(OWL)
        registered, first, second = self.driven.apply(
            Register(owl, "", NewImage(None, KEY)),
            Put(owl.sha256, OWL, other),
            Put(owl.sha256, OWL, other),
        )
        self.assertIsNone(registered)
        self.assertTrue(first.keeps_record)
        self.assertIsNone(second)
        self.assertEqual(self.about(owl).key_hash, KEY)

    def test_put_of_a_complete_image(self) -> None:
        """A complete image keeps what is beside it, whatever a PUT brings."""
        spec = self.upload(CAT, new=NewImage(About("Cat"), KEY))
        before = self.about(spec)
        (outcome,) = self.driven.apply(
            Put(spec.sha256, CAT, NewImage(About("x"), WRONG))
        )
        self.assertIsNone(outcome)
        self.assertEqual(self.about(spec), before)

    def test_neighbours(self) -> None:
        """Each listed image has the next newer and the next older one."""
        specs = [self.upload(CAT), self.upload(DOG, new=UNLISTED), self.upload(OWL)]
        newest, oldest = self.driven.ask(ListImages(None, 9))
        pair = self.driven.ask(FindNeighbours(specs[0].sha256))
        self.assertEqual(pair, (newest, None))
        pair = self.driven.ask(FindNeighbours(specs[2].sha256))
        self.assertEqual(pair, (None, oldest))
        pending = spec_of(b"pending")
        self.driven.apply(Register(pending))
        self.refused(FindNeighbours(pending.sha256), ImageIncompleteError)
        self.refused(FindNeighbours(NOWHERE), ImageNotFoundError)

    def test_prefix(self) -> None:
        """Complete images are found by the beginning of their hash, at most ten."""
        specs = [self.upload(b"%d" % number) for number in range(40)]
        hashes = sorted(spec.sha256 for spec in specs)
        for length in (1, 2, 3, 63, 64):
            prefix = specs[7].sha256[:length]
            expected = [one for one in hashes if one.startswith(prefix)][:10]
            found = self.driven.ask(FindPrefix(prefix))
            self.assertEqual(found, [(sha256, True) for sha256 in expected])
        found = self.driven.ask(FindPrefix(""))
        self.assertEqual([sha256 for sha256, _ in found], hashes[:10])
        pending = spec_of(b"pending")
        self.driven.apply(Register(pending))
        self.assertEqual(self.driven.ask(FindPrefix(pending.sha256)), [])
        self.driven.apply(Remove(specs[7].sha256))
        self.assertEqual(self.driven.ask(FindPrefix(specs[7].sha256)), [])

    def test_random(self) -> None:
        """Any listed image may be drawn, and nothing else."""
        self.assertIsNone(self.driven.ask(PickRandom(0)))
        self.upload(CAT, new=UNLISTED)
        specs = [self.upload(data) for data in (DOG, OWL)]
        drawn = {self.driven.ask(PickRandom(seed)) for seed in range(9)}
        self.assertEqual(drawn, {spec.sha256 for spec in specs})
        self.assertIn(self.driven.ask(PickRandom(2**256 - 1)), drawn)

    def test_expires(self) -> None:
        """An image is found once its own time has passed, and removed as expired."""
        cat = self.upload(CAT, new=NewImage(About(expires=1_000_005_000)))
        dog = self.upload(DOG, new=NewImage(About(expires=1_000_008_000)))
        owl = spec_of(OWL)
        late = NewImage(About(expires=1_000_008_000))
        self.driven.apply(Register(owl, "", late))
        self.driven.pass_time(6)
        (old,) = self.driven.ask(FindExpired("dated", 0, b"")).found
        self.assertEqual(old.sha256, cat.sha256)
        other = Expired(old.number + 99, cat.sha256)
        early = Expired(self.find_number(dog), dog.sha256)
        self.assertEqual(
            self.driven.apply(RemoveExpired("dated", 0, [other, early, old])), [1]
        )
        self.refused(FindComplete(cat.sha256, 0), ImageGoneError)
        self.assertEqual(self.listed(), [dog.sha256])
        self.driven.pass_time(6)
        found = self.driven.ask(FindExpired("dated", 0, b"")).found
        self.assertEqual({one.sha256 for one in found}, {dog.sha256, owl.sha256})
        self.set_about(dog, About(expires=0))
        self.assertEqual(self.driven.apply(RemoveExpired("dated", 0, found)), [1])
        self.refused(ReadStatus(owl.sha256, 0), ImageNotFoundError)
        self.assertEqual(self.listed(), [dog.sha256])

    def find_number(self, spec: ImageSpec) -> int:
        """Return the upload number of a complete image."""
        return self.driven.ask(FindComplete(spec.sha256, 0)).image.number

    def test_expires_in_the_past(self) -> None:
        """A time that has passed already removes the image soon."""
        self.upload(CAT, new=NewImage(About(expires=1)))
        self.driven.pass_time(1)
        page = self.driven.ask(FindExpired("dated", 0, b""))
        removing = RemoveExpired("dated", 0, page.found)
        self.assertEqual(self.driven.apply(removing), [1])

    def test_blocked(self) -> None:
        """A blocked hash is removed, and refused by everything, for its reason."""
        spec = self.upload(CAT, new=NewImage(About("Cat"), KEY))
        pending = spec_of(DOG)
        self.driven.apply(Register(pending))
        outcomes = self.driven.apply(
            BlockHash(spec.sha256, "spam"),
            BlockHash(pending.sha256, "spam"),
            BlockHash(NOWHERE, "spam"),
        )
        self.assertEqual(outcomes, [True, True, False])
        for sha256 in (spec.sha256, pending.sha256, NOWHERE):
            for query in (
                FindComplete(sha256, 99),
                ReadStatus(sha256, 0),
                ReadAbout(sha256),
                FindNeighbours(sha256),
                IsComplete(sha256),
            ):
                error = self.refused(query, ImageBlockedError)
                self.assertEqual(error.reason, "spam")
            (number,) = self.driven.apply(Begin())
            outcomes = self.driven.apply(
                Register(ImageSpec(sha256, 7, 4)),
                AddChunk(sha256, 0, CAT),
                SetAbout(sha256, About("x")),
                Remove(sha256),
                Put(sha256, CAT),
                Adopt(number, sha256, 0),
            )
            for outcome in outcomes:
                self.assertIsInstance(outcome, ImageBlockedError)
            self.assertEqual(self.driven.ask(FindPrefix(sha256)), [])
        self.assertEqual(self.listed(), [])
        self.assertIsNone(self.driven.ask(PickRandom(0)))
        usage = self.driven.ask(MeasureUsage())
        self.assertEqual((usage.images, usage.pending, usage.blocked), (0, 0, 3))

    def test_blocked_is_removed_from_caches(self) -> None:
        """Caches are notified of a block as they are of other removals."""
        spec = self.upload(CAT)
        self.driven.removed.clear()
        self.driven.apply(BlockHash(spec.sha256, "spam"))
        self.driven.run(self.driven.engine.apply(()))
        self.assertTrue(self.driven.engine.removals_known)
        self.assertIn([spec.sha256], self.driven.removed)

    def test_unblocked(self) -> None:
        """A hash is accepted again, and nothing of the image is back."""
        spec = self.upload(CAT, new=NewImage(About("Cat"), KEY))
        self.driven.apply(BlockHash(spec.sha256, "spam"))
        self.assertEqual(
            self.driven.apply(UnblockHash(spec.sha256), UnblockHash(spec.sha256)),
            [True, False],
        )
        self.refused(FindComplete(spec.sha256, 0), ImageNotFoundError)
        while self.driven.apply(DeleteDiscarded()) == [True]:
            pass
        self.upload(CAT)
        self.assertEqual(self.about(spec).key_hash, b"")
        (outcome,) = self.driven.apply(Register(spec))
        self.assertIsInstance(outcome, ImageExistsError)

    def test_blocked_again(self) -> None:
        """A hash that is unblocked and blocked at once has the time of the latter."""
        self.driven.apply(BlockHash(NOWHERE, "spam"))
        self.driven.pass_time(1)
        self.driven.apply(UnblockHash(NOWHERE), BlockHash(NOWHERE, "fraud"))
        (blocked,) = self.driven.ask(ListBlocked("", 9))
        self.assertEqual(blocked, BlockedHash(NOWHERE, "fraud", 1_000_001_000))

    def test_list_of_blocked(self) -> None:
        """Blocked hashes are listed in order, page by page, with the last reason."""
        hashes = [f"{number:064x}" for number in (5, 1, 3)]
        self.driven.apply(*(BlockHash(sha256, "spam") for sha256 in hashes))
        self.driven.pass_time(1)
        self.driven.apply(BlockHash(hashes[1], "Käse"))
        first, *others = self.driven.ask(ListBlocked("", 9))
        self.assertEqual(first, BlockedHash(hashes[1], "Käse", 1_000_000_000))
        self.assertEqual([one.sha256 for one in others], [hashes[2], hashes[0]])
        self.assertEqual(self.driven.ask(ListBlocked("", 1)), [first])
        self.assertEqual(self.driven.ask(ListBlocked(hashes[1], 9)), others)
        self.assertEqual(self.driven.ask(ListBlocked(hashes[0], 9)), [])


class LMDBTests(ListingContract, SynchronousTestCase):
    """An LMDB file."""

    kind = DrivenLMDB


class MemoryTests(ListingContract, SynchronousTestCase):
    """Memory."""

    kind = DrivenMemory


class RemoteTests(ListingContract, SynchronousTestCase):
    """Another process, which has an LMDB file."""

    kind = DrivenRemote


class PostgreSQLTests(ListingContract, SynchronousTestCase):
    """A PostgreSQL database."""

    kind = DrivenPostgreSQL
