"""``asciid copy``: everything is in the target as it was in the source."""

from __future__ import annotations

import errno
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asciid.admin import _copier
from asciid.cli import copy
from asciid.engines.lmdb import _file_source
from asciid.engines.lmdb._records import ImageRecord, chunk_key, upload_key
from asciid.engines.lmdb.maintenance import (
    DATA_FILE,
    FileSource,
    FileTarget,
    StorageFile,
    StorageLock,
    prepare_storage,
)
from asciid.errors import EditKeyError
from asciid.model import About, NewImage
from asciid.store.operations import (
    AddChunk,
    BlockHash,
    Put,
    Register,
    Remove,
    SetAbout,
)
from asciid.store.rules import PIECE
from asciid.store.transfer import StoredUpload
from tests.admin._contents import DATA, KEY_HASH, contents
from tests.admin._copy_case import SMALL, CopyTestCase, is_interrupted
from tests.engines._damage import delete, flip, number_of, put, records, unseal
from tests.engines._formats import write_format_1
from tests.store._support import chunk_of, lmdb_error, spec_of

if TYPE_CHECKING:
    from asciid.engines.lmdb._databases import Readable, Snapshot
    from asciid.store.transfer import Pieces

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
DOG = b"/^ ^\\\n/ 0 0 \\\nV\\ Y /V\n"


