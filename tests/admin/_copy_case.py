"""Base of the tests of ``asciid copy``."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from asciid.admin import _copier
from asciid.admin._copier import Copier
from asciid.cli.main import main
from tests.admin._contents import answers, fill, seconds_of
from tests.engines._driven import DrivenLMDB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.store.operations import AnyOperation

__all__ = ["SMALL", "CopyTestCase", "is_interrupted"]

SMALL = patch.multiple(_copier, BATCH_UPLOADS=2, BATCH_BYTES=90_000)
"""Bounds with which few images take many transactions, and some are large."""


class InterruptedCopyError(Exception):
    """The end of a copy before its time."""


class Interrupted:
    """An `ICopyTarget` that ends the copy after the `at`-th call, counted from 0."""

    def __init__(self, target: Any, at: int) -> None:  # noqa: ANN401 - any end
        self._target, self._left = target, at

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method that may end the copy after what it does."""

        def call(*arguments: Any) -> Any:  # noqa: ANN401 - the method's
            self._left -= 1
            result = getattr(self._target, name)(*arguments)
            if self._left < 0:
                raise InterruptedCopyError
            return result

        return call


def is_interrupted(source: Any, target: Any, at: int) -> bool:  # noqa: ANN401 - any ends
    """End a copy after the `at`-th call of the target; return if there was one."""
    interrupted = Interrupted(target, at)
    copier = Copier(source, interrupted, lambda *_: None, lambda *_: None)
    try:
        with SMALL:
            copier.run()
    except InterruptedCopyError:
        return True
    return False


class CopyTestCase(SynchronousTestCase):
    """Makes storage directories, and copies them."""

    source: Any
    target: Any

    def setUp(self) -> None:
        """Name the directories."""
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.source, self.target = self.base / "source", self.base / "target"

    def made(self, path: Path, happened: Sequence[tuple[Any, ...]]) -> dict[Any, Any]:
        """Make a storage in which that happened; return what it answers then."""
        driven = DrivenLMDB(str(path))
        driven.start()
        fill(driven, happened)
        found = answers(driven)
        driven.stop()
        return found

    def answered(
        self, path: Path, happened: Sequence[tuple[Any, ...]]
    ) -> dict[Any, Any]:
        """Return what a storage answers at the end of that."""
        driven = DrivenLMDB(str(path))
        driven.start()
        driven.pass_time(seconds_of(happened))
        found = answers(driven)
        driven.stop()
        return found

    def apply(self, path: Path, *operations: AnyOperation) -> Sequence[Any]:
        """Carry out operations in a storage; return their outcomes."""
        driven = DrivenLMDB(str(path))
        driven.start()
        outcomes = driven.apply(*operations)
        driven.stop()
        return outcomes

    def copy(self, *options: str) -> tuple[int, str, str]:
        """Run the command; return its exit code and its output."""
        out, err = io.StringIO(), io.StringIO()
        arguments = ["copy", str(self.source), str(self.target), *options]
        with redirect_stdout(out), redirect_stderr(err):
            end = self.assertRaises(SystemExit, main, arguments)
        assert isinstance(end.code, int)
        return end.code, out.getvalue(), err.getvalue()

    def copied(self) -> tuple[int, Any]:
        """Run the command; return its exit code and what it prints as JSON."""
        code, out, err = self.copy("--json")
        self.assertEqual(err, "")
        return code, json.loads(out)

    def verified(self) -> Any:  # noqa: ANN401 - JSON
        """Return the result of ``asciid verify`` on the target."""
        out = io.StringIO()
        with redirect_stdout(out):
            arguments = ["verify", f"--storage={self.target}", "--rate=0", "--json"]
            end = self.assertRaises(SystemExit, main, arguments)
        self.assertEqual(end.code, 0, out.getvalue())
        return json.loads(out.getvalue())
