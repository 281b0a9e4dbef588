"""docs/client.md matches the help of the commands."""

from __future__ import annotations

import runpy
import sys
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from asciid.cli.manual import manual
from tests.integration._daemon import ROOT


class ManualTests(SynchronousTestCase):
    """The document."""

    def test_up_to_date(self) -> None:
        """It is what `asciid.cli.manual` generates."""
        text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
        advice = "run: python -P -m asciid.cli.manual > docs/client.md"
        self.assertEqual(text, manual(), advice)

    def test_made(self) -> None:
        """The module prints it."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "modules", dict(sys.modules))
        del sys.modules["asciid.cli.manual"]
        runpy.run_module("asciid.cli.manual", run_name="__main__")
        self.assertEqual(out.getvalue(), manual())

    def test_examples(self) -> None:
        """Every command has examples."""
        for section in manual().split("\n## ")[2:]:
            self.assertIn("Examples:", section, section.splitlines()[0])