class CopyTests(CopyTestCase):
    """Copies of storage directories."""

    @settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=15)
    @given(happened=contents, in_small_steps=st.booleans())
    def test_everything(
        self, *, happened: list[tuple[Any, ...]], in_small_steps: bool
    ) -> None:
        """All queries have the same answers, and the source stays as it is."""
        for path in (self.source, self.target):
            shutil.rmtree(path, ignore_errors=True)
        expected = self.made(self.source, happened)
        before = (self.source / DATA_FILE).read_bytes()
        with SMALL if in_small_steps else nullcontext():
            code, report = self.copied()
        self.assertEqual((code, report["damaged"], report["different"]), (0, [], []))
        self.assertEqual(before, (self.source / DATA_FILE).read_bytes())
        images, pending, _, blocked = expected["usage"]
        self.assertEqual(
            (report["images"], report["pending"], report["blocked"]),
            (images, pending, blocked),
        )
        self.assertEqual(report["copied"], images + pending)
        self.assertEqual(self.answered(self.target, happened), expected)
        self.assertEqual(self.verified()["images"], images)
        again, report = self.copied()
        self.assertEqual((again, report["copied"]), (0, 0))
        self.assertEqual(self.answered(self.target, happened), expected)

    def test_interrupted_anywhere(self) -> None:
        """A copy that ends at any of its transactions is continued by the next one."""
        about = NewImage(About(title="Käse", listed=False), KEY_HASH, "cp437")
        happened = [
            *(("put", data, None, True) for data in DATA[:3]),
            ("put", DATA[3], about, True),
            ("stage", DATA[6], None, True),
            ("chunks", DATA[5], None, PIECE, 1),
            ("block", DATA[4], "spam"),
            ("put", b"gone", None, True),
            ("expire", b"gone"),
        ]
        expected = self.made(self.source, happened)
        at = 0
        while self.interrupt(at):
            self.assertEqual(self.copied()[0], 0)
            self.assertEqual(self.answered(self.target, happened), expected)
            self.assertEqual(records(self.target, "staged"), {})
            shutil.rmtree(self.target)
            at += 1
        self.assertGreater(at, 15)

    def interrupt(self, at: int) -> bool:
        """End a copy after the `at`-th call of the target; return if there was one."""
        lock = StorageLock(self.target)
        lock.acquire()
        prepare_storage(self.target, sync=False)
        with (
            patch.object(_file_source, "STEP", 70_000),
            StorageFile(self.source) as source,
            StorageFile(self.target, lock=lock) as target,
        ):
            file = FileSource(source)
            return is_interrupted(file, FileTarget(target), at)

    def test_continued(self) -> None:
        """The next copy does not copy again what an interrupted one has copied."""
        self.made(self.source, [("put", data, None, True) for data in DATA])
        self.assertTrue(self.interrupt(8))
        there = len(records(self.target, "images"))
        self.assertGreater(there, 0)
        _, report = self.copied()
        self.assertEqual(report["copied"], len(DATA) - there)

    def test_keeps_what_is_there(self) -> None:
        """A target keeps its images; those that the source has otherwise are named."""
        cat, dog, cow, own, ill = b"cat", b"dog", b"cow", b"own", b"ill"
        pending = Register(spec_of(DOG))
        both = [Put(spec_of(one).sha256, one) for one in (cat, cow)]
        chunk = AddChunk(spec_of(DOG).sha256, 0, DOG[:4])
        self.apply(self.source, *both, Put(spec_of(dog).sha256, dog), pending, chunk)
        self.apply(self.source, Put(spec_of(ill).sha256, ill))
        self.apply(self.source, BlockHash(spec_of(own).sha256, "spam"))
        self.apply(self.target, *both, Put(spec_of(own).sha256, own), pending)
        self.apply(self.target, SetAbout(spec_of(cow).sha256, About(title="Cow")))
        self.apply(self.target, BlockHash(spec_of(dog).sha256, "no dogs"))
        self.apply(self.target, Put(spec_of(ill).sha256, ill))
        put(self.target, "images", bytes.fromhex(spec_of(ill).sha256), b"?")
        code, report = self.copied()
        self.assertEqual((code, report["copied"]), (1, 0))
        self.assertEqual(
            {one["sha256"]: one["reason"] for one in report["different"]},
            {
                spec_of(cow).sha256: "the target has it with another about record",
                spec_of(dog).sha256: "the target blocks it",
                spec_of(DOG).sha256: "the target has it with another set of chunks",
                spec_of(own).sha256: "it is blocked, and the target has it",
                spec_of(ill).sha256: (
                    "the target has it damaged: its records cannot be read"
                ),
            },
        )
        self.assertEqual(
            records(self.target, "blocked").keys(), {bytes.fromhex(spec_of(dog).sha256)}
        )
        code, out, _ = self.copy()
        self.assertEqual(code, 1)
        self.assertIn(f"{spec_of(dog).sha256}: the target blocks it\n", out)
        self.assertIn("none damaged, 5 different\n", out)

    def test_other_reason(self) -> None:
        """A hash that both block keeps the target's reason."""
        sha256 = spec_of(CAT).sha256
        self.apply(self.source, BlockHash(sha256, "spam"))
        self.apply(self.target, BlockHash(sha256, "fraud"))
        code, report = self.copied()
        reason = "the target blocks it with another reason or time"
        expected = [{"sha256": sha256, "reason": reason}]
        self.assertEqual((code, report["different"]), (1, expected))

    def test_completed_meanwhile(self) -> None:
        """A pending upload becomes complete with the source, and stays so."""
        spec = spec_of(DOG, 9)
        chunks = [
            AddChunk(spec.sha256, i, chunk_of(DOG, spec, i)) for i in range(spec.chunks)
        ]
        self.apply(self.source, Register(spec), *chunks[:-1])
        self.assertEqual(self.copied()[1]["pending"], 1)
        self.apply(self.target, chunks[-1])
        self.assertEqual(self.copied()[0], 0)
        self.apply(self.source, chunks[-1])
        shutil.rmtree(self.target)
        self.apply(self.target, Register(spec), chunks[0])
        code, report = self.copied()
        self.assertEqual((code, report["images"], report["copied"]), (0, 1, 1))
        self.assertEqual(self.verified()["images"], 1)
        self.assertEqual(records(self.target, "uploads"), {})

    def test_damaged(self) -> None:
        """What cannot be read is named and left out; all else is copied."""
        big = bytes(range(256)) * 1_000
        names = [b"sealed", b"record", b"about", b"short", b"zero", b"intact"]
        pictures = [CAT, DOG, big, *names]
        new = NewImage(About(title="x"))
        self.apply(
            self.source,
            *(Put(spec_of(one).sha256, one, new) for one in pictures),
            Register(spec_of(b"abcdefgh")),
            AddChunk(spec_of(b"abcdefgh").sha256, 0, b"abcd"),
            BlockHash("f" * 64, "spam"),
        )
        flip(self.source, DOG)
        flip(self.source, big[1_000:1_300])
        unseal(self.source, spec_of(b"sealed").sha256)
        key = bytes.fromhex(spec_of(b"record").sha256)
        put(self.source, "images", key, b"?")
        number = number_of(self.source, spec_of(b"zero").sha256)
        zero = ImageRecord(number, size=4, chunk_size=4, piece_size=0)
        key = bytes.fromhex(spec_of(b"zero").sha256)
        put(self.source, "images", key, zero.pack())
        number = number_of(self.source, spec_of(b"about").sha256)
        put(self.source, "about", upload_key(number), b"?")
        number = number_of(self.source, spec_of(b"short").sha256)
        delete(self.source, "chunks", chunk_key(number, 0))
        number = number_of(self.source, spec_of(b"abcdefgh").sha256)
        put(self.source, "chunks", chunk_key(number, 1), b"too long")
        put(self.source, "blocked", bytes.fromhex("f" * 64), b"?")
        with SMALL:
            code, report = self.copied()
        damaged = {one["sha256"]: one["reason"] for one in report["damaged"]}
        self.assertEqual((code, report["copied"], report["different"]), (1, 2, []))
        self.assertEqual(len(damaged), len(report["damaged"]))
        for one, reason in (
            (DOG, "its bytes have the hash "),
            (big, "its bytes have the hash "),
            (b"sealed", "it is neither complete nor pending"),
            (b"record", "its records cannot be read"),
            (b"zero", "its records cannot be read"),
            (b"about", "its records cannot be read"),
            (b"short", "0 of its 5 bytes are there"),
            (b"abcdefgh", "piece 1 does not belong to it"),
        ):
            self.assertIn(reason, damaged.pop(spec_of(one).sha256))
        reason = "the reason of its block cannot be read"
        self.assertEqual(damaged, {"f" * 64: reason})
        self.assertEqual(self.verified()["images"], 2)
        self.assertEqual(records(self.target, "staged"), {})
        code, out, err = self.copy()
        self.assertEqual((code, err), (1, ""))
        self.assertIn("9 damaged, none different\n", out)

    def test_unreadable_pages(self) -> None:
        """An image on pages that cannot be read is named; the others are copied."""
        self.apply(
            self.source,
            *(Put(spec_of(one).sha256, one) for one in (CAT, DOG, bytes(9))),
        )
        unreadable = number_of(self.source, spec_of(DOG).sha256)
        real = _file_source._pieces

        def pieces(snapshot: Snapshot, number: int, first: int, limit: int) -> Pieces:
            if number == unreadable:
                raise lmdb_error(errno.EIO)
            return real(snapshot, number, first, limit)

        find = _file_source._find
        digest = bytes.fromhex(spec_of(CAT).sha256)

        def found(where: Readable, one: bytes) -> StoredUpload | None:
            if one == digest:
                raise lmdb_error(errno.EIO)
            return find(where, one)

        with (
            patch.object(_file_source, "_pieces", pieces),
            patch.object(_file_source, "_find", found),
        ):
            code, report = self.copied()
            with patch.object(_copier, "BATCH_BYTES", 1):
                self.assertEqual(self.copied()[1]["damaged"], report["damaged"])
        self.assertEqual((code, report["copied"]), (1, 1))
        self.assertEqual(
            sorted(one["sha256"] for one in report["damaged"]),
            sorted(spec_of(one).sha256 for one in (CAT, DOG)),
        )
        for one in report["damaged"]:
            self.assertIn("cannot be read: Input/output error", one["reason"])

    def test_lost_in_the_target(self) -> None:
        """An image that the target does not keep is named by the comparison."""
        self.apply(self.source, Put(spec_of(CAT).sha256, CAT))
        with patch.object(FileTarget, "add", lambda *_: None):
            code, report = self.copied()
        reason = "the target does not have it"
        expected = [{"sha256": spec_of(CAT).sha256, "reason": reason}]
        self.assertEqual((code, report["different"]), (1, expected))

    def test_refused_by_the_target(self) -> None:
        """What is stored or blocked is not added, even if it is tried."""
        stored, blocked = spec_of(CAT).sha256, spec_of(DOG).sha256
        self.apply(self.target, Put(stored, CAT), BlockHash(blocked, "spam"))
        self.apply(self.source, Put(stored, CAT), Put(blocked, DOG))
        before = records(self.target, "images")
        with (
            StorageFile(self.source) as source,
            StorageFile(self.target) as opened,
        ):
            target = FileTarget(opened)
            ((uploads),) = FileSource(source).uploads()
            for upload in uploads:
                assert isinstance(upload, StoredUpload)
                target.add([(upload, [(0, b"?")])])
                number = target.begin()
                target.append(number, [(0, b"?")])
                target.finish(number, upload)
            target.tidy()
        self.assertEqual(records(self.target, "images"), before)
        self.assertEqual(len(records(self.target, "chunks")), 2)

    def test_edit_key(self) -> None:
        """The edit key of an image works on the copy, and no other does."""
        sha256 = spec_of(CAT).sha256
        self.apply(self.source, Put(sha256, CAT, NewImage(key_hash=KEY_HASH)))
        self.copied()
        (wrong,) = self.apply(self.target, SetAbout(sha256, About(), None, bytes(32)))
        self.assertIsInstance(wrong, EditKeyError)
        about = SetAbout(sha256, About(title="Cat"), None, KEY_HASH)
        (revision,) = self.apply(self.target, about)
        self.assertIsInstance(revision, int)
        self.assertEqual(self.apply(self.target, Remove(sha256, KEY_HASH)), [None])

    def test_revisions_are_new(self) -> None:
        """A change after the copy has a revision that the source never gave."""
        sha256 = spec_of(CAT).sha256
        changes = [SetAbout(sha256, About(title=str(i))) for i in range(20)]
        _, *given = self.apply(self.source, Put(sha256, CAT), *changes)
        self.copied()
        (revision,) = self.apply(self.target, SetAbout(sha256, About(title="x")))
        self.assertGreater(revision, max(given))

    def test_unusable(self) -> None:
        """Storages that cannot be used are refused, with one line that says why."""
        message = f"{self.source} is not a storage directory: it has no data.mdb"
        self.assertEqual(self.copy(), (1, "", f"asciid: {message}\n"))
        self.assertFalse(self.target.exists())
        self.apply(self.source, Put(spec_of(CAT).sha256, CAT))
        for path, remedy in (
            (self.source, "stop its daemon, or copy a backup of it (asciid backup)\n"),
            (self.target, "stop its daemon\n"),
        ):
            lock = StorageLock(path, holder="a daemon")
            lock.acquire()
            code, out, err = self.copy()
            lock.release()
            self.assertEqual((code, out), (1, ""))
            self.assertIn(f"{path} is in use by a daemon, pid ", err)
            self.assertTrue(err.endswith(remedy), err)
        self.assertEqual(self.copied()[0], 0)
        shutil.rmtree(self.target)
        write_format_1(self.target)
        code, _, err = self.copy()
        self.assertEqual((code, err.count("\n")), (1, 1))
        self.assertIn("start the service, which converts it", err)
        self.target = self.source
        message = f"asciid: {self.source} and {self.source} are the same storage\n"
        self.assertEqual(self.copy(), (1, "", message))
        self.target = Path(":memory:")
        code, _, err = self.copy()
        self.assertEqual((code, err.count("\n")), (2, 1))

    def test_progress(self) -> None:
        """On a terminal a line counts what was copied and compared, and is erased."""
        self.made(self.source, [("put", data, None, True) for data in DATA])
        flip(self.source, DATA[2])
        with (
            patch.object(copy, "can_show", lambda: True),
            patch.object(copy, "_REFRESH", 0),
        ):
            code, out, err = self.copy()
        self.assertEqual(code, 1)
        total = len(DATA)
        # Without a terminal click leaves out the sequences that erase the line.
        self.assertIn(f"\rcopying: {total} of {total}\r", err)
        self.assertIn(f"\rcomparing: {total - 1} of {total}\r", err)
        self.assertEqual(out.count("\n"), 2)
