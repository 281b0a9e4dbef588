"""Tests of the lanes of script/test."""

from __future__ import annotations

from pathlib import Path
from unittest import TestResult

from twisted.trial.unittest import SynchronousTestCase, TestSuite

from tests._lane import Lane


class _Loader:
    """Loads empty modules, and has another lane run during one of them."""

    def __init__(self, loaded: list[str], other: Lane | None = None) -> None:
        self.loaded = loaded
        self.other = other

    def loadByName(self, name: str) -> TestSuite:
        """See `_Loader.loadByName`."""
        self.loaded.append(name)
        if self.other and len(self.loaded) == 2:
            self.other.run(TestResult())
        return TestSuite()


class LaneTests(SynchronousTestCase):
    """Lanes that share a list."""

    def test_each_module_once(self) -> None:
        """A lane leaves out what another one has taken, and takes all else in order."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "modules").write_text("long\nlonger.a\nb\nc\n")
        first: list[str] = []
        second: list[str] = []
        other = Lane(directory, _Loader(second))
        Lane(directory, _Loader(first, other)).run(TestResult())
        self.assertEqual((first, second), (["long", "longer.a"], ["b", "c"]))
