"""Real daemons on a storage that an earlier release has written."""

from __future__ import annotations

from twisted.internet.threads import deferToThread

from tests.engines._formats import BY_COMPLETION, PENDING, write_format_1
from tests.integration._case import Art, DaemonTestCase


class ConversionTests(DaemonTestCase):
    """The storage is converted at the start, and served."""

    async def assert_converted(self, *options: str) -> None:
        """Check that a daemon converts it once, and has all of it."""
        storage = self.directory / "asciid-storage"
        self.directory.mkdir(parents=True)
        write_format_1(storage)
        # Those in the storage are decades old.
        keep = "--upload-ttl=0"
        daemon = await deferToThread(self.daemon, keep, *options)
        self.assertEqual((daemon.images, daemon.pending), (5, 1))
        self.assertIn(
            "converting the storage to format 2: 6 images and uploads", daemon.log
        )
        converted = "converted the storage to format 2: 5 images listed"
        self.assertIn(converted, daemon.log)
        for data in BY_COMPLETION:
            await self.assert_downloads(daemon, Art(data.decode(), 4))
        pending = Art(PENDING.decode(), 4)
        self.assertEqual((await self.upload(daemon, pending, 1)).status, 201)
        await deferToThread(daemon.stop)
        daemon = await deferToThread(self.daemon, keep, *options)
        self.assertEqual((daemon.images, daemon.pending), (6, 0))
        self.assertNotIn("format 2", daemon.log)
        await self.assert_downloads(daemon, pending)
        await deferToThread(daemon.stop)

    async def test_one_process(self) -> None:
        """One process does it before it serves."""
        await self.assert_converted()

    async def test_workers(self) -> None:
        """The process that writes does it before the workers read."""
        await self.assert_converted("--workers=2")
