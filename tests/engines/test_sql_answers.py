"""
Answers from a PostgreSQL database, where it matters how they are found.

What they are is the contract's: see `tests.engines.test_contract`.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from unittest import mock

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._batching import ReadPool
from asciid.engines.postgresql import (
    _chunk_reads,
    _database_usage,
    _expired_pages,
    _listed_images,
    _sql_answers,
    _upload_status,
)
from asciid.engines.postgresql._database_reads import DatabaseReads
from asciid.engines.postgresql._sql_answers import answer
from asciid.errors import (
    DatabaseUnavailableError,
    ImageBlockedError,
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
    StorageUnreadableError,
)
from asciid.model import About, AboutRecord, Cursor, ImageState
from asciid.store.operations import Unverified
from asciid.store.queries import (
    FindComplete,
    FindExpired,
    FindNeighbours,
    FindPrefix,
    HashWith,
    IsComplete,
    ListBlocked,
    ListImages,
    MeasureUsage,
    PickRandom,
    ReadAbout,
    ReadRanges,
    ReadStatus,
    Several,
)
from asciid.store.rules import missing_ranges
from asciid.store.stats import DatabaseStats
from asciid.testing import ImmediateReactor, ImmediateThreadPool
from tests.engines._postgresql import clean_database, connect
from tests.engines._sql_plans import faults_in, recorded_plans
from tests.engines._sql_rows import START, Rows
from tests.store._support import chunk_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.model import ImageSpec
    from asciid.store.operations import Expired, Kind
    from asciid.store.queries import Query

CAT, DOG, OWL = b"/\\_/\\\n( o.o )", b"woof", b"(o,o)"
NOWHERE = "0" * 64
DAY = 86_400


class AnswerCase(SynchronousTestCase):
    """Tests with an empty database."""

    def setUp(self) -> None:
        """Connect."""
        clean_database()
        self.connection: psycopg.Connection[Any] = connect()
        self.addCleanup(self.connection.close)
        self.rows = Rows(self.connection)

    def ask(self, query: Query[Any]) -> Any:  # noqa: ANN401 - the query's answer
        """Return the answer to a query; no transaction is open afterwards."""
        try:
            return answer(self.connection, query, lambda seconds: seconds)
        finally:
            status = self.connection.info.transaction_status
            self.assertEqual(status, psycopg.pq.TransactionStatus.IDLE)

    def refused(self, query: Query[Any], error: type[Exception]) -> None:
        """Check that a query fails with that error."""
        self.assertRaises(error, self.ask, query)

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Record the statements that are sent."""
        sent: list[str] = []
        execute = psycopg.Cursor.execute

        def record(cursor: Any, statement: Any, *rest: Any, **options: Any) -> Any:  # noqa: ANN401 - as psycopg
            sent.append(str(statement))
            return execute(cursor, statement, *rest, **options)

        with mock.patch.object(psycopg.Cursor, "execute", record):
            yield sent


