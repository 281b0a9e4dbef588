"""Text for one line of a log or a terminal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime.text import printable, reason_of


class TextTests(SynchronousTestCase):
    """Reasons, and what makes them printable."""

    def test_reasons(self) -> None:
        """An error of the system is shown as a file and a reason, without a number."""
        denied = PermissionError(errno.EACCES, "Permission denied", "/x y")
        in_use = OSError(errno.EADDRINUSE, "Address already in use")
        for error, reason in (
            (denied, "/x y: Permission denied"),
            (OSError(errno.EIO, "I/O error", b"/x"), "/x: I/O error"),
            (OSError(errno.EIO, "I/O error", Path("/x")), "/x: I/O error"),
            (in_use, "Address already in use"),
            (CannotListenError("", 80, in_use), "Address already in use"),
            (OSError("cannot open"), "cannot open"),
            (OSError(), "OSError"),
            (ValueError("no"), "no"),
            (OverflowError(), "OverflowError"),
        ):
            self.assertEqual(reason_of(error), reason)
        self.assertEqual(reason_of(denied, named="/x y"), "Permission denied")
        self.assertEqual(reason_of(denied, named="/x"), "/x y: Permission denied")

    def test_real(self) -> None:
        """Errors that the system raises have no number either."""
        with self.assertRaises(OSError) as raised:
            os.listdir(self.mktemp())  # noqa: PTH208 - has the name as text
        self.assertTrue(
            reason_of(raised.exception).endswith(": No such file or directory")
        )
        self.assertNotIn("Errno", reason_of(raised.exception))

    def test_printable(self) -> None:
        """Control characters are escaped, but for tabs and line feeds."""
        self.assertEqual(
            printable("a\tb\nc\x1b[m\u2028\ud800"), "a\tb\nc\\x1b[m\\u2028\\ud800"
        )
