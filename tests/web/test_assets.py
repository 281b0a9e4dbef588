"""Static files of the pages."""

from __future__ import annotations

import re
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from asciid.web.assets import STATIC_PATH, static_files, static_paths

BUDGET = 40_000
"""Maximum bytes of all scripts and styles together."""


class AssetsTests(SynchronousTestCase):
    """`asciid.web.assets`."""

    def test_names(self) -> None:
        """The name of a file has a hash of its content, so it never changes."""
        for name, content in static_files().items():
            digits = re.fullmatch(r"[a-z]+-([0-9a-f]{12})\.(?:css|js|svg)", name)
            if digits is None:
                self.fail(f"{name} has no hash")
            self.assertTrue(sha256(content).hexdigest().startswith(digits[1]))

    def test_paths(self) -> None:
        """Each file is found by its plain name."""
        paths = static_paths()
        self.assertLessEqual({"style.css", "page.js", "upload.js"}, paths.keys())
        self.assertEqual(
            sorted(paths.values()),
            sorted(STATIC_PATH + name for name in static_files()),
        )

    def test_budget(self) -> None:
        """All scripts and styles together are small."""
        sizes = [
            len(content)
            for name, content in static_files().items()
            if name.endswith((".css", ".js"))
        ]
        self.assertLess(sum(sizes), BUDGET)

    def test_no_other_host(self) -> None:
        """No file loads anything from elsewhere, or runs text as a script."""
        for name, content in static_files().items():
            text = content.decode().replace("http://www.w3.org/2000/svg", "")
            for pattern in (r"https?:", r"@import", r"url\(", r"\beval\b", "innerHTML"):
                self.assertNotRegex(text, pattern, name)
