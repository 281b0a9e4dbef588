"""What `asciid verify` finds in a PostgreSQL database, and does about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
import psycopg
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines import _findings
from asciid.engines._findings import StorageDamagedError
from asciid.engines.postgresql import (
    _discarded_chunks,
    _image_checks,
    _quarantined_images,
    _table_checks,
)
from asciid.engines.postgresql._chunk_reads import Chunks
from asciid.engines.postgresql._database_verification import verify
from asciid.engines.postgresql._image_checks import ImageChecks
from asciid.engines.postgresql._quarantined_images import restore_quarantine
from asciid.engines.postgresql._sql_answers import answer
from asciid.errors import ImageNotFoundError
from asciid.model import About
from asciid.store.queries import (
    FindComplete,
    FindExpired,
    ListImages,
    MeasureUsage,
    ReadAbout,
)
from tests.engines._postgresql import clean_database, connect
from tests.engines._sql_plans import faults_in, recorded_plans
from tests.engines._sql_rows import START, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.model import ImageSpec
    from asciid.store.queries import Query

CAT, DOG, OWL = b"/\\_/\\\n( o.o )", b"woof", b"(o,o)"
LARGE = bytes(range(256)) * 300
"""More than is read together with other images."""

Finding = tuple[str, str, str]


def no_pace(_: int) -> None:
    """Read as fast as possible."""


class VerificationCase(SynchronousTestCase):
    """Tests of a database with three complete images and a pending upload."""

    def setUp(self) -> None:
        """Store them."""
        clean_database()
        self.connection: psycopg.Connection[Any] = connect()
        self.addCleanup(self.connection.close)
        self.rows = Rows(self.connection)
        self.cat = self.rows.add(CAT)
        self.dog = self.rows.add(DOG, about=About("Dog", listed=False))
        self.large = self.rows.add(LARGE, 7_000)
        self.pending = self.rows.add(OWL, lacks=[1], about=About(expires=START))

    def do(self, statement: Any, *values: object) -> list[Any]:  # noqa: ANN401 - LiteralString
        """Carry out a statement, which changes a row."""
        cursor = self.connection.execute(statement, values)
        self.assertGreater(cursor.rowcount, 0)
        return cursor.fetchall() if cursor.description else []

    def rows_in(self, table: str) -> int:
        """Return how many rows a table has."""
        ((count,),) = self.do(f"SELECT count(*) FROM asciid.{table}")  # noqa: S608 - the test's
        number: int = count
        return number

    def ask(self, query: Query[Any]) -> Any:  # noqa: ANN401 - the query's answer
        """Return the answer to a query."""
        return answer(self.connection, query, lambda seconds: seconds)

    def verify(
        self,
        *,
        quarantine: bool = True,
        purge: bool = False,
        pace: Callable[[int], None] = no_pace,
    ) -> list[Finding]:
        """Verify the database; return kind, hash and reason of the findings."""
        findings: list[Finding] = []
        self.report = verify(
            self.connection,
            pace,
            lambda kind, it: findings.append((kind, it["sha256"], it["reason"])),
            quarantine=quarantine,
            purge=purge,
        )
        return findings

    def assert_found(self, kind: str, spec: ImageSpec | None, words: str) -> None:
        """Check that this one is found, mended, and then no more."""
        (found,) = self.verify(quarantine=False)
        self.assertEqual(self.verify(quarantine=False), [found])
        self.assertEqual(found[:2], (kind, spec.sha256 if spec else ""))
        self.assertIn(words, found[2])
        self.assertEqual(self.verify(), [found])
        self.assertEqual(self.verify(), [])


class ImageTests(VerificationCase):
    """Findings about the bytes of images."""

    def test_all_is_well(self) -> None:
        """Where nothing is damaged nothing is changed, whatever the pages are."""
        before = self.rows_in("image"), self.rows_in("chunk")
        for page in (1, 2, 100):
            for together in (1, 1_000_000):
                self.patch(_image_checks, "PAGE", page)
                self.patch(_table_checks, "PAGE", page)
                self.patch(_image_checks, "TOGETHER", together)
                self.assertEqual(self.verify(), [])
                size = len(CAT) + len(DOG) + len(LARGE)
                self.assertEqual(self.report, {"images": 3, "bytes": size})
        self.assertEqual((self.rows_in("image"), self.rows_in("chunk")), before)

    def test_paced(self) -> None:
        """All that was read is counted, large images in parts."""
        sizes: list[int] = []
        self.verify(pace=sizes.append)
        self.assertEqual(sum(sizes), len(CAT) + len(DOG) + len(LARGE))
        self.assertEqual(max(sizes), 7_000)

    def test_plans(self) -> None:
        """Images are read by an index, small ones and large ones."""
        checks = ImageChecks(self.connection, no_pace, lambda *_: True)
        with recorded_plans(self.connection) as plans:
            self.assertEqual(list(checks.run()), [])
        contents = [plan for plan in plans if "using chunk_pkey" in plan]
        self.assertEqual(len(contents), 2)
        for plan in plans:
            self.assertEqual(faults_in(plan), [], plan)

    def test_flipped_bit(self) -> None:
        """A changed byte is found, whatever the image's size."""
        for spec, number in ((self.dog, 2), (self.large, 3)):
            self.do(
                "UPDATE asciid.chunk SET data = set_byte(data, 1, 0)"
                " WHERE upload = %s AND id = 0",
                number,
            )
            self.assert_found("damaged", spec, "its bytes have the hash")

    def test_missing_chunk(self) -> None:
        """An image that misses a chunk is found, whichever it is."""
        for chunk_id, left in ((0, 0), (4, 28_000), (10, 70_000)):
            self.do("DELETE FROM asciid.chunk WHERE upload = 3 AND id = %s", chunk_id)
            words = f"{left} of its {len(LARGE)} bytes are there"
            self.assert_found("damaged", self.large, words)
            clean_database()
            self.setUp()
        self.do("DELETE FROM asciid.chunk WHERE upload = 1 AND id = 1")
        words = f"{len(CAT) - 4} of its {len(CAT)} bytes are there"
        self.assert_found("damaged", self.cat, words)

    def test_added_chunk(self) -> None:
        """An image with a chunk too many is found."""
        self.rows.add_chunk(3, 11, b"more")
        words = f"{len(LARGE) + 4} of its {len(LARGE)} bytes are there"
        self.assert_found("damaged", self.large, words)

    def test_quarantine(self) -> None:
        """A damaged image is as if it were not there, and nodes are notified."""
        self.do("UPDATE asciid.chunk SET data = 'WOOF' WHERE upload = 2")
        with connect() as listener:
            listener.execute("LISTEN asciid_removed")
            self.verify()
            (notified,) = listener.notifies(timeout=5, stop_after=1)
        self.assertEqual(notified.payload, self.dog.sha256)
        for query in (FindComplete(self.dog.sha256, 0), ReadAbout(self.dog.sha256)):
            self.assertRaises(ImageNotFoundError, self.ask, query)
        usage = self.ask(MeasureUsage())
        self.assertEqual((usage.images, usage.quarantined), (2, 1))
        self.assertEqual(self.rows_in("quarantined"), 1)

    def test_unreadable(self) -> None:
        """Rows that the database cannot read are damage, and the rest is verified."""
        self.patch(_image_checks, "_CONTENTS", "SELECT 1 / 0 FROM unnest(%b::bigint[])")
        self.assertEqual(self.verify(), [])
        between = Chunks.between

        def fail(chunks: Any, first: int, last: int) -> Any:  # noqa: ANN401 - as between
            if chunks.number == 1:
                message = "invalid page in block 7\nof relation"
                raise psycopg.errors.DataCorrupted(message)
            return between(chunks, first, last)

        with mock.patch.object(Chunks, "between", fail):
            (found,) = self.verify(quarantine=False)
        reason = "it cannot be read: invalid page in block 7 of relation"
        self.assertEqual(found, ("damaged", self.cat.sha256, reason))
        self.do("UPDATE asciid.image SET piece_size = 0 WHERE upload = 3")
        self.assert_found("damaged", self.large, "its record cannot be read")

    def test_lost_connection(self) -> None:
        """A database that cannot be read at all is no damaged image."""
        self.connection.close()
        self.assertRaises(psycopg.OperationalError, self.verify)

    def verify_while_large_is_removed(self, *, quarantine: bool, again: bool) -> None:
        """Check that an image is not damaged that is removed while it is read."""
        clean_database()
        self.setUp()
        removed: list[int] = []

        def remove(size: int) -> None:
            if size == 7_000 and not removed:
                removed.append(size)
                self.do("DELETE FROM asciid.image WHERE upload = 3")
                self.do("DELETE FROM asciid.chunk WHERE upload = 3")
                if again:
                    self.rows.add(LARGE, 7_000)

        self.assertEqual(self.verify(quarantine=quarantine, pace=remove), [])
        self.assertEqual(len(removed), 1)

    def test_removed_meanwhile(self) -> None:
        """An image that is removed while it is read, or stored again, is intact."""
        self.patch(Chunks, "between", _row_by_row)
        for quarantine in (False, True):
            for again in (False, True):
                self.verify_while_large_is_removed(quarantine=quarantine, again=again)

    def damage_all(self) -> None:
        """Damage all three images."""
        self.do("DELETE FROM asciid.chunk WHERE id = 0 AND upload <= 3")

    def test_damaged_as_a_whole(self) -> None:
        """Past a share of the images no more are put aside."""
        self.damage_all()
        # So few are no indication.
        self.assertEqual(len(self.verify()), 3)
        self.assertEqual(restore_quarantine(self.connection), 3)
        self.patch(_findings, "FEW", 1)
        error = self.assertRaises(StorageDamagedError, self.verify)
        self.assertIn("with 1 images in quarantine, restore a backup", str(error))
        self.assertEqual(self.rows_in("quarantined"), 1)
        # A mere listing continues.
        self.assertEqual(len(self.verify(quarantine=False)), 2)

    def test_restore(self) -> None:
        """Quarantined images return as they were, unless uploaded or blocked since."""
        listed = self.ask(ListImages(None, 9))
        about = self.ask(ReadAbout(self.dog.sha256))
        self.damage_all()
        self.assertEqual(len(self.verify()), 3)
        self.rows.block(self.cat.sha256)
        self.rows.add(LARGE, 7_000)
        for step in (1, 300):
            self.patch(_quarantined_images, "STEP", step)
            restored = restore_quarantine(self.connection)
            self.assertEqual(restored, 1 if step == 1 else 0)
        self.assertEqual(self.ask(ReadAbout(self.dog.sha256)), about)
        self.assertEqual(self.rows_in("quarantined"), 2)
        self.do("DELETE FROM asciid.blocked")
        self.do("DELETE FROM asciid.image WHERE upload > 4")
        self.do("DELETE FROM asciid.chunk WHERE upload > 4")
        self.assertEqual(restore_quarantine(self.connection), 2)
        self.assertEqual(self.ask(ListImages(None, 9)), listed)

    def test_purge(self) -> None:
        """A purge leaves nothing of the images, and keeps the others."""
        self.patch(_quarantined_images, "STEP", 1)
        self.patch(_discarded_chunks, "DISCARD_STEP", 2)
        self.do("UPDATE asciid.chunk SET data = 'WOOF' WHERE upload = 2")
        self.do("DELETE FROM asciid.chunk WHERE upload = 3 AND id = 2")
        self.assertEqual(len(self.verify(purge=True)), 2)
        self.assertEqual(self.report["purged"], 2)
        for table, left in (("quarantined", 0), ("discarded", 0), ("about", 1)):
            self.assertEqual(self.rows_in(table), left)
        self.assertEqual(self.rows_in("chunk"), self.cat.chunks + 1)
        self.assertEqual(self.verify(purge=True), [])
        self.assertEqual(self.report["purged"], 0)
        self.assertEqual(self.ask(FindComplete(self.cat.sha256, 99)).content, CAT)

    def test_purge_harms_nothing_else(self) -> None:
        """A damaged row that names another image's upload does not delete that."""
        self.do("UPDATE asciid.image SET upload = 2, piece_size = 5 WHERE upload = 1")
        self.verify(purge=True)
        self.assertEqual(self.report["purged"], 1)
        self.assertEqual(self.ask(FindComplete(self.dog.sha256, 99)).content, DOG)
        self.assertEqual(self.ask(ReadAbout(self.dog.sha256)).about.title, "Dog")