class LookupTests(AnswerCase):
    """Queries by a hash."""

    def test_one_statement(self) -> None:
        """Lookups of one kind are one statement, whether they succeed or not."""
        cat, dog = self.rows.add(CAT), self.rows.add(DOG, lacks=[0])
        gone, blocked = "1" * 64, "2" * 64
        self.rows.add_gone(gone)
        self.rows.block(blocked)
        hashes = [cat.sha256, dog.sha256, gone, blocked, NOWHERE, cat.sha256]
        with self.statements() as sent:
            found = self.ask(Several([FindComplete(each, 99) for each in hashes]))
        self.assertEqual(len(sent), 1)
        self.assertEqual(found[0].image.spec, cat)
        self.assertEqual((found[0].content, found[5].content), (CAT, CAT))
        errors = [
            *(ImageIncompleteError, ImageGoneError, ImageBlockedError),
            ImageNotFoundError,
        ]
        self.assertEqual([type(error) for error in found[1:5]], errors)

    def test_kinds(self) -> None:
        """Lookups of several kinds see one state, and are answered in their order."""
        cat, dog = self.rows.add(CAT), self.rows.add(DOG)
        queries: Sequence[Query[Any]] = [
            IsComplete(NOWHERE),
            FindComplete(cat.sha256, 0),
            ReadAbout(NOWHERE),
            IsComplete(dog.sha256),
            FindNeighbours(cat.sha256),
        ]
        with self.statements() as sent:
            absent, found, unknown, present, beside = self.ask(Several(queries))
        self.assertIn("REPEATABLE READ READ ONLY", sent[0])
        self.assertEqual(len(sent), 6)
        self.assertEqual((absent, present), (False, True))
        self.assertEqual((found.image.spec, found.content), (cat, None))
        self.assertIsInstance(unknown, ImageNotFoundError)
        newer, older = beside
        self.assertEqual((newer.spec, older), (dog, None))

    def test_one_round_trip(self) -> None:
        """All of them are sent before the first result is awaited."""
        cat = self.rows.add(CAT)
        queries: Sequence[Query[Any]] = [IsComplete(NOWHERE), ReadAbout(cat.sha256)]
        syncs: list[None] = []
        fetch = psycopg.Cursor.fetchall
        with self.statements() as sent:

            def record(cursor: Any) -> Any:  # noqa: ANN401 - as psycopg
                self.assertEqual(sent[-1], "COMMIT")
                syncs.append(None)
                return fetch(cursor)

            self.patch(psycopg.Cursor, "fetchall", record)
            self.ask(Several(queries))
        self.assertEqual(len(syncs), 2)

    def test_one_state(self) -> None:
        """A change that is committed between two of the answers is in neither."""
        cat, later = self.rows.add(CAT), _sql_answers._BY_TYPE[ReadStatus]
        with connect() as other:

            def remove(*arguments: object) -> object:
                other.execute("DELETE FROM asciid.image")
                return later(*arguments)

            with mock.patch.dict(_sql_answers._BY_TYPE, {ReadStatus: remove}):
                queries: Sequence[Query[Any]] = [
                    PickRandom(1),
                    ReadStatus(cat.sha256, 0),
                ]
                drawn, status = self.ask(Several(queries))
        self.assertEqual((drawn, status.spec), (cat.sha256, cat))
        self.refused(ReadStatus(cat.sha256, 0), ImageNotFoundError)

    def test_others(self) -> None:
        """Any query may be among several, and these within others."""
        cat = self.rows.add(CAT)
        inner = Several([IsComplete(cat.sha256), ReadAbout(NOWHERE)])
        several = Several(
            [inner, PickRandom(3), MeasureUsage(), ReadStatus(NOWHERE, 0)]
        )
        (is_complete, unknown), drawn, usage, status = self.ask(several)
        self.assertTrue(is_complete)
        self.assertIsInstance(unknown, ImageNotFoundError)
        self.assertEqual((drawn, usage.images), (cat.sha256, 1))
        self.assertIsInstance(status, ImageNotFoundError)
        self.assertEqual(self.ask(Several([])), [])

    def test_probe(self) -> None:
        """A probe, which asks for nothing, shows whether the database answers."""
        self.assertEqual(self.ask(Several(())), [])
        self.connection.close()
        arguments = self.connection, Several(()), float
        self.assertRaises(psycopg.OperationalError, answer, *arguments)

    def test_many(self) -> None:
        """More than one statement has are found by several, from one state."""
        self.patch(_sql_answers, "MAX_LOOKUPS", 2)
        specs = [self.rows.add(b"%d" % number) for number in range(5)]
        with self.statements() as sent:
            found = self.ask(Several([FindComplete(one.sha256, 9) for one in specs]))
        self.assertEqual([each.image.spec for each in found], specs)
        self.assertEqual(len(sent), 1 + 3 + 1)

    def test_damaged_bytes(self) -> None:
        """Small content with another hash is refused, and spoils no other answer."""
        cat, dog, owl = (self.rows.add(data) for data in (CAT, DOG, OWL))
        self.connection.execute("UPDATE asciid.chunk SET data = 'X' WHERE upload = 1")
        self.connection.execute("DELETE FROM asciid.chunk WHERE upload = 3")
        several = Several([FindComplete(one.sha256, 99) for one in (cat, dog, owl)])
        damaged, found, missing = self.ask(several)
        self.assertIsInstance(damaged, StorageUnreadableError)
        self.assertEqual(found.content, DOG)
        self.assertIsInstance(missing, StorageUnreadableError)
        self.refused(FindComplete(cat.sha256, 99), StorageUnreadableError)
        self.assertIsNone(self.ask(FindComplete(cat.sha256, 0)).content)

    def test_damaged_record(self) -> None:
        """A record that cannot be read is refused, and left out of listings."""
        cat, dog = self.rows.add(CAT), self.rows.add(DOG, about=About("Dog"))
        owl = self.rows.add(OWL)
        damaged = b'{"title": "\xff"}'
        self.connection.execute("UPDATE asciid.about SET about = %s", (damaged,))
        self.refused(ReadAbout(dog.sha256), StorageUnreadableError)
        for limit in (2, 3):
            listed = self.ask(ListImages(None, limit))
            self.assertEqual([one.spec for one in listed], [owl, cat])
        newer, older = self.ask(FindNeighbours(cat.sha256))
        self.assertEqual((newer, older), (None, None))

    def test_about(self) -> None:
        """What is stored beside an image has its revision, key and charset."""
        cat = self.rows.add(CAT, about=About("Cat", tags=("cat",)))
        record = self.ask(ReadAbout(cat.sha256))
        about = About("Cat", tags=("cat",))
        self.assertEqual(record, AboutRecord(about, 1, b"key", "cp437"))

    def test_failed_statement(self) -> None:
        """After an error of the database the connection is of use again."""
        self.patch(_sql_answers, "_BEGIN", "BEGIN; SELECT 1 / 0")
        queries: Sequence[Query[Any]] = [IsComplete(NOWHERE), ReadAbout(NOWHERE)]
        self.patch(logging.getLogger("psycopg"), "disabled", True)  # noqa: FBT003 - its
        self.refused(Several(queries), psycopg.Error)
        self.assertFalse(self.ask(IsComplete(NOWHERE)))

    def test_lost_connection(self) -> None:
        """An error of the connection is the caller's, whatever was asked."""
        self.connection.close()
        queries: Sequence[Query[Any]] = [IsComplete(NOWHERE), ReadAbout(NOWHERE)]
        for query in (Several(queries), queries[0]):
            self.assertRaises(
                psycopg.OperationalError, answer, self.connection, query, float
            )


