"""Tests of asciid.engines.lmdb._record_checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _record_checks
from asciid.engines.lmdb._lookup import find_seal
from asciid.engines.lmdb._records import (
    DatedAbout,
    ImageRecord,
    ListedRecord,
    pack_blocked,
    place_key,
    unpack_blocked,
    upload_key,
)
from asciid.engines.lmdb._storage_file import StorageFile
from asciid.engines.lmdb._verification import Verification, leave_in
from asciid.errors import ImageBlockedError
from asciid.model import About, BlockedHash, NewImage
from tests.engines import _damage
from tests.engines._damage import records
from tests.store._support import DrivenStore, lmdb_error, spec_of

if TYPE_CHECKING:
    from asciid.model import ImageSpec

EXPIRES = About("Cat", expires=1_000_099_000)
UNLISTED = About(listed=False)
WRONG_SIZE = "it is listed with a wrong size"
LATER = 2_000_000_000


class RecordChecksTests(SynchronousTestCase):
    """What is found and mended."""

    def setUp(self) -> None:
        """Store images of each kind."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        self.path = driven.path
        self.cat = driven.upload(b"cat")
        self.dog = self.upload(driven, b"dog", About("Dog", expires=EXPIRES.expires))
        self.owl = self.upload(driven, b"owl", UNLISTED)
        self.bat = spec_of(b"bat!!")
        driven.run(driven.store.register(self.bat, "", NewImage(EXPIRES)))
        self.blocked = "f" * 64
        driven.run(driven.store.block(self.blocked, "spam"))
        driven.stop()

    def upload(self, driven: DrivenStore, data: bytes, about: About) -> ImageSpec:
        """Store an image, with its record."""
        spec = driven.upload(data)
        driven.run(driven.store.set_about(spec.sha256, about))
        return spec

    def check(self, *, mends: bool = True) -> list[tuple[str, str]]:
        """Check the records; return what is reported."""
        with StorageFile(self.path) as storage:
            mend_in = _record_checks.mend_in(storage)
            mend = mend_in if mends else _record_checks.leave_records_in(storage)
            checks = _record_checks.RecordChecks(storage, mend)
            return [(one.sha256, one.reason) for one in checks.run()]

    def assert_found(self, spec: ImageSpec | str, *reasons: str) -> None:
        """Check that just that is found, left alone, mended, and gone then."""
        sha256 = spec if isinstance(spec, str) else spec.sha256
        before = self.everything()
        found = self.check(mends=False)
        self.assertEqual({one for one, _ in found}, {sha256})
        self.assertIn(reasons[0], [reason for _, reason in found])
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.check(), [(sha256, reason) for reason in reasons])
        self.assertEqual(self.check(), [])

    def everything(self) -> Any:  # noqa: ANN401 - records by database
        """Return all records but those of chunks."""
        names = ("images", "about", "dated", "listing", "blocked", "uploads")
        return {name: records(self.path, name) for name in names}

    def key(self, spec: ImageSpec, time: int = 1_000_000_000) -> bytes:
        """Return the key of an image in the listing."""
        return place_key(time, _damage.number_of(self.path, spec.sha256))

    def value(self, spec: ImageSpec) -> bytes:
        """Return the value of an image in the listing."""
        return ListedRecord(self.digest(spec), spec.size, spec.chunk_size).pack()

    def number(self, spec: ImageSpec) -> bytes:
        """Return the key of an about record."""
        return upload_key(_damage.number_of(self.path, spec.sha256))

    def digest(self, spec: ImageSpec) -> bytes:
        """Return the key of an image."""
        return bytes.fromhex(spec.sha256)

    def put(self, database: str, key: bytes, value: bytes) -> None:
        """Write one record."""
        _damage.put(self.path, database, key, value)

    def delete(self, database: str, key: bytes) -> None:
        """Delete one record."""
        _damage.delete(self.path, database, key)

    def test_consistent(self) -> None:
        """Nothing is found in a storage that is well, whatever the pages are."""
        for page in (1, 2, 100):
            self.patch(_record_checks, "PAGE", page)
            self.assertEqual(self.check(), [])

    def test_not_listed(self) -> None:
        """A complete image that is not in the listing is added to it."""
        before = self.everything()
        self.delete("listing", self.key(self.cat))
        self.assert_found(self.cat, "it is not listed")
        self.assertEqual(self.everything(), before)

    def test_listed_wrongly(self) -> None:
        """Records of the listing without such an image are removed."""
        before = self.everything()
        cat, owl, bat = (self.value(one) for one in (self.cat, self.owl, self.bat))
        wrong_time = "it is listed with a wrong time"
        no_image = "it is listed, but not stored"
        unlisted = "it is listed against its about record"
        for spec, key, value, reason in (
            (self.cat, self.key(self.cat, LATER), cat, wrong_time),
            (self.cat, place_key(7, 99), cat, no_image),
            (self.owl, self.key(self.owl), owl, unlisted),
            (self.bat, self.key(self.bat), bat, wrong_time),
            ("e" * 64, place_key(7, 99), b"\xee" * 32 + cat[32:], no_image),
            (self.cat, self.key(self.cat), cat[:-1] + b"\x07", WRONG_SIZE),
            (self.cat, self.key(self.cat), cat[:-1], WRONG_SIZE),
        ):
            self.put("listing", key, value)
            self.assert_found(spec, reason)
            self.assertEqual(self.everything(), before)

    def test_another_image_in_its_place(self) -> None:
        """A record of the listing that names another image is corrected."""
        before = self.everything()
        self.put("listing", self.key(self.cat), self.value(self.dog))
        found = self.check()
        self.assertEqual(
            found,
            [
                (self.dog.sha256, "it is listed, but not stored"),
                (self.cat.sha256, "it is not listed"),
            ],
        )
        self.assertEqual(self.everything(), before)

    def test_about_without_image(self) -> None:
        """An about record without an image is deleted."""
        before = self.everything()
        record = before["about"][self.number(self.dog)]
        other = DatedAbout.unpack(record)._replace(digest=b"\xee" * 32).pack()
        for spec, number, value in (
            (self.dog, upload_key(99), record),
            ("ee" * 32, upload_key(99), other),
            (self.cat, self.number(self.owl)[:-1] + b"\x77", record),
        ):
            self.put("about", number, value)
            sha256 = DatedAbout.unpack(value).digest.hex()
            self.assert_found(sha256, "there is an about record, but no image")
            self.assertEqual(self.everything(), before, spec)

    def test_unreadable_about(self) -> None:
        """What cannot be read may have been unlisted: the image is so from now on."""
        number = self.number(self.dog)
        stored = records(self.path, "about")[number]
        revision = DatedAbout.unpack(stored).record.revision
        for value in (b"x", stored[:41] + b"\xc1"):
            self.put("about", number, value)
            self.assertIn(
                (self.dog.sha256, "its about record cannot be read"), self.check()
            )
            self.assertEqual(self.check(), [])
        self.assertEqual(len(records(self.path, "listing")), 1)
        record = DatedAbout.unpack(records(self.path, "about")[number])
        self.assertEqual(record.record.about, UNLISTED)
        self.assertGreater(record.record.revision, revision)

    def test_expiry(self) -> None:
        """The order of deadlines has those of the records, and no others."""
        before = self.everything()
        (key,) = [
            key
            for key, digest in before["dated"].items()
            if digest == self.digest(self.dog)
        ]
        self.delete("dated", key)
        self.assert_found(self.dog, "its time of expiry is not recorded")
        self.assertEqual(self.everything(), before)
        for spec, digest in (
            (self.dog, self.digest(self.dog)),
            (self.cat, self.digest(self.cat)),
            ("ee" * 32, b"\xee" * 32),
        ):
            self.put("dated", place_key(7, 0), digest)
            self.assert_found(spec, "a wrong time of expiry is recorded")
            self.assertEqual(self.everything(), before)

    def test_blocked_but_stored(self) -> None:
        """A block wins over an image."""
        blocked = pack_blocked(BlockedHash(self.dog.sha256, "spam", 5))
        self.put("blocked", self.digest(self.dog), blocked)
        self.assert_found(self.dog, "it is blocked, but stored")
        driven = DrivenStore(str(self.path))
        driven.start()
        opening = driven.store.open(self.dog.sha256)
        error = self.assertRaises(ImageBlockedError, driven.run, opening)
        self.assertEqual(error.reason, "spam")
        driven.stop()

    def test_unreadable_reason(self) -> None:
        """A hash whose reason is lost stays blocked."""
        digest = bytes.fromhex(self.blocked)
        self.put("blocked", digest, b"\x01" + bytes(8) + b"\xff")
        self.assert_found(self.blocked, "the reason of its block cannot be read")
        stored = unpack_blocked(digest, records(self.path, "blocked")[digest])
        self.assertEqual(stored.reason, "the reason was lost")

    def test_damaged_images(self) -> None:
        """Damage of an image itself is left to the verification of images."""
        self.put("images", self.digest(self.dog), b"x")
        _damage.unseal(self.path, self.cat.sha256)
        number = _damage.number_of(self.path, self.owl.sha256)
        self.put("uploads", upload_key(number), b"x")
        found = self.check(mends=False)
        self.assertNotIn("it is not listed", [reason for _, reason in found])
        with StorageFile(self.path) as storage:
            damaged = list(Verification(storage, no_pace, leave_in(storage)).run())
        self.assertEqual(len(damaged), 2)

    def test_unreadable_page(self) -> None:
        """A page that cannot be read hides the faults of no other record."""
        self.delete("listing", self.key(self.cat))
        self.delete("listing", self.key(self.dog))
        number = _damage.number_of(self.path, self.dog.sha256)

        def broken(where: Any, asked: int) -> Any:  # noqa: ANN401 - as find_seal
            if asked == number:
                raise lmdb_error(5)
            return find_seal(where, asked)

        self.patch(_record_checks, "find_seal", broken)
        self.assertEqual(self.check(), [(self.cat.sha256, "it is not listed")])

    def test_changed_meanwhile(self) -> None:
        """What was mended meanwhile is not reported."""
        self.delete("listing", self.key(self.cat))
        with StorageFile(self.path) as storage:
            mend = _record_checks.mend_in(storage)

            def late(name: str, key: bytes) -> bool:
                self.assertTrue(mend(name, key))
                return mend(name, key)

            checks = _record_checks.RecordChecks(storage, late)
            self.assertEqual(list(checks.run()), [])


