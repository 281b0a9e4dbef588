"""The storage directory is renamed under a running daemon."""

from __future__ import annotations

from tests.integration._case import Art, DaemonTestCase


class StorageMovedTests(DaemonTestCase):
    """With one process, and with several."""

    async def check(self, *options: str) -> None:
        """Rename the directory and back; send requests before, between and after."""
        storage = self.directory / "images"
        away = self.directory / "away"
        daemon = self.daemon("--storage=images", *options)
        first, second = Art.random(), Art.random()
        await self.upload_all(daemon, first)
        storage.rename(away)
        refused = await self.register(daemon, second)
        self.assertEqual(refused.status, 503)
        self.assertEqual(refused.problem["type"], "/problems/storage-failed")
        self.assertFalse(storage.exists())
        await self.assert_ready(daemon.url, 503)
        await self.assert_downloads(daemon, first)
        failing = "writing to the storage fails: "
        # The log is written a moment later.
        while failing not in daemon.log:
            await self.sleep(0.02)
        self.assertEqual(daemon.log.count(failing), 1)
        away.rename(storage)
        await self.assert_ready(daemon.url, 200)
        await self.upload_all(daemon, second)
        daemon.stop()
        daemon.start()
        for art in (first, second):
            await self.assert_downloads(daemon, art)
        daemon.stop()

    async def assert_ready(self, url: str, status: int) -> None:
        """Poll /readyz until it returns `status`."""
        while (
            await self.request("GET", f"{url}/readyz", content_type=None)
        ).status != status:
            await self.sleep(0.1)

    async def test_one_process(self) -> None:
        """Nothing is acknowledged meanwhile, nor lost."""
        await self.check()

    async def test_workers(self) -> None:
        """The same with workers."""
        await self.check("--workers=2")
