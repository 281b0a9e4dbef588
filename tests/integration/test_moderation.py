"""Commands that block images, beside real daemons."""

from __future__ import annotations

import json
import subprocess
import sys
from http.client import HTTPConnection
from typing import Any

from twisted.internet.threads import deferToThread

from tests.integration._case import Art, DaemonTestCase
from tests.integration._daemon import environment

CONNECTIONS = 16
"""So many that each of two workers has some, but for one time in 30,000."""


class ModerationTests(DaemonTestCase):
    """What is blocked is served by no process."""

    def asciid(self, *arguments: str) -> Any:  # noqa: ANN401 - what the command prints
        """Run a command on the storage; return what it prints."""
        command = [sys.executable, "-m", "asciid", *arguments, "--json"]
        ran = subprocess.run(
            command,
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            check=True,
        )
        return json.loads(ran.stdout)

    def statuses(self, art: Art) -> set[int]:
        """Return the statuses of an image on many connections."""
        found = set()
        for connection in self.connections:
            connection.request("GET", f"/image/{art.spec.sha256}")
            with connection.getresponse() as response:
                response.read()
                found.add(response.status)
        return found

    async def assert_blocked(self, *options: str) -> None:
        """Check that a block removes images from the caches of all processes."""
        daemon = await deferToThread(self.daemon, *options)
        self.connections = [
            HTTPConnection("127.0.0.1", daemon.port) for _ in range(CONNECTIONS)
        ]
        for connection in self.connections:
            self.addCleanup(connection.close)
        good, bad = Art.random(), Art.random()
        for art in (good, bad):
            await self.upload_all(daemon, art)
            statuses = await deferToThread(self.statuses, art)
            self.assertEqual(statuses, {200})
        sha256 = bad.spec.sha256
        done = await deferToThread(self.asciid, "block", sha256, "--reason=Käse")
        self.assertEqual(done, {"sha256": sha256, "reason": "Käse", "removed": True})
        statuses = await deferToThread(self.statuses, bad)
        self.assertEqual(statuses, {451})
        answers = [
            await self.register(daemon, bad),
            await self.upload(daemon, bad, 0),
            await self.request(
                "PUT", f"{daemon.url}/image/{sha256}", bad.text.encode(), "text/plain"
            ),
        ]
        for answer in answers:
            self.assertEqual(answer.status, 403)
            self.assertIn("Käse", answer.problem["detail"])
        self.assertIn(f"blocked {sha256}: K", daemon.log)
        listed = await deferToThread(self.asciid, "blocked")
        self.assertEqual([one["sha256"] for one in listed["blocked"]], [sha256])
        await self.assert_downloads(daemon, good)
        done = await deferToThread(self.asciid, "unblock", sha256)
        self.assertEqual(done, {"sha256": sha256, "unblocked": True})
        await self.upload_all(daemon, bad)
        await self.assert_downloads(daemon, bad)
        await deferToThread(daemon.stop)

    async def test_one_process(self) -> None:
        """A daemon of one process."""
        await self.assert_blocked()

    async def test_workers(self) -> None:
        """A daemon with workers, which have the image in their caches."""
        await self.assert_blocked("--workers=2")
