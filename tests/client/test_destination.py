"""The outputs of downloads."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from asciid.client.destination import InPlace, destination_of, real_path
from tests.cli.test_commands import CAT, SHA256, CommandTestCase


class DestinationTests(SynchronousTestCase):
    """`destination_of` and `real_path`."""

    def setUp(self) -> None:
        """Work in a directory with a file, a directory, a pipe, and links."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        before = Path.cwd()
        os.chdir(self.directory)
        self.addCleanup(os.chdir, before)
        Path("file").touch()
        Path("dir").mkdir()
        os.mkfifo("pipe")
        os.mkfifo("dir/name")

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link."""
        Path(name).symlink_to(target)

    def test_files(self) -> None:
        """A name is that of a file, or of the directory for one."""
        for output, path in (
            (None, "name"),
            ("file", "file"),
            ("new", "new"),
            ("./-", "-"),
            (".", "name"),
            ("./", "name"),
            ("none/file", "none/file"),
        ):
            self.assertEqual(destination_of(output, "name"), Path(path), output)
        self.assertEqual(destination_of("dir/", "other"), Path("dir/other"))

    def test_in_place(self) -> None:
        """An existing file that is not regular is written to directly."""
        self.link("to-pipe", "pipe")
        self.assertEqual(destination_of("-", "name"), InPlace(None))
        for output in ("pipe", "to-pipe", "/dev/null"):
            self.assertEqual(destination_of(output, "name"), InPlace(Path(output)))
        self.assertEqual(destination_of("dir", "name"), InPlace(Path("dir/name")))

    def test_descriptors(self) -> None:
        """So is a file that is open, by whatever path it is named."""
        with Path("file").open("ab") as file:
            descriptor = file.fileno()
            self.link("link", f"/proc/self/fd/{descriptor}")
            self.link("to-link", "link")
            for output in (
                f"/dev/fd/{descriptor}",
                f"/proc/self/fd/{descriptor}",
                f"/proc/{os.getpid()}/task/{os.getpid()}/fd/{descriptor}",
                "link",
                "to-link",
            ):
                found = destination_of(output, "name")
                self.assertEqual(found, InPlace(descriptor), output)
        # One that is not open is one still, and cannot be opened.
        self.assertEqual(destination_of("link", "name"), InPlace(descriptor))
        opening = InPlace(descriptor).opened()
        error = self.assertRaises(OSError, opening.__enter__)
        self.assertEqual(error.errno, errno.EBADF)

    def test_no_directory(self) -> None:
        """A directory that is not there is an error."""
        for output in ("new/", "file/", "pipe/"):
            with self.assertRaises(NotADirectoryError):
                destination_of(output, "name")

    def test_links(self) -> None:
        """A file is that which a link names, whether it is there or not."""
        self.link("to-file", "file")
        self.link("to-new", "dir/new")
        self.link("around", "around")
        for path, real in (("new", "new"), ("file", "file")):
            self.assertEqual(real_path(Path(path)), Path(real))
        for path, real in (("to-file", "file"), ("to-new", "dir/new")):
            self.assertEqual(real_path(Path(path)), self.directory / real)
        with self.assertRaises(OSError):
            real_path(Path("around"))
        self.assertEqual(destination_of("around", "name"), Path("around"))


class OutputTests(CommandTestCase):
    """``asciid get -o``."""

    def setUp(self) -> None:
        """Have an image."""
        super().setUp()
        self.output("put", "cat.txt")

    def files(self) -> set[str]:
        """Return the content of the directory."""
        return {path.name for path in Path().iterdir()}

    def test_file_named_like_standard_output(self) -> None:
        """./- is a file."""
        self.assertEqual(self.output("get", SHA256, "-o", "./-"), "-\n")
        self.assertEqual(Path("./-").read_text(encoding="utf-8"), CAT)

    def test_no_directory(self) -> None:
        """A directory that is not there, and a name that is empty, are errors."""
        before = self.files()
        self.assert_fails(1, "new/: Not a directory", "get", SHA256, "-o", "new/")
        self.assert_fails(1, "Not a directory", "get", SHA256, "-o", "cat.txt/")
        self.assert_fails(2, "the name is empty", "get", SHA256, "-o", "")
        self.assertEqual(self.files(), before)

    def test_links(self) -> None:
        """Links stay; the file that they name gets the image, at once."""
        Path("art").mkdir()
        for name, target in (("link", "art/old"), ("dangling", "art/new")):
            Path(name).symlink_to(target)
        Path("art/old").touch()
        inode = Path("art/old").stat().st_ino
        for name, target in (("link", "art/old"), ("dangling", "art/new")):
            self.assertEqual(self.output("get", SHA256, "-o", name), f"{name}\n")
            self.assertEqual(Path(name).readlink(), Path(target))
            self.assertEqual(Path(target).read_text(encoding="utf-8"), CAT)
        self.assertNotEqual(Path("art/old").stat().st_ino, inode)
        self.assertEqual(len(list(Path("art").iterdir())), 2)

    def test_pipe_in_a_directory(self) -> None:
        """A pipe by the name that the file would get is written to."""
        Path("art").mkdir()
        pipe = Path("art", f"{SHA256}.txt")
        os.mkfifo(pipe)
        received: list[str] = []
        reading = Thread(
            target=lambda: received.append(pipe.read_text(encoding="utf-8"))
        )
        reading.start()
        self.addCleanup(reading.join)
        self.output("get", SHA256, "-o", "art")
        reading.join(30)
        self.assertEqual(received, [CAT])
        self.assertTrue(stat.S_ISFIFO(pipe.stat().st_mode))

    def test_directory_that_cannot_be_synced(self) -> None:
        """Once the file has its name, nothing makes a failure of it."""
        fsync = os.fsync

        def fail(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            fsync(descriptor)

        self.patch(os, "fsync", fail)
        self.assertEqual(self.output("get", SHA256, "-o", "copy"), "copy\n")
        opened = os.open

        def refuse(path: str, flags: int, *mode: int) -> int:
            if Path(path).is_dir():
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return opened(path, flags, *mode)

        self.patch(os, "open", refuse)
        self.assertEqual(self.output("get", SHA256, "-o", "other"), "other\n")
        self.assertEqual(Path("other").read_text(encoding="utf-8"), CAT)

    def test_temporary_files_that_are_gone(self) -> None:
        """Nor does one that was removed meanwhile."""
        self.patch(tempfile, "tempdir", str(Path.cwd()))
        unlink, removed = os.unlink, []

        def remove_first(path: str, **options: int) -> None:
            removed.append(path)
            unlink(path, **options)
            unlink(path, **options)

        self.patch(os, "unlink", remove_first)
        self.assertEqual(self.output("put", "-", stdin=CAT), f"{self.url()}\n")
        self.assertEqual(self.output("get", SHA256, "-o", "-"), CAT)
        self.assertEqual(len(removed), 2)

    def url(self) -> str:
        """Return where the image is."""
        return self.output("put", "cat.txt").strip()


class OpenFileTests(SynchronousTestCase):
    """Files that are open, in a process of their own."""

    def test_append(self) -> None:
        """A file open for appending keeps its content, and the link is kept."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        (directory / "stdout").symlink_to("/proc/self/fd/1")
        (directory / "log").write_text("before\n")
        code = (
            "import io, sys; from asciid.cli.get import _copy;"
            "from asciid.client.destination import destination_of;"
            "_copy(io.BytesIO(b'image\\n'), destination_of(sys.argv[1], 'name'))"
        )
        for output in ("stdout", "/dev/fd/1", "-"):
            with (directory / "log").open("ab") as log:
                subprocess.run(
                    [sys.executable, "-c", code, output],
                    check=True,
                    cwd=directory,
                    stdout=log,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                    timeout=60,
                )
        self.assertEqual((directory / "log").read_text(), "before\n" + 3 * "image\n")
        self.assertTrue((directory / "stdout").is_symlink())