class BytesTests(AnswerCase):
    """Queries for the bytes of images."""

    def test_ranges(self) -> None:
        """Every range of an image is read, in any order, empty ones included."""
        spec = self.rows.add(CAT)
        image = self.ask(FindComplete(spec.sha256, 0)).image
        every = [
            (start, end)
            for start in range(len(CAT) + 1)
            for end in range(start, len(CAT) + 1)
        ]
        with self.statements() as sent:
            read = self.ask(ReadRanges(image, every[::-1]))
        self.assertEqual(read, [CAT[start:end] for start, end in every[::-1]])
        self.assertEqual(len(sent), 1)
        self.assertEqual(self.ask(ReadRanges(image, [])), [])

    def test_empty_image(self) -> None:
        """The image without chunks has its one range."""
        spec = self.rows.add(b"")
        found = self.ask(FindComplete(spec.sha256, 0))
        self.assertEqual(found.content, b"")
        self.assertEqual(self.ask(ReadRanges(found.image, [(0, 0)])), [b""])

    def test_missing_bytes(self) -> None:
        """Ranges of which bytes are missing are refused, not shortened."""
        spec = self.rows.add(CAT)
        image = self.ask(FindComplete(spec.sha256, 0)).image
        self.connection.execute("DELETE FROM asciid.chunk WHERE id = 1")
        self.assertEqual(self.ask(ReadRanges(image, [(0, 4)])), [CAT[:4]])
        for span in ((0, 5), (4, 8), (7, 9)):
            self.refused(ReadRanges(image, [(0, 1), span]), StorageUnreadableError)

    def test_removed(self) -> None:
        """An image that was removed is not read, though its chunks are there."""
        spec = self.rows.add(CAT)
        image = self.ask(FindComplete(spec.sha256, 0)).image
        self.connection.execute("UPDATE asciid.image SET upload = 77")
        self.refused(ReadRanges(image, [(0, 1)]), ImageNotFoundError)

    def test_hash_in_pieces(self) -> None:
        """A large image is hashed in pieces of bounded bytes and rows."""
        data = bytes(range(200))
        lengths: list[int] = []
        fetch = psycopg.Cursor.fetchall

        def record(cursor: Any) -> Any:  # noqa: ANN401 - as psycopg
            rows = fetch(cursor)
            lengths.append(len(rows))
            return rows

        for limit, value, most in (("MAX_BYTES", 32, 4), ("MAX_ROWS", 3, 3)):
            self.patch(_chunk_reads, limit, value)
            lengths.clear()
            for missing in (0, 11, 24):
                clean_database()
                spec = self.rows.add(data, 8, lacks=[missing])
                last = chunk_of(data, spec, missing)
                upload = Unverified(spec, self.rows.number)
                with mock.patch.object(psycopg.Cursor, "fetchall", record):
                    actual = self.ask(HashWith(upload, missing, last))
                self.assertEqual(actual, spec.sha256)
                other = self.ask(HashWith(upload, missing, b"x"))
                self.assertNotEqual(other, spec.sha256)
            self.assertEqual(max(lengths), most)
            self.assertEqual(sum(lengths), 3 * 24)

    def test_progress(self) -> None:
        """While a large image is hashed, each statement is reported as progress."""
        self.patch(_chunk_reads, "MAX_ROWS", 2)
        spec = self.rows.add(CAT, 2, lacks=[1])
        upload = Unverified(spec, self.rows.number)
        with self.statements() as sent:
            reported: list[int] = []
            query = HashWith(upload, 1, CAT[2:4])
            answer(self.connection, query, float, lambda: reported.append(len(sent)))
        self.assertEqual(reported, [0, 1, 2, 3])
        self.assertEqual(len(sent), 4)

    def test_hash_of_less(self) -> None:
        """With another chunk missing there is a hash, of no use."""
        spec = self.rows.add(CAT, lacks=[0, 1])
        upload = Unverified(spec, self.rows.number)
        actual = self.ask(HashWith(upload, 0, CAT[:4]))
        self.assertEqual(actual, sha256(CAT[:4] + CAT[8:]).hexdigest())


