"""Tests of the lanes of script/test."""

from __future__ import annotations

from pathlib import Path
from unittest import TestResult

from coverage import Coverage
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


class _Measurement:
    """Records when coverage is measured, among the modules that are loaded."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def start(self) -> None:
        """See `Coverage.start`."""
        self.events.append("start")

    def stop(self) -> None:
        """See `Coverage.stop`."""
        self.events.append("stop")


class LaneTests(SynchronousTestCase):
    """Lanes that share a list."""

    def list_modules(self, *names: str) -> Path:
        """Return a directory with a list of modules."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "modules").write_text("\n".join(names))
        return directory

    def test_not_measured(self) -> None:
        """In modules that start processes no coverage is measured."""
        directory = self.list_modules("tests.a", "tests.integration.test_b", "tests.c")
        events: list[str] = []
        self.patch(Coverage, "current", lambda: _Measurement(events))
        Lane(directory, _Loader(events)).run(TestResult())
        expected = ["tests.a", "stop", "tests.integration.test_b", "start", "tests.c"]
        self.assertEqual(events, expected)

    def test_each_module_once(self) -> None:
        """A lane leaves out what another one has taken, and takes all else in order."""
        directory = self.list_modules("long", "longer.a", "b", "c")
        first: list[str] = []
        second: list[str] = []
        other = Lane(directory, _Loader(second))
        Lane(directory, _Loader(first, other)).run(TestResult())
        self.assertEqual((first, second), (["long", "longer.a"], ["b", "c"]))
