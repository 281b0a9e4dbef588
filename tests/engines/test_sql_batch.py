"""Transactions on a PostgreSQL database, of several nodes at once."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Barrier
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.sql import SQL, Identifier
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._callbacks import do_nothing
from asciid.engines.postgresql import (
    _discarded_chunks,
    _node_row,
    _pending_checks,
    _stored_chunks,
)
from asciid.engines.postgresql._connecting import Connector, Database, is_of_connection
from asciid.engines.postgresql._image_state import Image
from asciid.engines.postgresql._quarantined_images import (
    put_aside,
    restore_quarantine,
)
from asciid.engines.postgresql._sql_arrays import ByteArray, array_of
from asciid.engines.postgresql._sql_batch import carry_out
from asciid.engines.postgresql._sql_schema import NOW
from asciid.engines.postgresql._stored_chunks import StoredChunks
from asciid.errors import ChunkExistsError, ImageGoneError, StorageUnreadableError
from asciid.model import About, NewImage
from asciid.store.operations import (
    AddChunk,
    AddPieces,
    Adopt,
    Begin,
    BlockHash,
    Completed,
    DeleteDiscarded,
    Expired,
    Finish,
    Put,
    Register,
    Remove,
    RemoveExpired,
    SetAbout,
    UnblockHash,
    Unverified,
)
from asciid.store.pending import NO_LIMITS, PendingLimits, PendingUploads
from asciid.store.rules import PIECE
from tests.engines._operations import upload_of
from tests.engines._postgresql import clean_database, connect, server
from tests.store._support import chunk_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.engines.postgresql._sql_batch import BatchResult
    from asciid.store.operations import AnyOperation, Kind

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
IMAGES = [b"image %d, in chunks" % number for number in range(12)]


class Node:
    """A connection that carries out batches, without fences."""

    def __init__(self) -> None:
        self.connection = connect()
        self.pending: PendingUploads[tuple[str, int]] = PendingUploads(NO_LIMITS)
        self.close = self.connection.close
        self.reruns = 0

    @contextmanager
    def begun(
        self,
        *operations: AnyOperation,
        began: Callable[[], object] = do_nothing,
    ) -> Iterator[BatchResult]:
        """
        Carry out a batch that is committed in the end.

        `began` is called once the server has the first statements.
        """
        with self.connection.transaction(), self.connection.pipeline():
            cursor = self.connection.execute(f"SELECT {NOW}")

            def now() -> int:
                ((time_,),) = cursor.fetchall()
                assert isinstance(time_, int)
                began()
                return time_

            yield carry_out(self.connection, operations, self.pending, now)

    def apply(self, *operations: AnyOperation) -> Sequence[Any]:
        """Carry out a batch; return the outcomes."""
        while True:
            try:
                with self.begun(*operations) as result:
                    pass
            except psycopg.errors.SerializationFailure:
                self.reruns += 1
            else:
                return result.outcomes

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        name = Identifier("asciid", table)
        cursor = self.connection.execute(SQL("SELECT count(*) FROM {}").format(name))
        ((count,),) = cursor.fetchall()
        assert isinstance(count, int)
        return count

    def number(self, data: bytes) -> int:
        """Return the upload number of an image."""
        cursor = self.connection.execute(
            "SELECT upload FROM asciid.image WHERE sha256 = decode(%s, 'hex')",
            (spec_of(data).sha256,),
        )
        ((number,),) = cursor.fetchall()
        assert isinstance(number, int)
        return number


class NodesTests(SynchronousTestCase):
    """Two nodes, or more, on one database."""

    def setUp(self) -> None:
        """Empty the database."""
        clean_database()
        self.one, self.other = self.node(), self.node()

    def node(self) -> Node:
        """Return a node, which disconnects in the end."""
        node = Node()
        self.addCleanup(node.close)
        return node

    def deadlocks(self) -> object:
        """Return how many transactions the database has ended as deadlocks."""
        with closing(connect()) as connection:
            # Sent to the statistics at the end of a session.
            cursor = connection.execute(
                "SELECT deadlocks FROM pg_stat_database "
                "WHERE datname = current_database()"
            )
            return cursor.fetchall()

    def wait_for_lock(self) -> None:
        """Wait until a transaction waits for another one."""
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while self.other.connection.execute(query).fetchone() == (0,):
            time.sleep(0.002)

    def test_same_chunks(self) -> None:
        """Of two nodes that get the same chunks, one stores each, the other refuses."""
        specs = [spec_of(data) for data in IMAGES]
        self.one.apply(*map(Register, specs))
        chunks = [
            AddChunk(spec.sha256, i, chunk_of(data, spec, i))
            for data, spec in zip(IMAGES, specs, strict=True)
            for i in range(spec.chunks)
        ]

        def send(node: Node, seed: int) -> list[Any]:
            order = random.Random(seed).sample(range(len(chunks)), len(chunks))
            outcomes: list[Any] = [None] * len(chunks)
            for first in range(0, len(order), 7):
                places = order[first : first + 7]
                found = node.apply(*[chunks[place] for place in places])
                for place, outcome in zip(places, found, strict=True):
                    outcomes[place] = outcome
            return outcomes

        with ThreadPoolExecutor(2) as pool:
            for one, other in zip(
                *pool.map(send, (self.one, self.other), (1, 2)), strict=True
            ):
                (refusal,) = (
                    outcome
                    for outcome in (one, other)
                    if isinstance(outcome, ChunkExistsError)
                )
                self.assertTrue(refusal.identical)
        self.assertEqual(self.one.count("chunk"), len(chunks))

    def test_no_deadlocks(self) -> None:
        """However transactions touch the same images, they never wait in a circle."""
        before = self.deadlocks()

        def play(seed: int) -> int:
            node = Node()
            random_ = random.Random(seed)
            numbers: list[int] = []
            for _ in range(60):
                batch = [
                    operation_of(random_, numbers) for _ in range(random_.randint(1, 9))
                ]
                for task, outcome in zip(batch, node.apply(*batch), strict=True):
                    if isinstance(task, Begin):
                        numbers.append(outcome)
            node.close()
            return node.reruns

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(play, range(3)))
        self.assertEqual(self.deadlocks(), before)
        # All rows that only were locks are gone.
        blocked = self.one.connection.execute(
            "SELECT FROM asciid.image JOIN asciid.blocked USING (shard, sha256)"
        )
        self.assertEqual(blocked.fetchall(), [])
        while self.one.apply(DeleteDiscarded()) == [True]:
            pass
        orphans = self.one.connection.execute(
            "SELECT FROM asciid.chunk c WHERE NOT EXISTS "
            "(SELECT FROM asciid.image i WHERE i.upload = c.upload) AND NOT EXISTS "
            "(SELECT FROM asciid.staged s WHERE s.upload = c.upload)"
        )
        self.assertEqual(orphans.fetchall(), [])
        abouts = self.one.connection.execute(
            "SELECT FROM asciid.about a WHERE NOT EXISTS "
            "(SELECT FROM asciid.image i WHERE i.upload = a.upload)"
        )
        self.assertEqual(abouts.fetchall(), [])

    def test_removed_meanwhile(self) -> None:
        """A batch whose image another node removes while it begins runs again."""
        spec = spec_of(CAT)
        self.one.apply(*upload_of(CAT))
        removing = self.node().connection
        removing.execute("BEGIN")
        removing.execute("SELECT FROM asciid.image FOR UPDATE")
        with ThreadPoolExecutor(1) as pool:
            registering = pool.submit(self.one.apply, Register(spec))
            self.wait_for_lock()
            removing.execute("DELETE FROM asciid.image")
            removing.execute("COMMIT")
            self.assertEqual(registering.result(), [None])
        self.assertEqual(self.one.reruns, 1)

    def test_registered_meanwhile(self) -> None:
        """Of two nodes that register an image, the later one waits, and is refused."""
        spec = spec_of(CAT)
        with ThreadPoolExecutor(1) as pool:
            with self.one.begun(Register(spec)) as result:
                registering = pool.submit(self.node().apply, Register(spec))
                self.wait_for_lock()
            (refusal,) = registering.result()
        self.assertEqual(result.outcomes, [None])
        self.assertIsInstance(refusal, Exception)

    def test_blocked_meanwhile(self) -> None:
        """A hash that is being blocked cannot be registered, stored or not."""
        spec = spec_of(CAT)
        with ThreadPoolExecutor(1) as pool:
            with self.one.begun(BlockHash(spec.sha256, "spam")):
                registering = pool.submit(self.node().apply, Register(spec))
                self.wait_for_lock()
            (refusal,) = registering.result()
        self.assertEqual(refusal.reason, "spam")
        self.assertEqual(self.one.count("image"), 0)

    def test_restored_meanwhile(self) -> None:
        """
        An image in quarantine whose hash is being blocked stays there.

        That is so whatever the database's default of transactions is.
        """
        spec = spec_of(CAT)
        stricter = "options=-c%20default_transaction_isolation%3Dserializable"
        other = Connector(Database(f"{server()}&{stricter}")).connect()
        self.addCleanup(other.close)
        self.one.apply(*upload_of(CAT))
        put_aside(self.one.connection, bytes.fromhex(spec.sha256), self.one.number(CAT))
        with ThreadPoolExecutor(1) as pool:
            with self.one.begun(BlockHash(spec.sha256, "spam")):
                restoring = pool.submit(restore_quarantine, other)
                self.wait_for_lock()
            self.assertEqual(restoring.result(), 0)
        self.assertEqual(self.one.count("image"), 0)
        self.assertEqual(self.one.count("quarantined"), 1)
        self.one.apply(UnblockHash(spec.sha256))
        self.assertEqual(restore_quarantine(other), 1)

    def test_hanging_node(self) -> None:
        """A node that hangs in a transaction loses its locks, and its connection."""
        settings = _node_row._SETTINGS.replace("'10s'", "'100ms'")
        self.assertNotEqual(settings, _node_row._SETTINGS)
        self.patch(_node_row, "_SETTINGS", settings)
        self.one.apply(Register(spec_of(CAT)))
        lock = "SELECT FROM asciid.image FOR UPDATE"
        other = self.other.connection
        with closing(connect()) as hanging:
            _node_row.begin(hanging)
            hanging.execute(lock)
            self.assertEqual(len(other.execute(lock).fetchall()), 1)
            error = self.assertRaises(psycopg.Error, hanging.execute, lock)
            self.assertTrue(is_of_connection(error))

    def test_gone_at_once(self) -> None:
        """Two nodes delete what expired, and images that expired before, at once."""
        specs = [spec_of(data) for data in IMAGES[:2]]
        for data in IMAGES[:2]:
            self.one.apply(*upload_of(data))
        time.sleep(0.005)
        expired = [
            Expired(self.one.number(data), spec.sha256)
            for data, spec in zip(IMAGES, specs, strict=False)
        ]
        self.one.apply(RemoveExpired("images", 0.001, expired))
        for data in IMAGES[:2]:
            self.one.apply(*upload_of(data))
        time.sleep(0.005)
        barrier = Barrier(2)

        def remove(node: Node, first: int) -> Sequence[Any]:
            operations = (
                RemoveExpired("gone", 0.001, [expired[first]]),
                Remove(specs[1 - first].sha256),
            )
            with node.begun(*operations, began=barrier.wait) as result:
                pass
            return result.outcomes

        with ThreadPoolExecutor(2) as pool:
            outcomes = [*pool.map(remove, (self.one, self.other), (0, 1))]
        self.assertEqual({outcome for _, outcome in outcomes}, {None})
        self.assertEqual(self.one.count("gone"), 0)

    def test_expired_at_once(self) -> None:
        """What another node is removing as expired is not waited for."""
        self.one.apply(*upload_of(CAT), *upload_of(IMAGES[0]), Begin(), Begin())
        time.sleep(0.005)
        images = [
            Expired(self.one.number(data), spec_of(data).sha256)
            for data in (CAT, IMAGES[0])
        ]
        cursor = self.one.connection.execute("SELECT upload FROM asciid.staged")
        staged = [Expired(number, "") for (number,) in cursor.fetchall()]  # type: ignore[arg-type]
        self.other.connection.execute("SET lock_timeout = '1s'")
        cases: Sequence[tuple[Kind, list[Expired]]] = [
            ("images", images),
            ("staged", staged),
            ("gone", images),
        ]
        for kind, found in cases:
            first = RemoveExpired(kind, 0.001, found[:1])
            both = RemoveExpired(kind, 0.001, found)
            with self.one.begun(first) as result:
                self.assertEqual(self.other.apply(both), [1], kind)
            self.assertEqual(result.outcomes, [1], kind)
            self.assertEqual(self.other.apply(both), [0], kind)
            time.sleep(0.005)
        self.assertEqual(self.one.count("image"), 0)
        self.assertEqual(self.one.count("staged"), 0)
        self.assertEqual(self.one.count("gone"), 0)


class BatchTests(SynchronousTestCase):
    """The transactions of one node."""

    def setUp(self) -> None:
        """Empty the database."""
        clean_database()
        self.node = Node()
        self.addCleanup(self.node.close)
        self.apply = self.node.apply

    def test_all_at_once(self) -> None:
        """Operations of one transaction see what those before it did."""
        spec = spec_of(CAT)
        (number,) = self.apply(Begin())
        self.apply(AddPieces(number, 0, [CAT]))
        adopt = Adopt(number, spec.sha256, len(CAT), NewImage(About("Cat")))
        chunk = AddChunk(spec.sha256, 0, chunk_of(CAT, spec, 0))
        outcomes = self.apply(
            *upload_of(CAT),
            Remove(spec.sha256),
            Register(spec),
            adopt,
            chunk,
            SetAbout(spec.sha256, About("Tom")),
            BlockHash(spec.sha256, "spam"),
            UnblockHash(spec.sha256),
            *upload_of(CAT),
        )
        adopted, refused, revision, *_, last = outcomes[-len(upload_of(CAT)) - 5 :]
        self.assertIsInstance(adopted, Completed)
        self.assertEqual((type(refused), type(revision)), (ChunkExistsError, int))
        self.assertTrue(refused.identical)
        self.assertIsInstance(last, Completed)
        self.assertEqual(self.node.count("image"), 1)
        self.assertEqual(self.node.count("about"), 0)
        self.assertEqual(self.apply(DeleteDiscarded()), [False])
        self.assertEqual(self.node.count("chunk"), spec.chunks)

    def test_damaged_about(self) -> None:
        """An operation that needs a damaged record fails, and no other one does."""
        spec = spec_of(CAT)
        for about in (b"{", b'{"title": "\xff"}'):
            clean_database()
            self.node.apply(*upload_of(CAT, new=NewImage(About("Cat"), b"key")))
            self.node.connection.execute("UPDATE asciid.about SET about = %s", (about,))
            outcomes = self.node.apply(
                SetAbout(spec.sha256, About(), None, b"key"),
                Remove(spec.sha256, b"key"),
                Put(spec_of(IMAGES[0]).sha256, IMAGES[0]),
                Remove(spec.sha256),
            )
            for outcome in outcomes[:2]:
                self.assertIsInstance(outcome, StorageUnreadableError)
            self.assertIsInstance(outcomes[2], Completed)
            self.assertIsInstance(outcomes[3], StorageUnreadableError)
            self.assertEqual(self.node.apply(Remove(spec.sha256)), [None])
            self.assertEqual(self.node.count("about"), 0)

    def test_expired_and_rejected(self) -> None:
        """A hash that has expired is so again when its next upload is rejected."""
        spec = spec_of(CAT, 100)
        self.apply(*upload_of(CAT))
        time.sleep(0.002)
        expired = Expired(self.node.number(CAT), spec.sha256)
        wrong = AddChunk(spec.sha256, 0, bytes(len(CAT)))
        *_, gone = self.apply(
            RemoveExpired("images", 0.001, [expired]), Register(spec), wrong, wrong
        )
        self.assertIsInstance(gone, ImageGoneError)

    def test_too_much_to_hash(self) -> None:
        """Of many images that become complete at once, some are hashed outside."""
        self.patch(_stored_chunks, "WHOLE_BYTES", len(IMAGES[0]) + len(IMAGES[1]))
        few = IMAGES[:3]
        last = []
        for data in few:
            *first, one = upload_of(data)
            self.apply(*first)
            last.append(one)
        *complete, unverified = self.apply(*last)
        for outcome in complete:
            self.assertIsInstance(outcome, Completed)
        self.assertIsInstance(unverified, Unverified)
        spec = unverified.spec
        index = spec.chunks - 1
        finish = Finish(unverified, index, chunk_of(few[2], spec, index), spec.sha256)
        (completed,) = self.apply(finish)
        self.assertIsInstance(completed, Completed)

    def test_uploads_of_a_client(self) -> None:
        """Of many uploads of a client at its limit, some are checked at a time."""
        self.patch(_pending_checks, "CHECKED_AT_ONCE", 2)
        self.node.pending = PendingUploads(PendingLimits(per_client=6))
        specs = [spec_of(data) for data in IMAGES]
        self.apply(*[Register(spec, "a") for spec in specs[:6]])
        self.node.connection.execute("DELETE FROM asciid.image")
        self.assertEqual(self.apply(Register(specs[6], "a")), [None])
        # Two of the six do not count any more, and the new one does.
        self.assertEqual(self.node.pending.tracked, (5, 1))

    def test_little_is_read(self) -> None:
        """To compare a small chunk, no large piece is read."""
        data = bytes(PIECE) + b"xyz"
        spec = spec_of(data, PIECE - 1)
        chunk = AddChunk(spec.sha256, 1, b"\0xyz")
        self.apply(Register(spec))
        self.apply(Put(spec.sha256, data))
        number = self.node.number(data)
        image = Image(spec, number, PIECE, 0, 0, 0, completed=1)
        chunks = StoredChunks(self.node.connection)
        chunks.prefetch([chunk], {spec.sha256: image})
        self.assertEqual(sorted(chunks._parts.values()), [b"\0", b"xyz"])
        (refusal,) = self.apply(chunk)
        self.assertTrue(refusal.identical)

    def test_deleted_in_steps(self) -> None:
        """Discarded chunks are deleted a bounded number, and of bytes, at a time."""
        chunks = 0
        for data in IMAGES[:3]:
            self.apply(*upload_of(data), Remove(spec_of(data).sha256))
            self.apply(*upload_of(data))
            self.apply(Remove(spec_of(data).sha256))
            chunks += spec_of(data).chunks
        self.assertEqual(self.node.count("chunk"), chunks)
        self.patch(_discarded_chunks, "DISCARD_STEP", 2)
        self.assertEqual(self.apply(DeleteDiscarded(), DeleteDiscarded()), [True] * 2)
        self.assertEqual(self.node.count("chunk"), chunks - 2)
        self.patch(_discarded_chunks, "DISCARD_STEP", 1_000)
        self.patch(_discarded_chunks, "DISCARD_BYTES", 5)
        self.assertEqual(self.apply(DeleteDiscarded()), [True])
        self.assertEqual(self.node.count("chunk"), chunks - 4)
        while self.apply(DeleteDiscarded()) == [True]:
            pass
        self.assertEqual(self.node.count("chunk"), 0)
        self.assertEqual(self.node.count("discarded"), 0)

    def test_placeholders(self) -> None:
        """A row that was only a lock is not seen by anybody, nor left."""
        spec = spec_of(CAT)
        self.apply(UnblockHash(spec.sha256), BlockHash(spec.sha256, "spam"))
        self.apply(Register(spec), Put(spec.sha256, CAT))
        self.assertEqual(self.node.count("image"), 0)

    def test_arrays(self) -> None:
        """Arrays arrive as they are, empty ones and NULL included."""
        for values in ([], [b""], [b"\0{},\"'\\", b"x" * 70_000]):
            cursor = self.node.connection.execute("SELECT %s", (ByteArray(values),))
            self.assertEqual(cursor.fetchall(), [(values,)])
        cursor = self.node.connection.execute(
            "SELECT %s::bigint[], %s::boolean[], %s::text[]",
            (array_of([1, None, -(2**63)]), array_of([True, False]), array_of(["ab"])),
        )
        self.assertEqual(
            cursor.fetchall(), [([1, None, -(2**63)], [True, False], ["ab"])]
        )


def operation_of(random_: random.Random, numbers: Sequence[int]) -> AnyOperation:
    """Return any operation on one of a few images."""
    data = random_.choice(IMAGES[:5])
    spec = spec_of(data)
    index = random_.randrange(spec.chunks)
    number = random_.choice(numbers) if numbers else 10**9
    expired = [Expired(random_.randrange(400), spec_of(one).sha256) for one in IMAGES]
    choices: list[AnyOperation] = [
        Register(spec, "", NewImage(About("x", expires=1))),
        *[AddChunk(spec.sha256, index, chunk_of(data, spec, index))] * 4,
        Put(spec.sha256, data),
        Remove(spec.sha256),
        SetAbout(spec.sha256, About("y")),
        BlockHash(spec.sha256, "spam"),
        *[UnblockHash(spec.sha256)] * 2,
        Begin(),
        AddPieces(number, 0, [data]),
        Adopt(number, spec.sha256, len(data)),
        RemoveExpired("dated", 0, expired),
        RemoveExpired("gone", 0, expired),
        RemoveExpired("staged", 0.02, [Expired(one, "") for one in numbers]),
        DeleteDiscarded(),
    ]
    return random_.choice(choices)
