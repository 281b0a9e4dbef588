"""The library and the command against real daemons, over a network that fails."""

from __future__ import annotations

import random
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import Agent

from asciid.client import Client, NotFoundError, Progress, RefusedError, _backoff
from asciid.model import ImageState
from tests.client.proxy import Proxy
from tests.integration._case import DaemonTestCase

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

SIZE = 40 * 1024 * 1024
CHUNK_SIZE = 256 * 1024
CHUNKS = SIZE // CHUNK_SIZE


class TokenTests(DaemonTestCase):
    """A daemon that requires a token."""

    def setUp(self) -> None:
        """Make a file with one."""
        super().setUp()
        self.tokens = Path(self.mktemp()).resolve()
        self.tokens.write_text("s3cret-token\n", encoding="utf-8")
        self.tokens.chmod(0o600)

    async def test_token(self) -> None:
        """With it the client uploads and deletes, and without it reads."""
        daemon = self.daemon("--write-token-file", str(self.tokens))
        for token in (None, "wrong", "s3cret-token"):
            client = Client(daemon.url, token=token, reactor=self.reactor)
            self.addCleanup(client.close)
            if token != "s3cret-token":
                with self.assertRaises(RefusedError) as raised:
                    await client.upload(b"cat")
                self.assertEqual(raised.exception.status, 401)
                continue
            cat = await client.upload(b"cat")
            reader = Client(daemon.url, reactor=self.reactor)
            self.addCleanup(reader.close)
            self.assertEqual(await reader.download(cat.sha256), b"cat")
            with self.assertRaises(RefusedError):
                await reader.delete(cat.sha256)
            await client.delete(cat.sha256)
            with self.assertRaises(NotFoundError):
                await reader.download(cat.sha256)
        daemon.stop()


class BadNetworkTests(DaemonTestCase):
    """40 MiB in chunks of 256 KiB, through a proxy that resets connections."""

    def setUp(self) -> None:
        """Make a file."""
        super().setUp()
        self.directory.mkdir()
        self.path = self.directory / "huge.txt"
        line = bytes(random.choices(b"/\\_|-(). o", k=1_023)) + b"\n"
        numbered = (b"%09d" % n + line[9:] for n in range(SIZE // len(line)))
        self.path.write_bytes(b"".join(numbered))
        self.sha256 = sha256(self.path.read_bytes()).hexdigest()
        self.rng = random.Random(5)
        self.progress: list[Progress] = []
        # There is no need to be patient with this network.
        self.patch(_backoff, "FIRST_WAIT", 0.01)

    def through(self, daemon: Daemon, *, resets: bool) -> tuple[Proxy, Client]:
        """Return a proxy to the daemon, and a client of it."""

        def limit() -> int | None:
            """Reset every third connection, in the middle of some chunk."""
            if resets and proxy.connections % 3 == 0:
                return self.rng.randrange(2 * CHUNK_SIZE)
            return None

        proxy = Proxy(self.reactor, daemon.port, limit)
        port: Any = self.reactor.listenTCP(0, proxy, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = Client(
            f"http://127.0.0.1:{port.getHost().port}",
            # Persistent ones would soon be the two thirds that are not reset.
            agent=Agent(self.reactor) if resets else None,
            reactor=self.reactor,
            rng=random.Random(6),
        )
        self.addCleanup(client.close)
        return proxy, client

    def count_stored(self, client: Client) -> list[str]:
        """Return a list that will have the outcome of each chunk sent."""
        outcomes: list[str] = []
        calls = client._calls
        send = calls.send_chunk

        async def send_chunk(sha256: str, body: bytes) -> None:
            try:
                await send(sha256, body)
            except BaseException as error:
                outcomes.append(type(error).__name__)
                raise
            outcomes.append("stored")

        self.patch(calls, "send_chunk", send_chunk)
        return outcomes

    async def test_resets(self) -> None:
        """It completes, sends no stored chunk again, and its bar never moves back."""
        daemon = self.daemon()
        proxy, client = self.through(daemon, resets=True)
        outcomes = self.count_stored(client)
        uploaded = await client.upload(
            self.path, CHUNK_SIZE, on_progress=self.progress.append
        )
        self.assertEqual(uploaded.sha256, self.sha256)
        self.assertGreater(proxy.resets, 10)
        self.assertEqual(outcomes.count("stored"), CHUNKS)
        self.assertEqual(set(outcomes), {"stored", "LostError"})
        done = [step.done for step in self.progress]
        self.assertEqual(done, sorted(done))
        self.assertEqual(done[-1], SIZE)
        self.assertGreater(self.progress[-1].retries, 10)
        status = await client.status(self.sha256)
        self.assertIs(status.state, ImageState.COMPLETE)
        daemon.stop()

    async def test_killed_at_half(self) -> None:
        """An upload that ended at half is finished by the next, with the rest."""
        daemon = self.daemon()
        proxy, client = self.through(daemon, resets=False)

        def half(progress: Progress) -> None:
            if progress.done >= SIZE // 2 and not uploading.called:
                self.reactor.callLater(0, uploading.cancel)

        uploading: Deferred[Any] = client.upload(
            self.path, CHUNK_SIZE, on_progress=half
        )
        with self.assertRaises(CancelledError):
            await uploading
        daemon.kill()
        daemon = self.daemon()
        proxy.port = daemon.port
        missing = sum(
            last - first + 1
            for first, last in (await client.status(self.sha256)).missing
        )
        self.assertTrue(0 < missing <= CHUNKS // 2, missing)
        outcomes = self.count_stored(client)
        await client.upload(self.path, CHUNK_SIZE)
        self.assertEqual(outcomes, ["stored"] * missing)
        daemon.stop()

    async def test_cut_download(self) -> None:
        """A download that is cut ten times and more ends with the right bytes."""
        daemon = self.daemon()
        proxy, client = self.through(daemon, resets=False)
        await client.put(self.path)
        proxy.cut_answer = SIZE // 11
        target = self.directory / "copy.txt"
        await client.download(self.sha256, target, on_progress=self.progress.append)
        self.assertGreaterEqual(proxy.cuts, 10)
        self.assertEqual(sha256(target.read_bytes()).hexdigest(), self.sha256)
        done = [step.done for step in self.progress]
        self.assertEqual(done, sorted(done))
        daemon.stop()