class StatusTests(AnswerCase):
    """Queries for the status of an image."""

    def test_missing(self) -> None:
        """The ids that are missing are those of the model, whatever is stored."""

        @settings(max_examples=25)
        @given(st.sets(st.integers(0, 29), min_size=1))
        def check(lacks: set[int]) -> None:
            clean_database()
            spec = self.rows.add(bytes(range(59)), 2, lacks=lacks)
            status = self.ask(ReadStatus(spec.sha256, 0))
            runs = ((i, i) for i in range(spec.chunks) if i not in lacks)
            missing, cut = missing_ranges(runs, spec.chunks)
            self.assertEqual((status.missing, status.missing_cut), (missing, cut))
            received = sum(map(spec.chunk_length, set(range(30)) - lacks))
            self.assertEqual(status.received, received)

        check()

    def test_cut(self) -> None:
        """No more ranges are read than a status has, and it says that there are."""
        spec = self.rows.add(bytes(2_003), 1, lacks=range(0, 2_003, 2))
        status = self.ask(ReadStatus(spec.sha256, 0))
        self.assertEqual(len(status.missing), 1_000)
        self.assertEqual(status.missing[-1], (1_998, 1_998))
        self.assertTrue(status.missing_cut)
        self.connection.execute("DELETE FROM asciid.chunk WHERE id >= 1998")
        self.connection.execute("UPDATE asciid.image SET missing = 2003 - 999")
        status = self.ask(ReadStatus(spec.sha256, 0))
        self.assertEqual(status.missing[-1], (1_998, 2_002))
        self.assertFalse(status.missing_cut)

    def test_cut_inside(self) -> None:
        """They are cut, too, if the first chunk and the last one are stored."""
        spec = self.rows.add(bytes(2_005), 1, lacks=range(1, 2_005, 2))
        status = self.ask(ReadStatus(spec.sha256, 0))
        expected = tuple((i, i) for i in range(1, 2_000, 2))
        self.assertEqual((status.missing, status.missing_cut), (expected, True))

    def test_ascending(self) -> None:
        """Of an upload in ascending order the ids are not read."""
        spec = self.rows.add(bytes(4_000), 1, lacks=range(3_500, 4_000))
        plan = self.connection.execute(
            "EXPLAIN (ANALYZE, FORMAT TEXT) " + _upload_status._STATUS,
            ([bytes.fromhex(spec.sha256)], [0]),
        ).fetchall()
        (window,) = (row[0] for row in plan if "WindowAgg" in row[0])
        self.assertIn("never executed", window)
        self.assertEqual(
            self.ask(ReadStatus(spec.sha256, 0)).missing, ((3_500, 3_999),)
        )

    def test_times(self) -> None:
        """Times are in seconds, and an upload expires after its last activity."""
        cat = self.rows.add(CAT, lacks=[0], active=START + 9_000)
        status = self.ask(ReadStatus(cat.sha256, 100))
        self.assertEqual(status.created, (START + 1) / 1000)
        self.assertEqual(status.expires, START / 1000 + 109)
        self.assertIsNone(self.ask(ReadStatus(cat.sha256, 0)).expires)
        dog = self.rows.add(DOG)
        status = self.ask(ReadStatus(dog.sha256, 100))
        self.assertIs(status.state, ImageState.COMPLETE)
        self.assertEqual((status.completed, status.expires), ((START + 2) / 1000, None))


