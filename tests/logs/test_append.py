"""The file of the access log."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.logs._append import LOOK_EVERY, AppendedFile


class AppendedFileTests(SynchronousTestCase):
    """Lines on a disk."""

    def setUp(self) -> None:
        """Have a file that is not there yet."""
        self.now = 0.0
        self.path = Path(self.mktemp())
        self.file = AppendedFile(self.path, lambda: self.now)
        self.addCleanup(self.file.close)

    def test_lines(self) -> None:
        """Lines are there at once, after those of before and of others."""
        self.path.write_text("before\n")
        other = AppendedFile(self.path)
        self.addCleanup(other.close)
        self.file.write("one\n")
        other.write("two\n")
        self.file.write("drei €\n")
        self.assertEqual(
            self.path.read_text(encoding="utf-8"), "before\none\ntwo\ndrei €\n"
        )

    def test_private(self) -> None:
        """What clients do is not for everybody to read."""
        self.file.write("one\n")
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_moved(self) -> None:
        """A file that was moved is left, and made anew, within a second."""
        self.file.write("one\n")
        moved = self.path.rename(self.path.with_suffix(".1"))
        self.file.write("two\n")
        self.now += LOOK_EVERY
        self.file.write("three\n")
        self.assertEqual(moved.read_text(), "one\ntwo\n")
        self.assertEqual(self.path.read_text(), "three\n")

    def test_replaced(self) -> None:
        """So is one in the place of which another was put."""
        self.file.write("one\n")
        moved = self.path.rename(self.path.with_suffix(".1"))
        self.path.write_text("by others\n")
        self.now += LOOK_EVERY
        self.file.write("two\n")
        self.now += LOOK_EVERY
        self.file.write("three\n")
        self.assertEqual(moved.read_text(), "one\n")
        self.assertEqual(self.path.read_text(), "by others\ntwo\nthree\n")

    def test_cannot_be_written(self) -> None:
        """Lines are lost while it cannot be written, and the log says why."""
        self.path.mkdir()
        with capturedLogs() as events:
            self.file.write("one\n")
            self.file.write("two\n")
        (event,) = events
        self.assertIn(f"{self.path} cannot be written: ", formatEvent(event))
        self.assertIn("Is a directory", formatEvent(event))
        self.path.rmdir()
        self.now += LOOK_EVERY
        self.file.write("three\n")
        self.assertEqual(self.path.read_text(), "three\n")

    def test_full(self) -> None:
        """A disk that is full costs lines, and nothing else."""
        full = AppendedFile(Path("/dev/full"), lambda: self.now)
        with capturedLogs() as events:
            full.write("one\n")
        (event,) = events
        self.assertIn("No space left on device", formatEvent(event))
        self.assertIsNone(full._descriptor)
