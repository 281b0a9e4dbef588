"""Storage files that something has damaged while no daemon was running."""

from __future__ import annotations

import random

from tests.faults._case import FaultTestCase
from tests.faults._client import GoneError
from tests.faults._load import Load, Upload
from tests.integration._daemon import Daemon

_PAGE = 4096


class DamageTests(FaultTestCase):
    """The daemon finds a damaged storage file when it starts."""

    def setUp(self) -> None:
        """Make a storage with images that end in one chunk, in many and in large."""
        super().setUp()
        daemon = self.daemon()
        self.images = [Upload.sized(size) for size in (100, 700, 1500) * 10]
        self.images += [Upload.sized(200_000, whole=True) for _ in range(5)]
        self.upload(daemon, self.images)
        daemon.stop()
        self.good = self.data_file.read_bytes()

    def test_undamaged(self) -> None:
        """As it is, the file is served whole: so the tests below can fail."""
        self.assertEqual(self.serve(self.good), len(self.images))

    def test_truncated(self) -> None:
        """
        Cut anywhere, the file is refused with one line, or its remaining images are
        served intact; the process is not ended by a signal.
        """
        pages = len(self.good) // _PAGE
        for kept in (1, 2, 3, pages // 3, pages // 2, pages - 20, pages - 1):
            self.serve(self.good[: kept * _PAGE])
        self.serve(self.good[: len(self.good) // 2 + 100])

    def test_header(self) -> None:
        """A file whose first pages are not LMDB's is refused with one line."""
        for start in (b"\0" * 2 * _PAGE, random.randbytes(2 * _PAGE)):
            self.assertEqual(self.serve(start + self.good[2 * _PAGE :]), 0)

    def test_bit_flips(self) -> None:
        """
        With bits flipped in stored images, the daemon serves every image, and
        undamaged ones are intact.
        """
        hit = random.sample(self.images[-5:], 2)
        self.flip(hit)
        daemon = self.daemon()
        for upload in self.images:
            answer = self.get(daemon, upload)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.body != upload.content, upload in hit)
        self.assert_calm(daemon)
        daemon.stop()

    def test_verified(self) -> None:
        """Damaged images are quarantined and can be uploaded again, under load."""
        self.verify_while_serving()

    def test_verified_with_workers(self) -> None:
        """The same where several processes serve and another one writes."""
        self.verify_while_serving("--workers", "2")

    def verify_while_serving(self, *options: str) -> None:
        """Damage a small and a large image; have ``asciid verify`` find them."""
        small, large = hit = [self.images[0], self.images[-1]]
        self.flip(hit)
        daemon = self.daemon(*options)
        for _ in range(8):  # each worker, perhaps
            self.assertEqual(self.get(daemon, small).status, 503)
            self.assertNotEqual(self.get(daemon, large).body, large.content)
        with Load(daemon.port, 2) as load:
            self.assertTrue(load.progresses())
            found = self.asciid("verify", "--storage", str(self.data_file.parent))
            self.assertTrue(load.progresses())
        self.assertEqual(found.returncode, 1, found.stderr)
        self.assertIn(": 2 damaged, in quarantine", found.stdout, found.stderr)
        for upload in hit:
            for _ in range(8):
                self.assertEqual(self.get(daemon, upload).status, 404)
        self.upload(daemon, hit)
        for upload in self.images:
            self.assertEqual(self.get(daemon, upload).body, upload.content)
        self.assert_kept(daemon, load.record)
        self.assertEqual(load.record.refused.total(), 0)
        self.assert_calm(daemon)
        daemon.stop()

    def flip(self, uploads: list[Upload]) -> None:
        """Flip a bit of each of these images."""
        damaged = self.good
        for upload in uploads:
            name = upload.content[:20]  # no other image has it
            self.assertIn(name, damaged)
            damaged = damaged.replace(name, bytes([name[0] ^ 16]) + name[1:])
        self.write(damaged)

    def write(self, content: bytes) -> None:
        """Put `content` in the place of the storage file."""
        self.data_file.write_bytes(content)

    def serve(self, content: bytes) -> int:
        """
        Start a daemon on `content`; return how many images it serves right.

        Any other response must be a problem document.
        """
        self.write(content)
        storage = ("--storage", str(self.data_file.parent))
        daemon = Daemon(self.directory, storage)
        self.addCleanup(daemon.kill)
        try:
            daemon.start()
        except RuntimeError:
            self.assert_refused(daemon)
            return 0
        right = sum(self.served_right(daemon, upload) for upload in self.images)
        self.assertNotIn("Traceback", daemon.log)
        daemon.stop()
        return right

    def served_right(self, daemon: Daemon, upload: Upload) -> bool:
        """Return whether an image is served; fail if the answer is wrong."""
        try:
            answer = self.get(daemon, upload)
        except GoneError:
            self.fail(f"the daemon has exited: {daemon.log}")
        if answer.status == 200:
            self.assertEqual(answer.body, upload.content)
            return True
        self.assertTrue(answer.is_problem)
        self.assertIn(answer.status, {404, 503})
        return False

    def assert_refused(self, daemon: Daemon) -> None:
        """Check that the daemon logged in one line why it does not start."""
        self.assertNotIn("Traceback", daemon.log)
        lines = [line for line in daemon.log.splitlines() if "asciid: cannot" in line]
        self.assertTrue(lines, daemon.log)