class ListingTests(AnswerCase):
    """Queries on the listing, and on hashes."""

    def test_same_time(self) -> None:
        """Images of one millisecond are listed by their number, on any page."""
        specs = [self.rows.add(b"%d" % n, completed=START) for n in range(5)]
        listed: list[Any] = []
        before = None
        while page := self.ask(ListImages(before, 2)):
            listed += page
            before = page[-1].cursor
        self.assertEqual([image.spec for image in listed], specs[::-1])
        for newer, image, older in zip(listed, listed[1:], listed[2:], strict=False):
            beside = self.ask(FindNeighbours(image.spec.sha256))
            self.assertEqual(beside, (newer, older))
        self.assertEqual(self.ask(ListImages(Cursor(START, 1), 9)), [])

    def test_prefix_skips(self) -> None:
        """A bounded number of rows is read to find complete images."""
        pending = [self.rows.add(b"%d" % n, lacks=[0]) for n in range(9)]
        self.assertEqual(self.ask(FindPrefix("")), [])
        spec = self.rows.add(CAT, about=About(listed=False))
        self.assertEqual(self.ask(FindPrefix("")), [(spec.sha256, False)])
        before = sum(one.sha256 < spec.sha256 for one in pending)
        self.patch(_listed_images, "MAX_SCANNED", before)
        self.assertEqual(self.ask(FindPrefix("")), [])

    def test_random_of_many(self) -> None:
        """Of many images any may be drawn, near a random hash or a random time."""
        specs = [self.rows.add(b"%d" % number) for number in range(6)]
        hashes = sorted(spec.sha256 for spec in specs)
        self.patch(_listed_images, "MAX_LISTED", 3)
        for sha256_hex in hashes:
            self.assertEqual(self.ask(PickRandom(int(sha256_hex, 16))), sha256_hex)
        self.assertEqual(self.ask(PickRandom(2**256 - 1)), hashes[0])
        self.patch(_listed_images, "MAX_SKIPPED", 0)
        drawn = {
            self.ask(PickRandom(seed | offset << 128))
            for seed in range(6)
            for offset in range(3)
        }
        self.assertEqual(drawn, set(hashes))

    def test_random_of_none(self) -> None:
        """Where the images were removed meanwhile, none is drawn."""
        seed = 5 << 128
        draw = _listed_images._near_a_random_time
        self.assertIsNone(draw(self.connection, seed))
        spec = self.rows.add(CAT)
        self.assertIsNone(draw(self.connection, seed))
        self.assertEqual(draw(self.connection, 0), spec.sha256)

    def test_random_skips(self) -> None:
        """Nothing but a listed complete image is drawn."""
        self.patch(_listed_images, "MAX_LISTED", 0)
        unlisted = About(listed=False)
        for number in range(4):
            self.rows.add(
                b"%d" % number, lacks=[0] if number % 2 else (), about=unlisted
            )
        self.assertIsNone(self.ask(PickRandom(5)))
        spec = self.rows.add(CAT)
        for most in (100, 0):
            self.patch(_listed_images, "MAX_SKIPPED", most)
            self.patch(_listed_images, "MAX_LISTED", 0 if most else 1)
            self.assertEqual(self.ask(PickRandom(5)), spec.sha256)

    def test_blocked(self) -> None:
        """Blocked hashes are listed after any hash, whatever its first byte."""
        hashes = ["00" * 32, "00" + "ff" * 31, "80" * 32, "ff" * 32]
        for sha256_hex in reversed(hashes):
            self.rows.block(sha256_hex)
        for after in range(5):
            last = hashes[after - 1] if after else ""
            found = self.ask(ListBlocked(last, 2))
            expected = hashes[after : after + 2]
            self.assertEqual([one.sha256 for one in found], expected)


