"""Rules of style for the messages of the log."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = {"debug", "info", "warn", "error", "critical", "failure"}
ELSEWHERE = "simulate"
"""What it prints follows a format of its own."""


def messages() -> Iterator[tuple[str, str]]:
    """Yield the place and the format of every message in the sources."""
    for source in sorted((ROOT / "asciid").rglob("*.py")):
        path = source.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and node.args
                and isinstance(text := node.args[0], ast.Constant)
                and isinstance(text.value, str)
                and ELSEWHERE not in path
            ):
                yield f"{path}:{node.lineno}", text.value


class MessagesTests(SynchronousTestCase):
    """Messages as operators know them from nginx and PostgreSQL."""

    def test_style(self) -> None:
        """They begin in lower case, except names, and end without a full stop."""
        found = list(messages())
        self.assertGreater(len(found), 50)
        for place, text in found:
            first = text.split()[0].rstrip(":")
            self.assertTrue(not first[0].isupper() or first.isupper(), (place, text))
            self.assertFalse(text.endswith("."), (place, text))
