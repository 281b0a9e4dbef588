"""Tests of asciid.engines.lmdb._residency."""

from __future__ import annotations

import mmap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _residency
from asciid.engines.lmdb._lookup import count
from asciid.engines.lmdb._residency import MAX_GROWTH, Residency, release, shared_bytes
from tests.store._support import DrivenStore

SIZE = 8 * 1024 * 1024


class ResidencyTests(SynchronousTestCase):
    """When pages are given back."""

    def setUp(self) -> None:
        """Make one with fake measurements."""
        self.measured = 50_000
        self.released: list[Path] = []
        self.residency = Residency(
            Path("data.mdb"), measure=lambda: self.measured, release=self.release
        )
        self.residency.check()

    def release(self, path: Path) -> None:
        """Record the call; a little stays mapped."""
        self.released.append(path)
        self.measured = 60_000

    def test_within_bounds(self) -> None:
        """Little growth releases nothing."""
        self.measured += MAX_GROWTH
        self.residency.check()
        self.assertEqual(self.released, [])

    def test_past_bounds(self) -> None:
        """Too much growth is released; the rest is the new baseline."""
        self.measured += MAX_GROWTH + 1
        self.residency.check()
        self.assertEqual(self.released, [Path("data.mdb")])
        self.measured = 60_000 + MAX_GROWTH
        self.residency.check()
        self.assertEqual(len(self.released), 1)
        self.measured += 1
        self.residency.check()
        self.assertEqual(len(self.released), 2)


class ReadTests(SynchronousTestCase):
    """When a store measures the memory of its file."""

    def test_each_read(self) -> None:
        """After each read."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        self.addCleanup(driven.stop)
        environment = driven.engine._environment
        environment._residency = Residency(environment.path, measure=self.look)
        self.looks = 0
        for _ in range(2):
            environment.read(count)
        self.assertEqual(self.looks, 2)

    def look(self) -> int:
        """Count."""
        self.looks += 1
        return 0


class ReleaseTests(SynchronousTestCase):
    """A file that is mapped for real."""

    def setUp(self) -> None:
        """Make a file, in a directory whose name takes some reading."""
        directory = Path(self.mktemp()) / "with  spaces"
        directory.mkdir(parents=True)
        self.path = directory / "data.mdb"
        self.path.write_bytes(b"0123456789abcdef" * (SIZE // 16))

    def open_map(self, flags: int, protection: int) -> mmap.mmap:
        """Map the file."""
        with self.path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), SIZE, flags, protection)
        self.addCleanup(mapped.close)
        return mapped

    def test_release(self) -> None:
        """Pages that were read go back, and can be read again."""
        mapped = self.open_map(mmap.MAP_SHARED, mmap.PROT_READ)
        before = shared_bytes()
        self.assertEqual(mapped[:: mmap.PAGESIZE], b"0" * (SIZE // mmap.PAGESIZE))
        read = shared_bytes()
        self.assertGreater(read - before, SIZE // 2)
        release(self.path)
        self.assertLess(shared_bytes() - before, SIZE // 2)
        self.assertEqual(mapped[-16:], b"0123456789abcdef")

    def test_private(self) -> None:
        """A mapping that may hold what no file has is left alone."""
        mapped = self.open_map(mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        mapped[:4] = b"mine"
        release(self.path)
        self.assertEqual(mapped[:4], b"mine")

    def test_no_statm(self) -> None:
        """Where the system has no figures, there is no growth."""
        self.patch(_residency, "_STATM", self.mktemp())
        self.assertEqual(shared_bytes(), 0)

    def test_no_mappings(self) -> None:
        """Where the mappings cannot be read, the commit does not fail."""
        mapped = self.open_map(mmap.MAP_SHARED, mmap.PROT_READ)
        self.patch(_residency, "_MAPS", Path(self.mktemp()))
        release(self.path)
        self.assertEqual(mapped[:4], b"0123")
