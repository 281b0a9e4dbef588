"""``asciid put`` as a process: on a terminal, interrupted, and in a pipe."""

from __future__ import annotations

import os
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from asciid.errors import StoreClosedError
from asciid.http import KleinFactory, Limits
from asciid.testing import MemoryStore
from tests.api._support import make_api
from tests.cli.test_process import Outcome
from tests.integration._daemon import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.protocol import ProcessProtocol

reactor: Any = _reactor
MAIN = "from asciid.cli.main import main; main()"
WITHOUT_RICH = f"import sys; sys.modules['rich'] = None; {MAIN}"
CHUNK = 64 * 1024
CHUNKS = 48
BAR = re.compile(rb"huge\.txt.*0\.7/3\.1 MB")


class HeldStore(MemoryStore):
    """A store that does not acknowledge chunks once it has `free` of them."""

    def __init__(self) -> None:
        super().__init__()
        self.free = CHUNKS
        self.stored: list[int] = []
        self.held: list[Deferred[bool]] = []
        self.full: Deferred[None] = Deferred()

    def add_chunk(
        self,
        sha256: str,
        chunk_id: int,
        data: bytes,
        then: Callable[[bool], Any] = bool,
    ) -> Deferred[Any]:
        """Store it, or leave it unanswered."""
        if not self.free:
            if not self.full.called:
                self.full.callback(None)
            self.held.append(Deferred())
            return self.held[-1]
        self.free -= 1
        self.stored.append(chunk_id)
        return super().add_chunk(sha256, chunk_id, data, then)


class Watched(Outcome):
    """Fires when an expected text was written."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited: list[tuple[re.Pattern[bytes], Deferred[None]]] = []

    def written(self, pattern: re.Pattern[bytes]) -> Deferred[None]:
        """Fire once the output matches."""
        waiting: Deferred[None] = Deferred()
        self._awaited.append((pattern, waiting))
        return waiting

    def outReceived(self, data: bytes) -> None:
        """Search the output so far."""
        super().outReceived(data)
        for pattern, waiting in self._awaited:
            if not waiting.called and pattern.search(self.out):
                waiting.callback(None)


class TerminalTests(TestCase):
    """Uploads of 3 MiB, by a process."""

    timeout = 120

    def setUp(self) -> None:
        """Serve, and make a file."""
        self.store = HeldStore()
        api = make_api(self.store, max_image_size=2**23, max_chunk_size=2**20)
        limits = Limits(endpoint_bodies=api.body_limits)
        service = KleinFactory(api.app, reactor=reactor, limits=limits)
        port = reactor.listenTCP(0, service, interface="127.0.0.1")
        self.addCleanup(port.stopListening)

        def end() -> Deferred[None]:
            for held in self.store.held:
                held.errback(StoreClosedError())
            return service.drain()

        self.addCleanup(end)
        self.server = f"http://127.0.0.1:{port.getHost().port}"
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        art = b"/\\_/\\ (o.o)>^<.\n" * (CHUNKS * CHUNK // 16)
        (self.directory / "huge.txt").write_bytes(art)
        self.link = f"{self.server}/i/{sha256(art).hexdigest()[:12]}"

    def spawn(
        self, outcome: ProcessProtocol, *args: str, pty: bool, main: str = MAIN
    ) -> Any:  # noqa: ANN401 - IProcessTransport has too little
        """Start ``asciid`` in the directory."""
        return reactor.spawnProcess(
            outcome,
            sys.executable,
            [sys.executable, "-c", main, *args],
            env=environment(TERM="xterm", COLUMNS="120"),
            path=os.fspath(self.directory),
            usePTY=pty,
        )

    def put(self, *args: str) -> list[str]:
        """Return the arguments that upload the file."""
        return ["put", "--server", self.server, "--chunk-size", str(CHUNK), *args]

    async def test_interrupt(self) -> None:
        """
        A bar is shown; Ctrl-C leaves what the printed command finishes.

        The link is printed in place of the bar.
        """
        self.store.free = 10
        outcome = Watched()
        shown = outcome.written(BAR)
        process = self.spawn(outcome, *self.put("huge.txt"), pty=True)
        await shown
        process.write(b"\x03")
        self.assertEqual(await outcome.ended, 130, outcome.out)
        self.assertNotIn(b"Traceback", outcome.out)
        again = re.search(rb"asciid (put .* -- huge\.txt)\r\n", outcome.out)
        assert again is not None, outcome.out
        self.store.free = CHUNKS
        second = Watched()
        self.spawn(second, *again[1].decode().split(), pty=True)
        self.assertEqual(await second.ended, 0, second.out)
        self.assertIn(f"\r\x1b[2K{self.link}\r\n".encode(), second.out)
        self.assertEqual(sorted(self.store.stored), list(range(CHUNKS)))

    async def test_killed(self) -> None:
        """Killed, it can be resumed; the same command sends only the missing chunks."""
        self.store.free = CHUNKS // 2
        outcome = Outcome()
        process = self.spawn(outcome, *self.put("huge.txt"), pty=False)
        await self.store.full
        process.signalProcess("KILL")
        await outcome.ended
        self.store.free = CHUNKS
        second = Outcome()
        self.spawn(second, *self.put("huge.txt"), pty=False)
        self.assertEqual(await second.ended, 0, second.out)
        self.assertEqual(sorted(self.store.stored), list(range(CHUNKS)))

    async def test_pipe(self) -> None:
        """In a pipe there is the URL, and nothing else."""
        outcome = Outcome()
        self.spawn(outcome, *self.put("huge.txt"), pty=False)
        self.assertEqual(await outcome.ended, 0, outcome.out)
        self.assertEqual(outcome.out.decode(), f"{self.link}\n")

    async def test_without_rich(self) -> None:
        """On a terminal without rich it prints what is missing, and works."""
        outcome = Outcome()
        self.spawn(outcome, *self.put("huge.txt"), pty=True, main=WITHOUT_RICH)
        self.assertEqual(await outcome.ended, 0, outcome.out)
        self.assertIn(b"pip install 'asciid[client]'", outcome.out)
        self.assertIn(self.link.encode(), outcome.out)