def _row_by_row(chunks: Any, first: int, last: int) -> Any:  # noqa: ANN401 - as between
    """Read chunks by a statement each."""
    for chunk_id in range(first, last):
        with chunks.connection.cursor(binary=True) as cursor:
            cursor.execute(
                "SELECT id, data FROM asciid.chunk WHERE upload = %b AND id = %b",
                (chunks.number, chunk_id),
            )
            yield from cursor.fetchall()


class TableTests(VerificationCase):
    """Findings about the rows beside images."""

    def inconsistent(self, spec: ImageSpec | None, words: str) -> None:
        """Check that this is the one inconsistency, and is mended."""
        self.assert_found("inconsistent", spec, words)

    def test_missing(self) -> None:
        """The bytes that count as missing are counted again."""
        self.do("UPDATE asciid.image SET missing = 3 WHERE upload = 4")
        words = "3 bytes count as missing, but 1 are"
        self.inconsistent(self.pending, words)
        self.do("UPDATE asciid.image SET missing = 3 WHERE upload = 1")
        self.inconsistent(self.cat, "3 bytes count as missing, but 0 are")

    def test_pending_with_everything(self) -> None:
        """An upload that nothing can complete is discarded."""
        self.rows.add_chunk(4, 1, OWL[4:])
        self.inconsistent(self.pending, "it is pending, but nothing is missing")
        self.assertEqual(self.rows_in("image"), 3)
        self.assertEqual(self.rows_in("discarded"), 1)

    def test_listed(self) -> None:
        """An image is listed if its about record does not say otherwise."""
        self.do("UPDATE asciid.image SET listed = false WHERE upload = 1")
        self.inconsistent(self.cat, "it is not listed")
        self.do("UPDATE asciid.image SET listed = true WHERE upload = 2")
        self.inconsistent(self.dog, "it is listed against its about record")
        listed = self.ask(ListImages(None, 9))
        self.assertEqual([image.spec for image in listed], [self.large, self.cat])

    def test_deadline(self) -> None:
        """The time of expiry is that of the about record."""
        for column, words in (
            ("NULL", "its time of expiry is not recorded"),
            ("5", "a wrong time of expiry is recorded"),
        ):
            self.do(f"UPDATE asciid.image SET deadline = {column} WHERE upload = 4")  # noqa: S608 - the test's
            self.inconsistent(self.pending, words)
        (old,) = self.ask(FindExpired("dated", 0, b"")).found
        self.assertEqual(old.number, 4)

    def test_about_that_cannot_be_read(self) -> None:
        """It is replaced by one that is not listed, without an edit key."""
        self.do("SELECT setval('asciid.upload', 99)")
        for about in (b"{", b'{"title": 7}', b'{"title": "\xff"}'):
            self.do("DELETE FROM asciid.about WHERE upload = 4")
            self.rows.add_about(4, about)
            self.inconsistent(self.pending, "its about record cannot be read")
            record = self.ask(ReadAbout(self.pending.sha256))
            self.assertEqual(
                (record.about, record.key_hash), (About(listed=False), b"")
            )
            self.assertNotEqual(record.revision, 4)
        self.assertEqual(self.ask(FindExpired("dated", 0, b"")).found, [])

    def test_blocked(self) -> None:
        """A blocked image is removed, and nodes are notified."""
        self.rows.block(self.dog.sha256)
        with connect() as listener:
            listener.execute("LISTEN asciid_removed")
            self.inconsistent(self.dog, "it is blocked, but stored")
            (notified,) = listener.notifies(timeout=5, stop_after=1)
        self.assertEqual(notified.payload, self.dog.sha256)
        self.assertEqual(self.rows_in("about"), 1)
        ((number,),) = self.do("SELECT upload FROM asciid.discarded")
        self.assertEqual(number, 2)

    def test_discarded(self) -> None:
        """The chunks of an image are not deleted as those of a discarded upload."""
        self.do("INSERT INTO asciid.discarded (shard, upload) VALUES (1, 1)")
        self.inconsistent(self.cat, "its chunks are to be deleted")
        self.assertEqual(self.ask(FindComplete(self.cat.sha256, 99)).content, CAT)

    def test_shard(self) -> None:
        """A row that is found under no hash is moved."""
        self.do("UPDATE asciid.image SET shard = 256 WHERE upload = 1")
        self.assertRaises(
            ImageNotFoundError, self.ask, FindComplete(self.cat.sha256, 9)
        )
        self.inconsistent(self.cat, "its row has a wrong shard")
        self.assertEqual(self.ask(FindComplete(self.cat.sha256, 99)).content, CAT)

    def test_shard_that_is_taken(self) -> None:
        """It stays where there is another image, and is reported."""
        self.do("UPDATE asciid.image SET shard = 256 WHERE upload = 1")
        self.rows.add(CAT)
        self.assertEqual(len(self.verify(quarantine=False)), 1)
        self.assertEqual(self.verify(), [])
        self.assertEqual(self.rows_in("image"), 5)

    def test_about_without_image(self) -> None:
        """About records of uploads that are no image are deleted."""
        self.rows.add_about(300, msgspec.json.encode(About("x")))
        self.inconsistent(None, "upload 300 has an about record, but is no image")
        self.assertEqual(self.rows_in("about"), 2)

    def test_chunks_without_image(self) -> None:
        """Chunks of uploads that are no image are deleted; staged ones are not."""
        self.rows.add_chunk(300, 0, b"1")
        self.rows.add_chunk(300, 1, b"2")
        staged = self.rows.add_staged(START)
        self.rows.add_chunk(staged, 0, b"3")
        self.do("INSERT INTO asciid.discarded (shard, upload) VALUES (45, 301)")
        self.rows.add_chunk(301, 0, b"4")
        self.inconsistent(None, "upload 300 has chunks, but is no image")
        self.assertEqual(self.rows_in("discarded"), 2)

    def test_pages(self) -> None:
        """All of more than one page are found."""
        for number in range(300, 305):
            self.rows.add_about(number, b"{}")
            self.rows.add_chunk(number, 0, b"x")
        self.do("UPDATE asciid.image SET listed = NOT listed")
        self.patch(_table_checks, "PAGE", 2)
        self.assertEqual(len(self.verify(quarantine=False)), 10 + 4)
        self.assertEqual(len(self.verify()), 10 + 4)
        self.assertEqual(self.verify(), [])

    def test_several_faults(self) -> None:
        """All that is wrong with an image is mended at once."""
        self.do("UPDATE asciid.image SET missing = 7, listed = true WHERE upload = 2")
        self.do("UPDATE asciid.about SET about = '{' WHERE upload = 2")
        self.do("INSERT INTO asciid.discarded (shard, upload) VALUES (2, 2)")
        self.assertEqual(len(self.verify()), 1)
        self.assertEqual(self.verify(), [])

    def test_mended_meanwhile(self) -> None:
        """A fault that is there no more is not reported."""
        self.do("UPDATE asciid.image SET listed = false WHERE upload = 1")
        lock = _table_checks._LOCK

        def correct(*_: object) -> None:
            with connect() as other:
                other.execute("UPDATE asciid.image SET listed = true WHERE upload = 1")

        execute = psycopg.Connection.execute

        def first(connection: Any, statement: Any, *rest: Any) -> Any:  # noqa: ANN401 - as psycopg
            if statement is lock:
                correct()
            return execute(connection, statement, *rest)

        with mock.patch.object(psycopg.Connection, "execute", first):
            self.assertEqual(self.verify(), [])

    def test_orphans_that_are_gone(self) -> None:
        """Rows of an upload that are there no more are not reported."""
        self.rows.add_about(300, b"{}")
        self.rows.add_about(301, b"{}")
        findings: list[str] = []

        def found(_: str, finding: dict[str, Any]) -> None:
            findings.append(finding["reason"])
            self.do("DELETE FROM asciid.about WHERE upload = 301")

        verify(self.connection, no_pace, found, quarantine=True, purge=False)
        words = "upload 300 has an about record, but is no image"
        self.assertEqual(findings, [words])
