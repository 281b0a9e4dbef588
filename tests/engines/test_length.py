"""Storage files that are shorter than they should be."""

from __future__ import annotations

import os
import random
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lmdb
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _length
from asciid.engines.lmdb._length import CutShortError
from asciid.engines.lmdb._records import chunk_key
from asciid.engines.lmdb.maintenance import StorageFile
from asciid.errors import StorageFailedError
from tests.store._support import DrivenStore, registered, spec_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asciid.engines.lmdb._batch import Batch
    from asciid.model import ImageSpec

PAGE = 4096
MARK = b"the last chunk of all: "


class LengthTests(SynchronousTestCase):
    """A storage file with images, cut by the tests."""

    def setUp(self) -> None:
        """Store small images, and one whose chunks have several pages each."""
        self.driven = DrivenStore(self.mktemp())
        self.file = self.driven.path / "data.mdb"
        self.images: dict[str, bytes] = {}
        self.driven.start()
        for size in (100, 700, 3_000, 50_000):
            self.add(random.randbytes(size), 20_000)
        self.add(MARK + bytes(30_000), 2**20)
        self.driven.stop()
        self.good = self.file.read_bytes()

    def add(self, data: bytes, chunk_size: int) -> ImageSpec:
        """Upload an image."""
        spec = self.driven.upload(data, chunk_size)
        self.images[spec.sha256] = data
        return spec

    def reopened(self) -> DrivenStore:
        """Open the file with a new store."""
        driven = DrivenStore(str(self.driven.path))
        driven.start()
        return driven

    def assert_whole(self) -> None:
        """Check that every image is there and right."""
        driven = self.reopened()
        for sha256, data in self.images.items():
            self.assertEqual(driven.download(sha256), data)
        driven.stop()

    def assert_refused(self, cut: bytes) -> None:
        """Check that a file is refused, in one line that names it, and left alone."""
        self.file.write_bytes(cut)
        driven = DrivenStore(str(self.driven.path))
        error = self.failureResultOf(driven.store.start(), CutShortError).value
        self.assertIn(str(self.file), str(error))
        self.assertIn("restore a backup", str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(self.file.read_bytes(), cut)

    def leave_short_tail(self) -> None:
        """Have LMDB use pages at the end of the file that it never writes."""

        def put_and_delete(batch: Batch) -> None:
            key = chunk_key(2**60, 0)
            batch.put(batch.databases.chunks, key, bytes(2**20))
            batch.delete(batch.databases.chunks, key)

        with StorageFile(self.driven.path) as storage:
            for _ in range(20):
                storage.execute(put_and_delete)
                if storage.size < length_of(self.file):
                    return
        self.fail("LMDB writes all that it uses")

    def test_undamaged(self) -> None:
        """As it is, the file holds all: so the tests below can fail."""
        self.assert_whole()

    def test_cut(self) -> None:
        """A file that lacks pages in use is refused, wherever it was cut."""
        last = self.good.rindex(MARK) // PAGE
        # Within the pages of the last chunk, too, of which the first is there.
        for pages in (2, 3, last // 2, last, last + 1, last + 7):
            self.assert_refused(self.good[: pages * PAGE])
        self.assert_refused(self.good[: last * PAGE + 100])
        self.file.write_bytes(self.good)
        self.assert_whole()

    def test_cut_header(self) -> None:
        """A file without its second page is not LMDB's."""
        self.file.write_bytes(self.good[:PAGE])
        driven = DrivenStore(str(self.driven.path))
        self.assertIn("move it away", str(self.failureResultOf(driven.store.start())))

    def test_cut_while_closed(self) -> None:
        """A store that reopens its file refuses it, too, and logs the reason."""
        driven = self.reopened()
        self.addCleanup(driven.stop)
        environment = driven.engine._environment
        environment.close()
        self.file.write_bytes(self.good[: 2 * PAGE])
        with capturedLogs() as events:
            awaited = driven.store.register(spec_of(b"new"))
            self.assertRaises(StorageFailedError, driven.run, awaited)
        self.assertIn(
            "was cut short", " ".join(str(formatEvent(event)) for event in events)
        )
        self.file.write_bytes(self.good)
        self.assertEqual(driven.run(registered(driven.store)), len(self.images))

    def test_short_tail(self) -> None:
        """A file that lacks only unused pages is served, and extended."""
        self.leave_short_tail()
        short, length = self.file.stat().st_size, length_of(self.file)
        with capturedLogs() as events:
            self.assert_whole()
            self.assertEqual(self.file.stat().st_size, length)
            self.assert_whole()
        texts = [str(formatEvent(event)) for event in events]
        expected = f"extended {self.file} from {short} to {length} bytes: "
        self.assertEqual(sum(expected in text for text in texts), 1)
        self.driven = self.reopened()
        self.add(random.randbytes(2**20), 2**19)
        self.driven.stop()
        self.assert_whole()

    def test_short_tail_that_is_cut(self) -> None:
        """Where something in use is missing, too, the file is refused."""
        self.leave_short_tail()
        last = self.good.rindex(MARK) // PAGE
        self.assert_refused(self.file.read_bytes()[: (last + 1) * PAGE])

    def test_damaged_too(self) -> None:
        """A short file with pages that lead elsewhere is refused, too."""
        self.leave_short_tail()
        short = self.file.read_bytes()
        walked = []
        for page in range(2, len(short) // PAGE):
            (flags,) = struct.unpack_from("=10xH", short, page * PAGE)
            if flags in {1, 2}:
                walked.append(page)
        in_use = 0
        for page in walked:
            # Its number, and where its first node is.
            for at, value in ((0, 2**40), (16, 2 * PAGE)):
                changed = bytearray(short)
                code = "=Q" if at == 0 else "=H"
                struct.pack_into(code, changed, page * PAGE + at, value)
                in_use += not self.is_whole(bytes(changed))
        # Pages of older transactions are in the file as well.
        self.assertGreaterEqual(in_use, 2 * 3)

    def test_circle(self) -> None:
        """A walk that would go in circles ends."""
        self.leave_short_tail()
        short = bytearray(self.file.read_bytes())
        roots = struct.Struct("=80xQ40xQ")
        for meta in (0, PAGE):
            free, main = roots.unpack_from(short, meta)
            for page in {free, main} - {2**64 - 1}:
                # A branch whose only child is itself.
                struct.pack_into(
                    "=QHHHHH", short, page * PAGE, page, 0, 1, 18, PAGE, 100
                )
                struct.pack_into("=HHHH", short, page * PAGE + 100, page, 0, 0, 0)
        self.assertFalse(self.is_whole(bytes(short)))

    def test_unknown_format(self) -> None:
        """A short file of an unknown format is not trusted."""
        self.leave_short_tail()
        short = bytearray(self.file.read_bytes())
        self.assertTrue(self.is_whole(bytes(short)))
        for meta in (0, PAGE):
            struct.pack_into("=I", short, meta + 20, 3)
        self.assertFalse(self.is_whole(bytes(short)))

    def test_noise(self) -> None:
        """Whatever is in the file, the walk over it ends with an answer."""

        @given(st.randoms(use_true_random=False), st.integers(1, 200))
        @settings(max_examples=30, database=None)
        def check(chance: random.Random, changes: int) -> None:
            noisy = bytearray(self.good[: -5 * PAGE])
            for _ in range(changes):
                # Not the lowest bytes of the file: it would not be LMDB's.
                noisy[chance.randrange(150, len(noisy))] = chance.randrange(256)
            self.assertIn(self.is_whole(bytes(noisy)), {True, False})

        check()

    def is_whole(self, content: bytes) -> bool:
        """Walk over a file that was never opened."""
        file = self.driven.path / "walked"
        file.write_bytes(content)
        descriptor = os.open(file, os.O_RDONLY)
        try:
            return _length._Walk(descriptor, PAGE, len(content)).is_whole()
        finally:
            os.close(descriptor)


class Filled:
    """An environment whose file another process completes before our transaction."""

    def __init__(self, env: lmdb.Environment, file: Path, content: bytes) -> None:
        self._env = env
        self._file = file
        self._content = content

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a C object's
        """Be the environment in everything else."""
        return getattr(self._env, name)

    def begin(self, *, write: bool) -> Any:  # noqa: ANN401 - a C object
        """Begin a transaction, too late."""
        self._file.write_bytes(self._content)
        return self._env.begin(write=write)


@contextmanager
def opened(file: Path) -> Iterator[lmdb.Environment]:
    """Open the environment that a file belongs to."""
    with lmdb.open(str(file.parent), max_dbs=8, map_size=2**26) as env:
        yield env


def length_of(file: Path) -> int:
    """Return how long a file should be: the larger value of both headers."""
    content = file.read_bytes()[: 2 * PAGE]
    metas = [struct.unpack_from("=136xQQ", content, at) for at in (0, PAGE)]
    last_page, _ = max(metas, key=lambda meta: meta[1])
    return int(last_page + 1) * PAGE
