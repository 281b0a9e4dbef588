"""
The modules that one of several runs of trial takes: ``trial tests._lane``.

``ASCIID_LANES`` is a directory that the runs share.  Its file ``modules`` has the names
of all modules, in order; a run that is free takes the first that no other has taken.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from coverage import Coverage
from twisted.trial.runner import DestructiveTestSuite, TestLoader
from twisted.trial.unittest import TestSuite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from unittest import TestResult

__all__ = ["Lane", "testSuite"]


_OF_PROCESSES = ("tests.contrib.", "tests.integration.")
"""What begins the names of modules that test processes, which are not measured."""


class _Loader(Protocol):
    def loadByName(self, name: str) -> TestSuite: ...


class Lane(TestSuite):
    """Loads and runs one module after the other."""

    def __init__(self, directory: Path, loader: _Loader) -> None:
        super().__init__()
        self._directory = directory
        self._loader = loader

    def run(self, result: TestResult, debug: bool = False) -> TestResult:  # noqa: ARG002, FBT001, FBT002 - as overridden
        """See `TestSuite.run`."""
        for name in self._taken():
            with _unmeasured() if name.startswith(_OF_PROCESSES) else nullcontext():
                self._loader.loadByName(name).run(result)
        return result

    def _taken(self) -> Iterator[str]:
        for name in (self._directory / "modules").read_text().split():
            with suppress(FileExistsError):
                (self._directory / name).touch(exist_ok=False)
                yield name


@contextmanager
def _unmeasured() -> Iterator[None]:
    """Measure no coverage: that takes almost as long as what is measured."""
    measurement = Coverage.current()
    if measurement is not None:
        measurement.stop()
    yield
    if measurement is not None:
        measurement.start()


def testSuite() -> Lane:
    """Have trial run a lane, the tests of each module in random order."""
    seed = time.time_ns()
    sys.stdout.write(f"Running tests shuffled with seed {seed}\n")
    order = random.Random(seed)
    loader = TestLoader()
    loader.sorter = lambda _: order.random()
    loader.suiteFactory = DestructiveTestSuite
    return Lane(Path(os.environ["ASCIID_LANES"]), loader)
