"""Downloads by the library: requests and files."""

from __future__ import annotations

import os
import random
from hashlib import sha256
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH

from asciid.client import (
    DamagedError,
    DownloadBusyError,
    LostError,
    NotFoundError,
    Progress,
    ServerFailedError,
    _download,
)
from asciid.client._part import PartFile
from tests.client.worlds import Answered, Cut, Lost, World

ART = bytes(random.Random(8).choices(b"/\\_|-(). o\n", k=40_000))
SHA256 = sha256(ART).hexdigest()


class DownloadTests(SynchronousTestCase):
    """`Client.download`."""

    def setUp(self) -> None:
        """Make a world with an image, and a directory."""
        self.world = World()
        self.world.finish(self.world.client.put(ART))
        self.world.network.asked.clear()
        self.world.network.fields.clear()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "art.txt"
        self.progress: list[Progress] = []

    def download(self, sha256: str = SHA256, *, resume: bool = True) -> None:
        """Download an image to the path."""
        downloading = self.world.client.download(
            sha256, self.path, resume=resume, on_progress=self.progress.append
        )
        self.world.finish(downloading)

    def ranges(self) -> list[str | None]:
        """Return the Range of each request."""
        return [
            fields.getRawHeaders("Range", [None])[0]
            for fields in self.world.network.fields
        ]

    def assert_files(self, **files: bytes) -> None:
        """Check the content of the directory by prefixes of the names."""
        found = {
            path.name[:4].strip(".").replace(".", ""): path.read_bytes()
            for path in self.directory.iterdir()
        }
        self.assertEqual(found, files)
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def leave_part(self, data: bytes) -> None:
        """Create the partial file of an earlier download."""
        part = PartFile(self.path, SHA256, resume=True)
        part.open()
        part.file.truncate(0)
        part.file.write(data)
        part.leave()

    def test_whole(self) -> None:
        """An image arrives, by one request that wants no content coding."""
        self.download(SHA256.upper())
        self.assert_files(art=ART)
        (fields,) = self.world.network.fields
        self.assertEqual(fields.getRawHeaders("Accept-Encoding"), ["identity"])
        self.assertEqual(self.ranges(), [None])
        self.assertEqual(self.progress[-1], Progress(len(ART), len(ART), 0))

    def test_memory(self) -> None:
        """Without a path the Deferred fires with the bytes."""
        downloading = self.world.client.download(SHA256)
        self.assertEqual(self.world.finish(downloading), ART)

    def test_resumes(self) -> None:
        """Stored bytes are not requested again if they are right."""
        self.leave_part(ART[:30_000])
        self.download()
        self.assert_files(art=ART)
        (fields,) = self.world.network.fields
        self.assertEqual(fields.getRawHeaders("Range"), ["bytes=30000-"])
        self.assertEqual(fields.getRawHeaders("If-Range"), [f'"{SHA256}"'])

    def test_resumes_complete(self) -> None:
        """A complete partial file is only renamed."""
        self.leave_part(ART)
        self.download()
        self.assert_files(art=ART)

    def test_resumes_damaged(self) -> None:
        """A wrong or too long partial file is downloaded again."""
        for wrong in (b"x" * 100, ART + b"x"):
            self.world.network.fields.clear()
            self.leave_part(wrong)
            self.download()
            self.assert_files(art=ART)
            self.assertEqual(self.ranges(), [f"bytes={len(wrong)}-", None])

    def test_not_resumed(self) -> None:
        """With `resume=False` a partial file is not used."""
        self.leave_part(b"x" * 100)
        self.download(resume=False)
        self.assert_files(art=ART)
        self.assertEqual(self.ranges(), [None])

    @settings(max_examples=15)
    @given(st.integers())
    def test_cut(self, seed: int) -> None:
        """It resumes after any number of interruptions, with monotonic progress."""
        rng = random.Random(seed)
        self.path.unlink(missing_ok=True)
        self.progress.clear()
        count = 0

        def faults(_method: str, _path: str) -> Cut | Answered | Lost | None:
            nonlocal count
            count += 1
            if count % 8 == 0:  # it gives up after 10 in a row without a byte
                return Cut(5_000)
            fates = (Cut(rng.randrange(12_000)), Cut(1), Lost(), Answered(503), None)
            return rng.choice(fates)

        self.world.network.faults = faults
        self.download()
        self.assert_files(art=ART)
        done = [step.done for step in self.progress]
        self.assertEqual(done, sorted(done))

    def test_backoff(self) -> None:
        """Interruptions count as failures only if nothing was received before."""
        self.world = World(retries=2)
        self.world.finish(self.world.client.put(ART))
        self.world.network.always(Cut(6_000))
        self.download()
        self.assert_files(art=ART)
        self.world.network.always(Cut(0))
        self.assertRaises(LostError, self.download)
        self.assert_files(art=ART)

    def test_backoff_without_ranges(self) -> None:
        """Repeating bytes from the start is not progress."""
        self.world = World(retries=2)
        answers = []
        for size in (100, 200) * 10:
            answers.append(Answered(200, ART[:size]))
            answers[-1].length = len(ART)
        self.world.network.first(*answers)
        self.assertRaises(LostError, self.download)
        self.assertEqual(len(self.world.network.asked), 4)

    def test_failure_keeps_part(self) -> None:
        """The partial file of a failed download is kept, unless disabled."""
        for resume in (True, False):
            self.world.network.first(Cut(6_000), Answered(500))
            with self.assertRaises(ServerFailedError):
                self.download(resume=resume)
            self.assert_files(**({"art": ART[:6_000]} if resume else {}))

    def test_not_found(self) -> None:
        """A missing image leaves no file."""
        with self.assertRaises(NotFoundError) as raised:
            self.download("0" * 64)
        self.assertEqual(raised.exception.name, "image-not-found")
        self.assert_files()

    def test_damaged(self) -> None:
        """Bytes with another hash never get the name."""
        answer = Answered(200, b"cat")
        self.world.network.always(answer)
        self.assertRaises(DamagedError, self.download)
        self.assert_files()

    def test_wrong_range(self) -> None:
        """A range other than the requested one is refused."""
        self.world = World(retries=1)
        for content_range in (
            "bytes 5-9/20",
            "lines 1-2/3",
            f"bytes 0-4/{'9' * 5_000}",
            "",
        ):
            fields = {"Content-Range": content_range}
            answer = Answered(206, b"12345", fields)
            self.world.network.always(answer)
            self.leave_part(ART[:100])
            self.assertRaises(LostError, self.download)
            self.assert_files(art=ART[:100])

    def test_ranges_unknown(self) -> None:
        """A server without ranges or lengths sends the whole image again."""
        answer = Answered(200, ART)
        self.world.network.always(answer)
        for length in (len(ART), UNKNOWN_LENGTH):
            answer.length = length
            self.leave_part(ART[:100])
            self.download()
            self.assert_files(art=ART)
            self.assertEqual(self.progress[-1].done, len(ART))

    def test_short(self) -> None:
        """A response shorter than its length is incomplete."""
        short = Answered(200, ART[:100])
        short.length = len(ART)
        self.world.network.first(short)
        self.download()
        self.assert_files(art=ART)
        self.assertEqual(self.ranges(), [None, "bytes=100-"])

    def test_busy(self) -> None:
        """Two downloads to one path do not mix."""
        part = PartFile(self.path, SHA256, resume=True)
        part.open()
        self.assertRaises(DownloadBusyError, self.download)
        part.finish()
        self.download()
        self.assert_files(art=ART)

    def test_finished_meanwhile(self) -> None:
        """One that ends as the next begins does not lend it its file."""
        first = PartFile(self.path, SHA256, resume=True)
        first.open()
        stat = os.fstat

        def fstat(fd: int) -> os.stat_result:
            first.finish()
            return stat(fd)

        self.patch(os, "fstat", fstat)
        opened = first._path.open("a+b")
        self.addCleanup(opened.close)
        self.assertFalse(first._is(opened))

    def test_name_taken_away(self) -> None:
        """Then it uses its own file."""
        answers = iter((False, True))
        self.patch(PartFile, "_is", lambda *_: next(answers))
        self.download()
        self.assert_files(art=ART)

    def test_name_is_link(self) -> None:
        """A link in place of the part is not followed."""
        other = self.directory / "other"
        other.write_bytes(b"precious")
        self.leave_part(b"part")
        (part,) = self.directory.glob(".*")
        part.unlink()
        part.symlink_to(other.absolute())
        self.assertRaises(OSError, self.download)
        self.assertEqual(other.read_bytes(), b"precious")

    def test_long_name(self) -> None:
        """The longest possible file name works, and can be resumed."""
        self.path = self.directory / ("art" + 252 * "-")
        self.leave_part(ART[:100])
        self.download()
        self.assertEqual(self.path.read_bytes(), ART)
        self.assertEqual(self.ranges(), ["bytes=100-"])

    def test_no_directory(self) -> None:
        """An unwritable path is an error."""
        self.path = self.directory / "no" / "art.txt"
        with self.assertRaises(OSError):
            self.download()

    def test_directory(self) -> None:
        """A directory is refused without a request, and leaves no file."""
        for path in (self.directory, Path()):
            self.path = path
            with self.assertRaises(IsADirectoryError):
                self.download()
        self.assert_files()
        self.assertEqual(self.world.network.asked, [])

    def test_links(self) -> None:
        """A symbolic link is kept, and its target becomes the image."""
        self.path.symlink_to("other")
        self.download()
        self.assertTrue(self.path.is_symlink())
        self.assertEqual((self.directory / "other").read_bytes(), ART)

    def test_not_a_regular_file(self) -> None:
        """A pipe is refused without a request, and kept."""
        os.mkfifo(self.path)
        with self.assertRaises(OSError):
            self.download()
        self.assertTrue(self.path.is_fifo())
        self.assertEqual(self.world.network.asked, [])

    def test_name_taken_by_directory(self) -> None:
        """If the rename fails, the partial file is kept."""
        self.world.network.first(Cut(10), None)
        downloading = self.world.client.download(SHA256, self.path)
        while not self.progress_of_part():
            self.world.threads.step()
            self.world.network.flush()
        self.path.mkdir()
        with self.assertRaises(IsADirectoryError):
            self.world.finish(downloading)
        self.path.rmdir()
        self.download()
        self.assert_files(art=ART)
        self.assertEqual(self.ranges()[-1], f"bytes={len(ART)}-")

    def progress_of_part(self) -> bool:
        """Return whether a partial file exists."""
        return any(path.suffix == ".part" for path in self.directory.iterdir())

    def test_cancelled_while_opening(self) -> None:
        """A file created only then is removed."""
        downloading = self.world.client.download(SHA256, self.path)
        downloading.cancel()
        self.failureResultOf(downloading, CancelledError)
        self.world.settle()
        self.assert_files()

    def test_disk_full(self) -> None:
        """A failed write ends the download."""
        self.path = Path("/dev/full")
        part = self.directory / "art"

        class Full(PartFile):
            def open(self) -> None:
                self.file = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115 - leave() closes it
                self._path = part

        self.patch(_download, "PartFile", Full)
        with self.assertRaises(OSError):
            self.download()
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """Cancelled at any moment, it leaves no timer, and keeps its bytes."""
        for steps in range(9):
            downloading = self.world.client.download(SHA256, self.path)
            for _ in range(steps):
                self.world.threads.step()
                self.world.network.flush()
                self.world.reactor.advance(0)
            if downloading.called:
                break
            downloading.cancel()
            self.failureResultOf(downloading, CancelledError)
            self.world.settle()
            self.assertEqual(self.world.reactor.getDelayedCalls(), [])
        else:
            self.fail("it never ended")
        self.assertGreater(steps, 2)
        self.download()
        self.assert_files(art=ART)
