"""The file of the access log."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from asciid.logs._append import LOOK_EVERY, AppendedFile, write_lines


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
        """The file is not readable by other users."""
        self.file.write("one\n")
        self.assertEqual(self.path.stat().st_mode & 0o007, 0)

    def test_moved(self) -> None:
        """After a move, a new file is created within a second."""
        self.file.write("one\n")
        moved = self.path.rename(self.path.with_suffix(".1"))
        self.file.write("two\n")
        self.now += LOOK_EVERY
        self.file.write("three\n")
        self.assertEqual(moved.read_text(), "one\ntwo\n")
        self.assertEqual(self.path.read_text(), "three\n")

    def test_replaced(self) -> None:
        """So it is if another file has its name."""
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
        """While it cannot be written, each write fails; a second later it is tried."""
        self.path.mkdir()
        for _ in range(2):
            self.assertRaises(IsADirectoryError, self.file.write, "one\n")
        self.path.rmdir()
        self.assertRaises(IsADirectoryError, self.file.write, "two\n")
        self.now += LOOK_EVERY
        self.file.write("three\n")
        self.assertEqual(self.path.read_text(), "three\n")

    def test_full(self) -> None:
        """On a full disk a write fails, and leaves nothing open."""
        full = AppendedFile(Path("/dev/full"), lambda: self.now)
        error = self.assertRaises(OSError, full.write, "one\n")
        self.assertEqual(error.errno, errno.ENOSPC)
        self.assertIsNone(full._descriptor)

    def test_cut_off(self) -> None:
        """A line does not go on where a full disk has cut off another."""
        write = os.write

        def write_a_little(descriptor: int, data: bytes) -> int:
            if len(data) < 7:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data[:3])

        full = self.patch(os, "write", write_a_little)
        self.assertRaises(OSError, self.file.write, "one\ntwo\nthree\n")
        full.restore()
        self.now += LOOK_EVERY
        self.file.write("four\n")
        self.file.write("five\n")
        self.assertEqual(self.path.read_text(), "one\ntwo\nt\nfour\nfive\n")

    def test_no_reader(self) -> None:
        """A FIFO without a reader does not block; with one, it gets lines."""
        os.mkfifo(self.path)
        error = self.assertRaises(OSError, self.file.write, "one\n")
        self.assertIn("no process has the FIFO open for reading", str(error))
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.now += LOOK_EVERY
        self.file.write("two\n")
        self.assertEqual(os.read(reader, 100), b"two\n")
        os.close(reader)
        self.assertRaises(BrokenPipeError, self.file.write, "three\n")
        self.now += LOOK_EVERY
        error = self.assertRaises(OSError, self.file.write, "four\n")
        self.assertIn("no process has the FIFO open for reading", str(error))

    def test_socket(self) -> None:
        """A socket is refused; the error names its type."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.fspath(self.path.name))
            self.addCleanup(os.unlink, self.path.name)
            file = AppendedFile(Path(self.path.name))
            error = self.assertRaises(OSError, file.write, "one\n")
        self.assertIn("it is a socket", str(error))

    def test_device(self) -> None:
        """The errors of a missing device and of a FIFO without a reader differ."""
        self.path.touch()
        failing = self.patch(os, "open", self.no_device)
        error = self.assertRaises(OSError, self.file.write, "one\n")
        failing.restore()
        self.assertEqual(error.strerror, "No such device or address")

    def no_device(self, *_: object) -> int:
        """Fail as the open of a device does."""
        raise OSError(errno.ENXIO, "No such device or address")


class WriteLinesTests(SynchronousTestCase):
    """Lines in a pipe."""

    def setUp(self) -> None:
        """Make a pipe."""
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)

    def test_whole_lines(self) -> None:
        """Lines of several processes do not mix: each write is lines, and short."""
        written: list[bytes] = []
        write = os.write

        def note(descriptor: int, data: bytes) -> int:
            written.append(bytes(data))
            return write(descriptor, data)

        self.patch(os, "write", note)
        lines = ["a" * 3000, "b" * 2000, "c" * 1000, "d" * 5000, "€\udcff"]
        write_lines(self.writer, "".join(f"{line}\n" for line in lines))
        self.assertEqual([len(data) for data in written], [3001, 3002, 5001, 10])
        read = os.read(self.reader, 100_000).decode().splitlines()
        self.assertEqual(read, [*lines[:4], "€\\udcff"])

    def test_without_blocking(self) -> None:
        """A pipe that another process does not want to block is waited for."""
        os.set_blocking(self.writer, False)
        lines = "x" * 99_999 + "\n"
        done = Thread(target=write_lines, args=(self.writer, lines))
        done.start()
        size = 0
        while size < len(lines):
            size += len(os.read(self.reader, 10_000))
        done.join()
        self.assertEqual(size, len(lines))
