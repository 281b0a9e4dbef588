"""The documents' contents and links lead somewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unittest import TestCase

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(path: Path, level: str = "#+") -> list[str]:
    """Return what the headings of a document are linked by, in order."""
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(rf"^{level} (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles]


class DocumentsTests(SynchronousTestCase):
    """All documents."""

    def test_links(self) -> None:
        """Each link to a file, or to a heading, finds it."""
        count = 0
        for document in DOCUMENTS:
            text = document.read_text(encoding="utf-8")
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if "://" in target:
                    continue
                name, _, anchor = target.partition("#")
                path = document.parent / name if name else document
                self.assertTrue(path.exists(), f"{document.name}: {target}")
                if anchor:
                    self.assertIn(anchor, anchors(path), f"{document.name}: {target}")
                count += 1
        self.assertGreater(count, 20)

    def test_contributing(self) -> None:
        """The files and tests that CONTRIBUTING.md names are there."""
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        section = text.partition("## How to add\n")[2].partition("\n## ")[0]
        named = set(re.findall(r"`([\w./-]+)`", section))
        paths = {name for name in named if re.search(r"\.(py|md|json|yml)$", name)}
        self.assertGreater(len(paths), 20)
        self.assertEqual({name for name in paths if not (ROOT / name).exists()}, set())
        tests = {name for name in named if name.startswith("tests.")}
        self.assertGreater(len(tests), 20)
        for name in tests:
            namedAny(name)

    def test_what_people_look_for(self) -> None:
        """Each row of the table in docs/web.md names tests that are there."""
        text = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
        section = text.partition("\n## What people look for\n")[2]
        _, *rows = re.findall(r"^\|.*\| (.*) \|$", section, re.MULTILINE)
        self.assertEqual(len(rows), 10)
        for row in rows:
            names = re.findall(r"`(tests\.[\w.]+\.test_\w+)`", row)
            self.assertEqual(row, ", ".join(f"`{name}`" for name in names))
            for name in names:
                case, _, method = name.rpartition(".")
                self.assertTrue(callable(getattr(namedAny(case), method)), name)
                self.assertTrue(issubclass(namedAny(case), TestCase), name)

    def test_contents(self) -> None:
        """The operator's manual begins with all its sections, in order."""
        path = ROOT / "docs" / "operations.md"
        contents = path.read_text(encoding="utf-8").partition("\n## ")[0]
        listed = re.findall(r"^- \[.*?\]\(#(.*?)\)$", contents, re.MULTILINE)
        self.assertEqual(listed, anchors(path, "##"))
