"""``asciid copy`` from and to a PostgreSQL database."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from threading import Thread
from typing import Any, LiteralString
from unittest.mock import patch

import psycopg
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asciid.engines.lmdb.maintenance import FileSource, StorageFile
from asciid.engines.postgresql import Database, open_target
from asciid.engines.postgresql._database_source import DatabaseSource
from asciid.engines.postgresql._database_target import (
    DatabaseTarget,
    NotReplicatedError,
    StagedExpiredError,
)
from asciid.engines.postgresql._sql_answers import answer
from asciid.engines.postgresql._sql_schema import migrate
from asciid.errors import EditKeyError
from asciid.model import About, BlockedHash, ImageSpec, NewImage
from asciid.store.operations import AddChunk, BlockHash, Put, Register, SetAbout
from asciid.store.rules import PIECE
from asciid.store.transfer import StoredUpload
from tests.admin._contents import DATA, KEY_HASH, answers, contents, seconds_of
from tests.admin._copy_case import SMALL, CopyTestCase, is_interrupted
from tests.cluster._programs import wait_until
from tests.cluster._server import OWNER, shared_server
from tests.engines._postgresql import clean_database, connect
from tests.store._support import spec_of

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
DOG = b"/^ ^\\\n/ 0 0 \\\nV\\ Y /V\n"
COW = b"moo"


@frozen
class Asked:
    """A database that is asked at a time, in seconds since the epoch."""

    connection: psycopg.Connection[Any]
    now: float

    def ask(self, query: Any) -> Any:  # noqa: ANN401 - any query
        """Return the answer to a query."""
        return answer(self.connection, query, lambda _: self.now)


def answers_of(conninfo: str, now: float = 1_000_000.0) -> dict[Any, Any]:
    """Return what a database answers at a time."""
    with closing(psycopg.connect(conninfo, autocommit=True)) as connection:
        return answers(Asked(connection, now))


def upload_of(data: bytes, *, pending: bool = False) -> StoredUpload:
    """Return an image as a copy reads it."""
    spec = ImageSpec(spec_of(data).sha256, len(data), PIECE)
    completed = None if pending else 2_000
    missing = len(data) if pending else 0
    return StoredUpload(spec, 1, PIECE, missing, 1_000, 2_000, completed, None)


class DatabaseCopyTests(CopyTestCase):
    """Copies of which at least one end is a database."""

    def setUp(self) -> None:
        """Empty the database, and name a directory."""
        super().setUp()
        self.url = self.target = clean_database()
        self.directory = self.base / "directory"

    def other_database(self) -> str:
        """Return the URL of another database, which is empty."""
        server = shared_server()
        server.execute("DROP DATABASE IF EXISTS other WITH (FORCE)")
        server.execute(f"CREATE DATABASE other OWNER {OWNER}")
        conninfo = server.conninfo(database="other")
        with closing(psycopg.connect(conninfo, autocommit=True)) as connection:
            migrate(connection)
        return conninfo

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Carry out a statement in the database; return the rows."""
        with closing(connect()) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=6)
    @given(happened=contents, in_small_steps=st.booleans())
    def test_everything(
        self, *, happened: list[tuple[Any, ...]], in_small_steps: bool
    ) -> None:
        """All queries have the same answers there and back again."""
        for path in (self.source, self.directory):
            shutil.rmtree(path, ignore_errors=True)
        clean_database()
        self.target = self.url
        now = 1_000_000.0 + seconds_of(happened)
        expected = self.made(self.source, happened)
        with SMALL if in_small_steps else nullcontext():
            code, report = self.copied()
            self.assertEqual((code, report["different"]), (0, []))
            self.assertEqual(answers_of(self.url, now), expected)
            self.assertEqual(self.copied()[1]["copied"], 0)
            directory, self.source, self.target = self.source, self.url, self.directory
            code, report = self.copied()
        self.source = directory
        self.assertEqual((code, report["different"]), (0, []))
        self.assertEqual(self.answered(self.directory, happened), expected)
        self.assertEqual(self.verified()["images"], expected["usage"][0])

    def test_database_to_database(self) -> None:
        """A database is copied to another one, and the order of the listing stays."""
        happened = [
            *(("put", data, None, True) for data in DATA[3:]),
            ("put", DATA[0], NewImage(About(title="Käse"), KEY_HASH), True),
            ("chunks", DATA[1], None, 7, 0),
        ]
        expected = self.made(self.source, happened)
        self.assertEqual(self.copied()[0], 0)
        self.source, self.target = self.url, self.other_database()
        with SMALL:
            code, report = self.copied()
        self.assertEqual((code, report["copied"]), (0, len(happened)))
        self.assertEqual(answers_of(self.target), expected)

    def test_interrupted_anywhere(self) -> None:
        """A copy that ends at any of its transactions is continued by the next one."""
        happened = [
            *(("put", data, None, True) for data in DATA[:3]),
            ("stage", DATA[6], None, True),
            ("chunks", DATA[5], NewImage(About(title="Käse")), PIECE, 1),
            ("block", DATA[4], "spam"),
            ("put", DATA[3], None, True),
            ("expire", DATA[3]),
        ]
        expected = self.made(self.source, happened)
        at = 0
        while self.interrupt(at):
            self.assertEqual(self.copied()[0], 0)
            self.assertEqual(answers_of(self.url), expected)
            clean_database()
            at += 1
        self.assertGreater(at, 10)

    def interrupt(self, at: int) -> bool:
        """End a copy after the `at`-th call of the target; return if there was one."""
        with (
            StorageFile(self.source) as source,
            open_target(Database(self.url), "it") as target,
        ):
            return is_interrupted(FileSource(source), target, at)

    def test_keeps_what_is_there(self) -> None:
        """A database keeps its images; what the source has otherwise is named."""
        other = self.base / "other"
        own, ill = b"own", b"ill"
        pending = Register(spec_of(DOG))
        both = [Put(spec_of(one).sha256, one) for one in (CAT, COW, ill)]
        chunk = AddChunk(spec_of(DOG).sha256, 0, DOG[:4])
        self.apply(self.source, *both, pending, chunk)
        self.apply(self.source, Put(spec_of(b"dog").sha256, b"dog"))
        self.apply(self.source, BlockHash(spec_of(own).sha256, "spam"))
        self.apply(self.source, BlockHash("f" * 64, "spam"))
        self.apply(other, *both, Put(spec_of(own).sha256, own), pending)
        self.apply(other, SetAbout(spec_of(COW).sha256, About(title="Cow")))
        self.apply(other, SetAbout(spec_of(ill).sha256, About(title="Ill")))
        self.apply(other, BlockHash(spec_of(b"dog").sha256, "no dogs"))
        self.apply(other, BlockHash("f" * 64, "fraud"))
        first, self.source = self.source, other
        self.assertEqual(self.copied()[0], 0)
        self.sql("UPDATE asciid.about SET about = 'x' WHERE about LIKE '%%Ill%%'")
        self.source = first
        code, report = self.copied()
        self.assertEqual((code, report["copied"]), (1, 0))
        self.assertEqual(
            {one["sha256"]: one["reason"] for one in report["different"]},
            {
                spec_of(COW).sha256: "the target has it with another about record",
                spec_of(b"dog").sha256: "the target blocks it",
                spec_of(DOG).sha256: "the target has it with another set of chunks",
                spec_of(own).sha256: "it is blocked, and the target has it",
                spec_of(ill).sha256: (
                    "the target has it damaged: its about record cannot be read"
                ),
                "f" * 64: "the target blocks it with another reason or time",
            },
        )
        blocked = self.sql("SELECT reason FROM asciid.blocked ORDER BY reason")
        self.assertEqual(blocked, [("fraud",), ("no dogs",)])
        self.assertEqual(self.sql("SELECT 1 FROM asciid.image WHERE upload < 0"), [])

    def test_pending_is_replaced(self) -> None:
        """A complete image takes the place of a pending upload, chunks included."""
        spec = spec_of(CAT)
        about = NewImage(About(title="pending"))
        chunk = AddChunk(spec.sha256, 0, CAT[:4])
        self.apply(self.source, Register(spec, "", about), chunk)
        self.assertEqual(self.copied()[1]["pending"], 1)
        ((old,),) = self.sql("SELECT upload FROM asciid.image")
        shutil.rmtree(self.source)
        self.apply(self.source, Put(spec.sha256, CAT))
        code, report = self.copied()
        self.assertEqual((code, report["copied"], report["pending"]), (0, 1, 0))
        self.assertEqual(self.sql("SELECT upload FROM asciid.discarded"), [(old,)])
        self.assertEqual(self.sql("SELECT 1 FROM asciid.about"), [])

    def test_damaged(self) -> None:
        """What a database has damaged is named and left out."""
        big = bytes(range(256)) * 1_000
        pictures = [CAT, DOG, big, b"about", b"short", b"intact"]
        new = NewImage(About(title="x"))
        puts = [Put(spec_of(one).sha256, one, new) for one in pictures]
        self.apply(self.source, *puts)
        self.assertEqual(self.copied()[0], 0)
        numbers = {
            sha256.hex(): number
            for sha256, number in self.sql("SELECT sha256, upload FROM asciid.image")
        }
        flip = "UPDATE asciid.chunk SET data = set_byte(data, 3, 0) WHERE upload = %s"
        for one in (DOG, big):
            self.sql(flip, numbers[spec_of(one).sha256])
        number = numbers[spec_of(b"about").sha256]
        self.sql(
            "UPDATE asciid.about SET about = %s WHERE upload = %s", b"\xff", number
        )
        number = numbers[spec_of(b"short").sha256]
        self.sql("DELETE FROM asciid.chunk WHERE upload = %s", number)
        self.source, self.target = self.url, self.directory
        with SMALL:
            code, report = self.copied()
        damaged = {one["sha256"]: one["reason"] for one in report["damaged"]}
        self.assertEqual((code, report["copied"], report["different"]), (1, 2, []))
        for one, reason in (
            (DOG, "its bytes have the hash "),
            (big, "its bytes have the hash "),
            (b"about", "its about record cannot be read"),
            (b"short", "0 of its 5 bytes are there"),
        ):
            self.assertIn(reason, damaged.pop(spec_of(one).sha256))
        self.assertEqual(damaged, {})
        self.assertEqual(self.verified()["images"], 2)

    def test_unreadable_chunks(self) -> None:
        """An image whose chunks the server cannot read is named, and not the others."""
        puts = [Put(spec_of(one).sha256, one) for one in (CAT, DOG, COW)]
        self.apply(self.source, *puts)
        self.copied()
        damaged = bytes.fromhex(spec_of(DOG).sha256)
        find = "SELECT upload FROM asciid.image WHERE sha256 = %s"
        ((number,),) = self.sql(find, damaged)
        fetch = DatabaseSource._fetch

        def fail(source: DatabaseSource, query: LiteralString, *values: object) -> Any:  # noqa: ANN401
            if "asciid.chunk" in query and str(number) in str(values):
                # As a page whose checksum is wrong.
                source.connection.execute("SELECT 1 / 0")
            return fetch(source, query, *values)

        self.source, self.target = self.url, self.directory
        with patch.object(DatabaseSource, "_fetch", fail):
            code, report = self.copied()
        self.assertEqual((code, report["copied"]), (1, 2))
        (one,) = report["damaged"]
        self.assertEqual(one["sha256"], damaged.hex())
        self.assertIn("it cannot be read: division by zero", one["reason"])

    def test_edit_key(self) -> None:
        """The edit key of an image works after a copy there and back."""
        sha256 = spec_of(CAT).sha256
        self.apply(self.source, Put(sha256, CAT, NewImage(key_hash=KEY_HASH)))
        self.copied()
        self.source, self.target = self.url, self.directory
        self.copied()
        (wrong,) = self.apply(self.target, SetAbout(sha256, About(), None, bytes(32)))
        self.assertIsInstance(wrong, EditKeyError)
        about = SetAbout(sha256, About(title="Cat"), None, KEY_HASH)
        (revision,) = self.apply(self.target, about)
        self.assertIsInstance(revision, int)

    def test_numbers_are_new(self) -> None:
        """The next number is above those of the source, and never below the last."""
        ((last,),) = self.sql("SELECT nextval('asciid.upload')")
        with open_target(Database(self.url), "it") as target:
            target.reserve_numbers(last - 1)
            self.assertEqual(self.sql("SELECT nextval('asciid.upload')"), [(last + 1,)])
            target.reserve_numbers(last + 100)
            ((number,),) = self.sql("SELECT nextval('asciid.upload')")
        self.assertGreaterEqual(number, last + 100)

    def test_nodes_at_the_same_time(self) -> None:
        """What a node stores or blocks in the same moment stays as it is."""
        stored, blocked = spec_of(CAT).sha256, spec_of(DOG).sha256
        with (
            open_target(Database(self.url), "it") as target,
            closing(connect()) as node,
        ):
            node.execute("BEGIN")
            for sha256 in sorted([stored, blocked]):
                digest = bytes.fromhex(sha256)
                node.execute(
                    """
                    INSERT INTO asciid.image (
                        shard, sha256, upload, size, chunk_size, piece_size, missing,
                        created, active, completed, listed
                    ) VALUES (get_byte(%s, 0), %s, 77, 9, 9, 9, 0, 1, 1, 1, true)
                    """,
                    (digest, digest),
                )
            images = [CAT, DOG, COW]
            uploads = [(upload_of(one), [(0, one)]) for one in images]
            adding = Thread(target=target.add, args=[uploads])
            adding.start()
            wait_until(self.is_waiting, "no lock is waited for")
            digest = bytes.fromhex(blocked)
            node.execute(
                "INSERT INTO asciid.blocked VALUES (5, get_byte(%s, 0), %s, 'spam')",
                (digest, digest),
            )
            node.execute("DELETE FROM asciid.image WHERE sha256 = %s", (digest,))
            node.execute("COMMIT")
            adding.join()
            there = target.find([stored])[stored]
            assert isinstance(there, StoredUpload)
            self.assertEqual(there.number, 77)
            self.assertEqual(set(target.find([blocked])), set())
            added = target.find([spec_of(COW).sha256])
            self.assertEqual(len(added), 1)
            chunks = self.sql("SELECT data FROM asciid.chunk")
            self.assertEqual(chunks, [(COW,)])
            target.add_blocked([BlockedHash(stored, "spam", 1)])
            target.add([(upload_of(DOG, pending=True), [])])
            self.assertEqual(set(target.find([stored, blocked])), {stored})

    def test_waiting_for_what_is_replaced(self) -> None:
        """A node that waits for a pending upload finds the image in its place."""
        with (
            open_target(Database(self.url), "it") as target,
            closing(connect()) as one,
            closing(connect()) as other,
            ThreadPoolExecutor(2) as pool,
        ):
            target.add([(upload_of(CAT, pending=True), [])])
            lock = "SELECT completed FROM asciid.image FOR UPDATE"
            with one.transaction():
                one.execute(lock)
                adding = pool.submit(target.add, [(upload_of(CAT), [(0, CAT)])])
                wait_until(self.is_waiting, "no lock is waited for")
                locking = pool.submit(other.execute, lock)
                wait_until(lambda: self.waiting() == 2, "no second lock is waited for")
            adding.result()
            self.assertEqual(locking.result().fetchall(), [(2_000,)])

    def is_waiting(self) -> bool:
        """Return whether a connection waits for a lock."""
        return self.waiting() > 0

    def waiting(self) -> int:
        """Return how many connections wait for a lock."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return len(shared_server().execute(waiting))

    def test_staged_expired(self) -> None:
        """An image whose staging a node ended, as for an hour nothing was added."""
        with open_target(Database(self.url), "it") as target:
            number = target.begin()
            target.append(number, [(0, CAT)])
            self.sql("DELETE FROM asciid.staged")
            self.assertRaises(StagedExpiredError, target.append, number, [(1, CAT)])
            target.abandon(number)
            upload = upload_of(CAT)
            self.assertRaises(StagedExpiredError, target.finish, number, upload)
            self.assertEqual(target.find([upload.spec.sha256]), {})
            target.add([(upload, [(0, CAT)])])
            number = target.begin()
            target.finish(number, upload)
            discarded = self.sql("SELECT upload FROM asciid.discarded")
            self.assertEqual(discarded, [(number,)])

    def test_commit_that_is_not_replicated(self) -> None:
        """A commit that is cancelled while it waits for its standby is no success."""
        server = shared_server()
        server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        self.addCleanup(server.execute, "SELECT pg_reload_conf()")
        reset = "ALTER SYSTEM RESET synchronous_standby_names"
        self.addCleanup(server.execute, reset)
        with open_target(Database(self.url), "it") as target:
            server.execute("SELECT pg_reload_conf()")
            failures: list[BaseException] = []

            def add() -> None:
                try:
                    target.add([(upload_of(CAT), [(0, CAT)])])
                except NotReplicatedError as error:
                    failures.append(error)

            adding = Thread(target=add)
            adding.start()
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            wait_until(lambda: server.execute(waiting), "no commit waits")
            for (pid,) in server.execute(waiting):
                server.execute("SELECT pg_cancel_backend(%s)", pid)
            adding.join()
        self.assertEqual(len(failures), 1)
        self.assertIn("run the command again", str(failures[0]))

    def test_unusable(self) -> None:
        """Databases that cannot be used are refused with one line."""
        self.apply(self.source, Put(spec_of(CAT).sha256, CAT))
        server = shared_server()
        server.execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
        server.execute(f"CREATE DATABASE empty OWNER {OWNER}")
        self.target = server.conninfo(database="empty")
        code, out, err = self.copy()
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        self.assertIn(f"asciid: {self.target}: the database has no tables", err)
        self.target = "postgresql://asciid@127.0.0.1:1/asciid"
        code, out, err = self.copy()
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        self.assertIn(f"asciid: {self.target}: connection failed", err)
        self.target = "postgresql://asciid:secret@127.0.0.1/asciid"
        code, out, err = self.copy()
        self.assertEqual((code, out, err.count("\n")), (2, "", 1))
        self.assertIn("password on the command line", err)
        self.assertNotIn("secret", err)
        self.target = "postgresql://a/b?wrong=1"
        self.assertEqual(self.copy()[0], 2)
        self.source = self.target = self.url
        code, _, err = self.copy()
        self.assertEqual(code, 1)
        self.assertTrue(err.endswith("are the same storage\n"))

    def test_server_ends(self) -> None:
        """A connection that is lost is one line, and what was copied stays."""
        self.made(self.source, [("put", data, None, True) for data in DATA])
        end = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'asciid'"
        )
        adds: list[object] = []
        add = DatabaseTarget.add

        def cut(target: DatabaseTarget, uploads: Any) -> None:  # noqa: ANN401 - passed on
            adds.append(uploads)
            if len(adds) == 2:
                shared_server().execute(end)
            add(target, uploads)

        with SMALL, patch.object(DatabaseTarget, "add", cut):
            code, out, err = self.copy()
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        self.assertIn(f"asciid: {self.target}: terminating connection", err)
        there = self.sql("SELECT count(*) FROM asciid.image")[0][0]
        self.assertGreater(there, 0)
        self.assertEqual(self.copied()[1]["copied"], len(DATA) - there)
        self.source, self.target = self.url, self.directory
        read = DatabaseSource.read

        def cut_read(source: DatabaseSource, uploads: Any) -> Any:  # noqa: ANN401
            shared_server().execute(end)
            return read(source, uploads)

        with patch.object(DatabaseSource, "read", cut_read):
            code, out, err = self.copy()
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        self.assertIn(f"asciid: {self.source}: terminating connection", err)
