"""Commands on the storage of a daemon that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.engines._damage import delete, flip, records
from tests.integration._case import Art, DaemonTestCase
from tests.integration._daemon import environment
from tests.integration._load import Load

if TYPE_CHECKING:
    from pathlib import Path


class AdminTests(DaemonTestCase):
    """``asciid verify``, ``backup`` and ``compact`` beside daemons."""

    @property
    def storage(self) -> Path:
        """Where the daemon keeps its images."""
        return self.directory / "asciid-storage"

    async def run_command(self, *arguments: str | Path) -> tuple[int, Any]:
        """Run a command that prints JSON, while the reactor runs."""
        done = await deferToThread(
            subprocess.run,
            [
                *(sys.executable, "-m", "asciid"),
                *arguments,
                "--json",
            ],
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        printed = json.loads(done.stdout) if done.stdout else done.stderr
        return done.returncode, printed

    async def test_verify(self) -> None:
        """
        Images damaged under a daemon are found and not served any more, and can
        be uploaded again; the daemon is not notified.
        """
        daemon = self.daemon()
        good, bad = Art.random(), Art.random(80_000, 8_000)
        await self.upload_all(daemon, good)
        await self.upload_all(daemon, bad)
        self.assertEqual((await self.run_command("verify"))[0], 0)
        flip(self.storage, bad.chunk(5)["data"].encode())
        code, report = await self.run_command("verify", "--rate", "1M")
        self.assertEqual(code, 1)
        self.assertEqual([d["sha256"] for d in report["damaged"]], [bad.spec.sha256])
        answer = await self.download(daemon, bad)
        self.assertEqual(answer.status, 404)
        await self.assert_downloads(daemon, good)
        await self.upload_all(daemon, bad)
        await self.assert_downloads(daemon, bad)
        code, report = await self.run_command("verify", "--purge")
        self.assertEqual((code, report["purged"]), (0, 1))
        await self.assert_downloads(daemon, bad)
        daemon.stop()

    async def test_backup(self) -> None:
        """A backup made while a daemon stores images serves the stored images."""
        daemon = self.daemon()
        before, pending = Art.random(), Art.random()
        await self.upload_all(daemon, before)
        await self.register(daemon, pending)
        making = Deferred.fromCoroutine(self.run_command("backup", "copy"))
        during = Art.random()
        await self.upload_all(daemon, during)
        code, report = await making
        self.assertEqual(code, 0, report)
        daemon.stop()
        restored = self.daemon("--storage=copy", name="restored")
        await self.assert_downloads(restored, before)
        for chunk_id in pending.ids:
            answer = await self.upload(restored, pending, chunk_id)
            self.assertEqual(answer.status, 201)
        await self.assert_downloads(restored, pending)
        restored.stop()

    async def test_records(self) -> None:
        """The daemon mends records that do not agree, on request."""
        daemon = self.daemon()
        art = Art.random()
        await self.upload_all(daemon, art)
        storage = self.storage
        listing = await deferToThread(records, storage, "listing")
        (key,) = listing
        await deferToThread(delete, storage, "listing", key)
        for code in (1, 0):
            ended, report = await self.run_command("verify")
            found = [one["sha256"] for one in report["inconsistent"]]
            self.assertEqual((ended, found), (code, [art.spec.sha256] * code))
        mended = await deferToThread(records, storage, "listing")
        self.assertEqual(mended, listing)
        daemon.stop()

    async def test_compact(self) -> None:
        """A storage is compacted while no daemon runs."""
        daemon = self.daemon()
        art = Art.random()
        await self.upload_all(daemon, art)
        daemon.stop()
        code, report = await self.run_command("compact")
        self.assertEqual((code, report["images"]), (0, 1))
        daemon.start()
        await self.assert_downloads(daemon, art)
        daemon.stop()

    async def test_compact_under_load(self) -> None:
        """A daemon compacts its storage under load, and nothing is lost by it."""
        daemon = self.daemon()
        pieces = Art.random(80_000, 8_000)
        await self.upload_all(daemon, pieces)
        for _ in range(2):
            # Bytes with another hash leave room that nothing uses.
            answer = await self.request(
                "PUT", f"{daemon.url}/image/{'0' * 64}", b"#" * 8_000_000, "text/plain"
            )
            self.assertEqual(answer.problem["type"], "/problems/hash-mismatch")
        load = Load(self, daemon)
        ended = load.start()
        code, report = await self.run_command("compact")
        self.assertEqual(code, 0, report)
        self.assertLess(report["bytes_after"], report["bytes_before"] - 4_000_000)
        await self.assert_downloads(daemon, pieces)
        acknowledged = load.acknowledged
        while load.acknowledged < acknowledged + 50:
            await self.sleep(0.02)
        daemon.kill()
        await ended
        daemon.start()
        await load.check(daemon)
        await self.assert_downloads(daemon, pieces)
        daemon.stop()

    async def test_expiry(self) -> None:
        """A daemon removes expired uploads without a command."""
        daemon = self.daemon("--upload-ttl=1s")
        art = Art.random()
        await self.register(daemon, art)
        url = f"{daemon.url}/image/{art.spec.sha256}/chunks"
        for _ in range(100):
            answer = await self.request("GET", url, content_type=None)
            if answer.status == 404:
                break
            await self.sleep(0.1)
        self.assertEqual(answer.status, 404)
        await self.upload_all(daemon, art)
        daemon.stop()