class ExpiredTests(AnswerCase):
    """Queries for expired entries."""

    def walk(self, kind: Kind, older_than: float) -> list[Expired]:
        """Return what all pages have, of which none is larger than its bound."""
        found: list[Expired] = []
        start = b""
        while True:
            page = self.ask(FindExpired(kind, older_than, start))
            self.assertLessEqual(len(page.found), _expired_pages.PAGE)
            found += page.found
            start = page.rest
            if not start:
                return found

    def age(self, stamp: int) -> float:
        """Return the seconds since a time, of the database's clock."""
        row = self.connection.execute("SELECT extract(epoch from now())").fetchone()
        assert row is not None
        return float(row[0]) - stamp / 1000

    def test_pages(self) -> None:
        """All of a kind are found once, page by page, also those of one millisecond."""
        self.patch(_expired_pages, "PAGE", 2)
        about = About(listed=False, expires=START)
        specs: dict[Kind, list[ImageSpec]] = {
            "images": [
                self.rows.add(
                    b"i%d" % n, completed=START, about=about if n % 2 else None
                )
                for n in range(7)
            ],
            "uploads": [
                self.rows.add(b"u%d" % n, lacks=[0], created=START) for n in range(5)
            ],
        }
        staged = [self.rows.add_staged(START) for _ in range(3)]
        gone = [sha256(b"%d" % n).hexdigest() for n in range(5)]
        for sha256_hex in gone:
            self.rows.add_gone(sha256_hex)
        for kind, stored in specs.items():
            found = sorted(old.sha256 for old in self.walk(kind, DAY))
            self.assertEqual(found, sorted(spec.sha256 for spec in stored))
        numbers = [old.number for old in self.walk("dated", DAY)]
        self.assertEqual(numbers, [2, 4, 6])
        self.assertEqual([old.number for old in self.walk("staged", DAY)], staged)
        found = [old.sha256 for old in self.walk("gone", DAY)]
        self.assertEqual(found, sorted(gone))
        for kind in _expired_pages._STATEMENTS:
            self.assertEqual(self.walk(kind, self.age(START) + DAY), [])

    def test_active(self) -> None:
        """Of old uploads those without activity have expired."""
        self.rows.add(CAT, lacks=[0], active=START + DAY * 1000)
        dog = self.rows.add(DOG, lacks=[0])
        self.rows.add_staged(START + DAY * 1000)
        number = self.rows.add_staged(START)
        age = self.age(START) - DAY / 2
        (old,) = self.walk("uploads", age)
        self.assertEqual((old.number, old.sha256), (2, dog.sha256))
        self.assertEqual([old.number for old in self.walk("staged", age)], [number])

    def test_clock(self) -> None:
        """Ages are by the given clock, of the database's time."""
        self.rows.add(CAT)
        times: list[float] = []

        def clock(seconds: float) -> float:
            times.append(seconds)
            return START / 1000 + 100

        for older_than, expected in ((101, 0), (99, 1)):
            query = FindExpired("images", older_than, b"")
            page = answer(self.connection, query, clock)
            self.assertEqual(len(page.found), expected)
        self.assertLess(abs(times[0] - self.age(0)), 60)


