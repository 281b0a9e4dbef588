"""Daemons, with their clients, on a real disk."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

from tests._other_process import OtherProcess
from tests.integration._case import Art, DaemonTestCase
from tests.integration._daemon import ANY_PORT, LISTENS, environment, twistd

CONSOLE_SCRIPT = "from asciid.cli.main import main; main()"


class LifeTests(DaemonTestCase):
    """One daemon after another on one directory."""

    def test_simulate(self) -> None:
        """The client of the exercise plays 300 images through it, twice."""
        daemon = self.daemon()
        for seed in ("7", "8"):
            done = subprocess.run(
                [
                    *(sys.executable, "-c", CONSOLE_SCRIPT, "simulate"),
                    *("-files", "300", "-seed", seed),
                    *("-host", "127.0.0.1", "-port", str(daemon.port)),
                ],
                env=environment(),
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            output = done.stdout + done.stderr
            self.assertEqual(done.returncode, 0, output[-2000:])
            self.assertIn("SUCCESS!", output)
        daemon.stop()
        self.assertEqual(daemon.start().images, 600)
        daemon.stop()

    async def test_restart(self) -> None:
        """A daemon finds what another left, unfinished uploads included."""
        daemon = self.daemon()
        whole, half = Art.random(), Art.random()
        await self.upload_all(daemon, whole)
        await self.register(daemon, half)
        await self.upload(daemon, half, 1)
        daemon.stop()

        daemon.start()
        self.assertEqual((daemon.images, daemon.pending), (1, 1))
        await self.assert_downloads(daemon, whole)
        self.assertEqual((await self.download(daemon, half)).status, 404)
        await self.assert_stored(daemon, half, 1)
        for chunk_id in (2, 0):
            self.assertEqual((await self.upload(daemon, half, chunk_id)).status, 201)
        await self.assert_downloads(daemon, half)
        daemon.stop()

    async def test_from_the_environment(self) -> None:
        """asciid.tac is configured by the environment."""
        storage = self.directory / "elsewhere"
        daemon = self.daemon(tac=True, environ={"ASCIID_STORAGE": str(storage)})
        art = Art.random()
        await self.upload_all(daemon, art)
        await self.assert_downloads(daemon, art)
        self.assertTrue((storage / "data.mdb").exists())
        daemon.stop()

    async def test_in_the_background(self) -> None:
        """Sent to the background by twistd, it serves as well, and can be stopped."""
        self.directory.mkdir()
        subprocess.run(  # noqa: ASYNC221 - it returns as soon as it has forked
            twistd("--pidfile=pid", "--logfile=log", "asciid"),
            cwd=self.directory,
            env=environment(ASCIID_PORT=ANY_PORT),
            timeout=30,
            check=True,
        )
        daemon = OtherProcess(int((self.directory / "pid").read_text()))
        self.addCleanup(daemon.close)
        try:
            log = self.directory / "log"
            while (announced := LISTENS.search(log.read_text())) is None:
                await self.sleep(0.02)
            art = Art.random()
            url = f"http://127.0.0.1:{announced[1]}/image"
            answer = await self.post(url, art.registration)
            self.assertEqual(answer.status, 201)
        finally:
            daemon.send(signal.SIGTERM)
        # Its last act is to remove the pidfile.
        while (self.directory / "pid").exists():
            await self.sleep(0.02)
        self.assertNotIn("Traceback", log.read_text())

    async def test_in_memory(self) -> None:
        """With :memory: it works the same and leaves nothing on the disk."""
        daemon = self.daemon("--storage=:memory:")
        art = Art.random()
        await self.upload_all(daemon, art)
        await self.assert_downloads(daemon, art)
        daemon.stop()
        self.assertEqual(
            [path.name for path in self.directory.iterdir()], ["daemon.log"]
        )


class DisconnectingTests(DaemonTestCase):
    """Clients that do not wait for an answer."""

    def raw_chunk(self, art: Art, chunk_id: int) -> bytes:
        """Return the request that uploads a chunk."""
        body = json.dumps(art.chunk(chunk_id)).encode()
        head = (
            f"POST /image/{art.spec.sha256}/chunks HTTP/1.1\r\n"
            "Host: localhost\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def test_answer_not_awaited(self) -> None:
        """A chunk whose sender left after sending it is stored."""
        daemon = self.daemon()
        arts = [Art.random() for _ in range(10)]
        for art in arts:
            await self.register(daemon, art)
            for chunk_id in art.ids:
                with socket.create_connection(("127.0.0.1", daemon.port)) as client:
                    client.sendall(self.raw_chunk(art, chunk_id))
        for art in arts:
            while (await self.download(daemon, art)).status == 404:
                await self.sleep(0.01)
            await self.assert_downloads(daemon, art)
        daemon.stop()

    async def test_half_a_request(self) -> None:
        """A request that breaks off stores nothing and does no harm."""
        daemon = self.daemon()
        art = Art.random()
        await self.register(daemon, art)
        raw = self.raw_chunk(art, 0)
        for cut in [1, 10, *range(20, len(raw), 20), len(raw) - 1]:
            with socket.create_connection(("127.0.0.1", daemon.port)) as client:
                client.sendall(raw[:cut])
        for chunk_id in art.ids:
            self.assertEqual((await self.upload(daemon, art, chunk_id)).status, 201)
        await self.assert_downloads(daemon, art)
        daemon.stop()