class QuarantineTests(SynchronousTestCase):
    """What is stored beside an image follows it into quarantine and back."""

    def setUp(self) -> None:
        """Store images."""
        self.driven = DrivenStore(self.mktemp())
        self.driven.start()
        self.addCleanup(self.driven.stop)
        self.cat = self.driven.upload(b"cat")
        about = About("Dog", listed=False, expires=EXPIRES.expires)
        self.dog = spec_of(b"dog")
        new = NewImage(about, bytes(range(32)), "cp437")
        self.driven.run(self.driven.store.register(self.dog, "", new))
        self.driven.run(self.driven.store.add_chunk(self.dog.sha256, 0, b"dog"))

    def put_aside(self, spec: ImageSpec) -> None:
        """Put an image into quarantine."""
        digest = bytes.fromhex(spec.sha256)
        record = self.driven.engine._environment.read(
            lambda snapshot: bytes(
                snapshot.transaction.get(digest, b"", db=snapshot.databases.images)
            )
        )
        ImageRecord.unpack(record)
        aside = self.driven.engine.put_aside(digest, record, 1_000_000_000)
        self.assertTrue(self.driven.run(aside))

    def entries(self, name: str) -> int:
        """Return how many records a database has."""
        return self.driven.engine._environment.read(
            lambda snapshot: int(
                snapshot.transaction.stat(getattr(snapshot.databases, name))["entries"]
            )
        )

    def test_there_and_back(self) -> None:
        """Nothing is left behind, and all is there again, the edit key included."""
        store = self.driven.store
        before = self.driven.run(store.about(self.dog.sha256))
        listed = self.driven.run(store.list_images(None, 9))
        for spec in (self.cat, self.dog):
            self.put_aside(spec)
        for name in ("about", "listing", "dated", "images"):
            self.assertEqual(self.entries(name), 0)
        self.assertEqual(self.driven.run(self.driven.engine.restore_quarantine()), 2)
        self.assertEqual(self.driven.run(store.about(self.dog.sha256)), before)
        self.assertEqual(self.driven.run(store.list_images(None, 9)), listed)
        self.assertEqual(self.entries("dated"), 1)

    def test_blocked_meanwhile(self) -> None:
        """An image that is blocked stays in quarantine."""
        self.put_aside(self.cat)
        self.driven.run(self.driven.store.block(self.cat.sha256, "spam"))
        self.assertEqual(self.driven.run(self.driven.engine.restore_quarantine()), 0)
        self.driven.run(self.driven.store.unblock(self.cat.sha256))
        self.assertEqual(self.driven.run(self.driven.engine.restore_quarantine()), 1)
        self.assertEqual(self.driven.download(self.cat.sha256), b"cat")

    def test_purged(self) -> None:
        """A purge leaves nothing."""
        for spec in (self.cat, self.dog):
            self.put_aside(spec)
        self.assertEqual(self.driven.run(self.driven.engine.purge_quarantine()), 2)
        self.driven.settle()
        for name in ("chunks", "quarantined", "about", "discarded"):
            self.assertEqual(self.entries(name), 0)


def no_pace(_: int) -> None:
    """Do not wait."""