class UsageTests(AnswerCase):
    """The numbers of what is stored."""

    def test_counted(self) -> None:
        """Few entries are counted."""
        self.rows.add(CAT)
        self.rows.add(DOG, about=About(listed=False))
        self.rows.add(OWL, lacks=[0])
        self.rows.block(NOWHERE)
        usage = self.ask(MeasureUsage())
        counts = usage.images, usage.listed, usage.pending, usage.blocked
        self.assertEqual(counts, (2, 1, 1, 1))
        self.assertGreater(usage.file_bytes, 0)
        self.assertIsNone(usage.free_bytes)

    def test_estimated(self) -> None:
        """Many entries are estimated, and no fewer than were counted."""
        for number in range(20):
            self.rows.add(b"%d" % number, lacks=[0] if number % 4 == 0 else ())
        self.connection.execute("ANALYZE asciid.image")
        self.patch(_database_usage, "MAX_COUNTED", 5)
        usage = self.ask(MeasureUsage())
        self.assertEqual((usage.images, usage.listed, usage.pending), (15, 15, 5))
        for number in range(20, 40):
            self.rows.add(b"%d" % number, about=About(listed=False))
        usage = self.ask(MeasureUsage())
        self.assertEqual((usage.images, usage.listed), (20, 15))


class PlanTests(AnswerCase):
    """How the database carries the statements out."""

    def test_indexes(self) -> None:
        """No statement has to read a whole table, or to sort what it has read."""
        spec = self.rows.add(CAT)
        image = self.ask(FindComplete(spec.sha256, 0)).image
        self.rows.add(DOG)
        self.patch(_listed_images, "MAX_LISTED", 1)
        self.patch(_listed_images, "MAX_SKIPPED", 0)
        queries: Sequence[Query[Any]] = [
            *(FindComplete(spec.sha256, 99), IsComplete(NOWHERE)),
            *(ReadAbout(spec.sha256), FindNeighbours(spec.sha256)),
            *(ReadRanges(image, [(0, 1)]), ReadStatus(spec.sha256, 9)),
            HashWith(Unverified(spec, 1), 0, b""),
            *(ListImages(None, 9), FindPrefix("a"), PickRandom(7), ListBlocked("", 9)),
            MeasureUsage(),
            *(FindExpired(kind, 1, b"") for kind in _expired_pages._STATEMENTS),
        ]
        with recorded_plans(self.connection) as plans:
            for query in queries:
                self.ask(query)
        self.assertGreater(len(plans), len(queries))
        for plan in plans:
            self.assertEqual(faults_in(plan), [], plan)


class TimeoutTests(AnswerCase):
    """Connections that are given up."""

    def test_progress(self) -> None:
        """A query that makes progress keeps its connection, however long it takes."""
        reactor, pool = ImmediateReactor(), ImmediateThreadPool()
        now = [0.0]
        cut: list[bool] = []

        def take_long(
            connection: Any,  # noqa: ANN401 - the reads'
            _: object,
            __: object,
            progress: Callable[[], object],
        ) -> None:
            for seconds in (50, 50, 61):
                progress()
                now[0] += seconds
                reads.cut_if_hung()
                try:
                    connection.execute("SELECT 1")
                except psycopg.Error:
                    cut.append(True)
                    raise
                cut.append(False)

        reads = DatabaseReads(
            connect,
            ReadPool(reactor=reactor, pool=pool),
            reactor,
            DatabaseStats(),
            float,
            lambda: now[0],
            take_long,
        )
        self.addCleanup(reads.stop)
        self.failureResultOf(reads.ask(IsComplete(NOWHERE)), DatabaseUnavailableError)
        self.assertEqual(cut, 2 * [False, False, True])
