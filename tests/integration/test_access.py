"""A daemon that requires tokens, and rereads them on SIGHUP."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from twisted.web.http_headers import Headers

from tests.integration._case import Art, DaemonTestCase

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

OLD, NEW = "old-s3cret", "new-s3cret"
PATIENCE = 90
"""Seconds until a signal that has no effect has failed the test."""


class TokensTests(DaemonTestCase):
    """Tokens that change under a daemon."""

    async def write(self, daemon: Daemon, method: str, art: Art, token: str) -> int:
        """Send an image, or delete it; return the status."""
        response = await self.client.request(
            method,
            f"{daemon.url}/image/{art.spec.sha256}",
            data=art.text.encode() if method == "PUT" else None,
            headers=Headers({"Authorization": [f"Bearer {token}"]}),
        )
        await response.content()
        return int(response.code)

    async def hang_up(self, daemon: Daemon, message: str) -> None:
        """Send SIGHUP and wait until the log has one more such message."""
        before = daemon.log.count(message)
        os.kill(daemon.pid, signal.SIGHUP)
        end = self.reactor.seconds() + PATIENCE
        while daemon.log.count(message) == before:
            self.assertLess(self.reactor.seconds(), end, daemon.log)
            await self.sleep(0.02)

    async def test_life_of_a_token(self) -> None:
        """A new token counts from SIGHUP on, the old one no more; slips do no harm."""
        self.directory.mkdir()
        tokens = self.directory / "tokens"
        tokens.write_text(f"# the first\n{OLD}\n")
        tokens.chmod(0o600)
        daemon = self.daemon(f"--write-token-file={tokens}")
        art, large = Art.random(), Art.random(100_000)
        self.assertEqual(await self.write(daemon, "PUT", art, NEW), 401)
        self.assertEqual(await self.write(daemon, "PUT", art, OLD), 201)
        self.assertEqual((await self.register(daemon, art)).status, 401)
        await self.assert_downloads(daemon, art)

        tokens.write_text(f"{NEW}\n")
        self.assertEqual(await self.write(daemon, "PUT", large, OLD), 201)
        await self.hang_up(daemon, "loaded 1 write tokens")
        self.assertEqual(await self.write(daemon, "DELETE", large, OLD), 401)
        tokens.write_text(f"{NEW} {OLD}\n")
        await self.hang_up(daemon, "keeping the previous write tokens")

        for one in (art, large):
            await self.assert_downloads(daemon, one)
            self.assertEqual(await self.write(daemon, "DELETE", one, NEW), 204)
            self.assertEqual((await self.download(daemon, one)).status, 404)
            self.assertEqual(await self.write(daemon, "DELETE", one, NEW), 404)
        self.assertEqual(await self.write(daemon, "PUT", art, NEW), 201)
        await self.assert_downloads(daemon, art)
        daemon.stop()
        self.assertNotIn("s3cret", daemon.log)
