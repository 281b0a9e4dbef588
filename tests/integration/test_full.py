"""A daemon whose storage file may not grow."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from tests.integration._case import Art, DaemonTestCase

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon


class LimitTests(DaemonTestCase):
    """A limit on files (`ulimit -f`), which does not show in a disk's free space."""

    async def put(self, daemon: Daemon, art: Art) -> int:
        """Send an image whole; return the status."""
        url = f"{daemon.url}/image/{art.spec.sha256}"
        response = await self.client.put(url, data=art.text.encode())
        await response.content()
        return int(response.code)

    async def test_file_size(self) -> None:
        """Past it the storage is full: 507, and service resumes when it is raised."""
        daemon = self.daemon()
        first, second = Art.random(), Art.random(200_000)
        self.assertEqual(await self.put(daemon, first), 201)
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        size = (self.directory / "asciid-storage" / "data.mdb").stat().st_size
        limit = (size, resource.RLIM_INFINITY)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, limit)
        for _ in range(2):
            self.assertEqual(await self.put(daemon, second), 507)
        await self.assert_downloads(daemon, first)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, unlimited)
        self.assertEqual(await self.put(daemon, second), 201)
        await self.assert_downloads(daemon, second)
        daemon.stop()
