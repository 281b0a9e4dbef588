"""How much memory a real daemon takes for large images."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration._case import Art, DaemonTestCase

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

MIB = 1024 * 1024
SIZE = 40
"""MiB of an image."""
BOUND = 16
"""MiB by which the daemon may grow, however large an image is."""


def peak(daemon: Daemon) -> float:
    """Return the most memory the daemon has ever had, in MiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(status)
    return int(found[1]) / 1024


class MemoryTests(DaemonTestCase):
    """Images many times larger than what the daemon may grow by."""

    async def test_large_images(self) -> None:
        """Uploads in chunks and in one go, and downloads, take a few MiB."""
        daemon = self.daemon()
        idle = peak(daemon)
        pieces = Art("#" * (SIZE * MIB), MIB)
        await self.upload_all(daemon, pieces)
        await self.assert_downloads(daemon, pieces)
        data = b"+" * (SIZE * MIB)
        url = f"{daemon.url}/image/{sha256(data).hexdigest()}"
        for method, body, status in (("PUT", data, 201), ("GET", None, 200)):
            answer = await self.request(method, url, body, content_type=None)
            self.assertEqual(answer.status, status, answer.body[:1000])
        self.assertLess(peak(daemon) - idle, BOUND)
        daemon.stop()
