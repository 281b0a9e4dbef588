"""Tests of asciid.engines.lmdb._residency."""

from __future__ import annotations

import mmap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _residency
from asciid.engines.lmdb._environment import DATA_FILE
from asciid.engines.lmdb._lookup import count
from asciid.engines.lmdb._residency import (
    MAX_GROWTH,
    Residency,
    SharedBytes,
    find_mappings,
    release,
)
from tests.store._support import DrivenStore

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZE = 8 * 1024 * 1024


class ResidencyTests(SynchronousTestCase):
    """When pages are given back."""

    def setUp(self) -> None:
        """Make one with fake measurements."""
        self.measured = 50_000
        self.found: list[Path] = []
        self.released: list[tuple[int, int]] = []
        self.residency = Residency(
            Path("data.mdb"),
            measure=lambda: self.measured,
            find=self.find,
            release=self.release,
        )
        self.residency.check()

    def find(self, path: Path) -> list[tuple[int, int]]:
        """Find the file at another place each time."""
        self.found.append(path)
        return [(len(self.found), 1_000)]

    def release(self, mappings: Iterable[tuple[int, int]]) -> None:
        """Record the call; a little stays mapped."""
        self.released += mappings
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
        self.assertEqual(self.found, [Path("data.mdb")])
        self.assertEqual(self.released, [(1, 1_000)])
        self.measured = 60_000 + MAX_GROWTH
        self.residency.check()
        self.assertEqual(len(self.released), 1)
        self.measured += 1
        self.residency.check()
        self.assertEqual(len(self.released), 2)

    def test_mappings(self) -> None:
        """Where the file is mapped is found out once, and again once that changes."""
        for _ in range(2):
            self.measured += 2 * MAX_GROWTH
            self.residency.check()
        self.assertEqual(self.released, [(1, 1_000)] * 2)
        self.residency.forget_mappings()
        self.measured += 2 * MAX_GROWTH
        self.residency.check()
        self.assertEqual(self.released[2:], [(2, 1_000)])


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

    def test_mapped_anew(self) -> None:
        """What is released is where the file is mapped now, whatever changed that."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        self.addCleanup(driven.stop)
        environment = driven.engine._environment
        self.looks = 0
        released: list[tuple[int, int]] = []
        environment._residency = Residency(
            environment.path / DATA_FILE,
            measure=self.grow,
            release=released.extend,
        )
        environment.read(count)
        for change in (
            partial(environment.remap, grow=True),
            environment.reopen,
            partial(environment.remap, grow=True),
        ):
            change()
            released.clear()
            environment.read(count)
            self.assertEqual(released, find_mappings(environment.path / DATA_FILE))
            self.assertNotEqual(released, [])

    def grow(self) -> int:
        """Measure more each time."""
        self.looks += 2 * MAX_GROWTH
        return self.looks


class ReleaseTests(SynchronousTestCase):
    """A file that is mapped for real."""

    def setUp(self) -> None:
        """Make a file, in a directory whose name takes some reading."""
        directory = Path(self.mktemp()) / "with  spaces"
        directory.mkdir(parents=True)
        self.path = directory / "data.mdb"
        self.path.write_bytes(b"0123456789abcdef" * (SIZE // 16))
        self.shared_bytes = SharedBytes()

    def open_map(self, flags: int, protection: int) -> mmap.mmap:
        """Map the file."""
        with self.path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), SIZE, flags, protection)
        self.addCleanup(mapped.close)
        return mapped

    def test_release(self) -> None:
        """Pages that were read go back, and can be read again."""
        mapped = self.open_map(mmap.MAP_SHARED, mmap.PROT_READ)
        self.shared_bytes.open()
        self.addCleanup(self.shared_bytes.close)
        before = self.shared_bytes()
        self.assertEqual(mapped[:: mmap.PAGESIZE], b"0" * (SIZE // mmap.PAGESIZE))
        read = self.shared_bytes()
        self.assertGreater(read - before, SIZE // 2)
        release(find_mappings(self.path))
        self.assertLess(self.shared_bytes() - before, SIZE // 2)
        self.assertEqual(mapped[-16:], b"0123456789abcdef")

    def statms_open(self) -> int:
        """Return how many descriptors of this process's figures are open."""
        opened = Path("/proc/self/fd").iterdir()
        return sum(path.resolve().name == "statm" for path in opened)

    def test_private(self) -> None:
        """A mapping that may hold what no file has is left alone."""
        mapped = self.open_map(mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        mapped[:4] = b"mine"
        release(find_mappings(self.path))
        self.assertEqual(mapped[:4], b"mine")

    def test_no_statm(self) -> None:
        """Where the system has no figures, there is no growth."""
        self.patch(_residency, "_STATM", self.mktemp())
        unknown = SharedBytes()
        unknown.open()
        self.assertEqual(unknown(), 0)
        unknown.close()

    def test_closed(self) -> None:
        """A storage holds a descriptor for its figures until it is closed."""
        before = self.statms_open()
        driven = DrivenStore(self.mktemp())
        driven.start()
        environment = driven.engine._environment
        self.assertEqual(self.statms_open(), before + 1)
        environment.reopen()
        self.assertEqual(self.statms_open(), before + 1)
        self.assertGreater(environment._shared_bytes(), 0)
        driven.stop()
        self.assertEqual(self.statms_open(), before)
        self.assertEqual(environment._shared_bytes(), 0)

    def test_no_mappings(self) -> None:
        """Where the mappings cannot be read, the commit does not fail."""
        mapped = self.open_map(mmap.MAP_SHARED, mmap.PROT_READ)
        self.patch(_residency, "_MAPS", Path(self.mktemp()))
        release(find_mappings(self.path))
        self.assertEqual(mapped[:4], b"0123")
