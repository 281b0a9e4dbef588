"""Pages of a real daemon, and its renderer when it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import Daemon

if TYPE_CHECKING:
    from http.client import HTTPResponse

_PATIENCE = 60
"""Seconds until a renderer that does not start or end has failed the test."""


class RenderingTests(SynchronousTestCase):
    """A daemon whose images are in memory."""

    def start(self, *options: str) -> Daemon:
        """Start it."""
        directory = Path(self.mktemp()).resolve()
        self.daemon = Daemon(directory, ("--storage=:memory:", *options))
        self.addCleanup(self.daemon.kill)
        return self.daemon.start()

    def ask(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        """Send a browser's request on a connection of its own; return the response."""
        client = HTTPConnection("127.0.0.1", self.daemon.port, timeout=_PATIENCE)
        self.addCleanup(client.close)
        client.request(method, path, body, {"Accept": "text/html, */*;q=0.8"})
        return client.getresponse()

    def put(self, text: bytes) -> str:
        """Store an image; return the path of its page."""
        name = sha256(text).hexdigest()
        self.assertEqual(self.ask("PUT", f"/image/{name}", text).status, 201)
        return f"/i/{name}"

    def renderers(self) -> list[int]:
        """Return the process ids of the renderers of the daemon."""
        tasks = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children")
        found = []
        for pid in tasks.read_text().split():
            with contextlib.suppress(
                FileNotFoundError, ProcessLookupError
            ):  # it has ended
                if b"_renderer_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def wait_until_gone(self, pid: int) -> None:
        """Wait until a process has ended."""
        deadline = time.monotonic() + _PATIENCE
        while Path(f"/proc/{pid}/stat").exists():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                    return
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_pages(self) -> None:
        """The renderer starts with the first page, and ends with the daemon."""
        self.start()
        path = self.put("\x1b[31mred\x1b[0m ▀".encode())
        self.assertEqual(self.ask("GET", "/images").status, 200)
        self.assertEqual(self.renderers(), [])
        for page in ("/", path, f"{path}/embed", f"{path}.css", "/upload"):
            self.assertEqual(self.ask("GET", page).status, 200, page)
        [renderer] = self.renderers()
        self.assertIn("▀", self.ask("GET", path).read().decode())
        descriptors = list(Path(f"/proc/{renderer}/fd").iterdir())
        self.assertLessEqual({entry.name for entry in descriptors}, set("01234"))
        environment = Path(f"/proc/{renderer}/environ").read_bytes()
        self.assertNotIn(b"ASCIID_", environment)
        self.daemon.stop()
        self.assertFalse(Path(f"/proc/{renderer}").exists())

    def test_killed(self) -> None:
        """A renderer that is killed in a job costs this job alone."""
        self.start()
        first, second = self.put(b"one"), self.put(b"two")
        self.assertEqual(self.ask("GET", "/upload").status, 200)
        [renderer] = self.renderers()
        os.kill(renderer, signal.SIGSTOP)
        statuses: list[int] = []
        waiting = Thread(target=lambda: statuses.append(self.ask("GET", first).status))
        waiting.start()
        self.addCleanup(waiting.join)
        # Downloads do not wait.
        image = first.replace("/i/", "/image/")
        self.assertEqual(self.ask("GET", image).read(), b"one")
        while not self.is_busy():
            time.sleep(0.02)
        os.kill(renderer, signal.SIGKILL)
        waiting.join(_PATIENCE)
        self.assertEqual(statuses, [302])
        self.assertEqual(self.ask("GET", second).status, 200)
        self.assertNotIn(renderer, self.renderers())
        self.assertIn("renderer exited", self.daemon.log)
        self.daemon.stop()

    def is_busy(self) -> bool:
        """Return whether a rendering is under way."""
        page = self.ask("GET", "/metrics").read().decode()
        return "\nasciid_renderings 1.0\n" in page

    def test_out_of_memory(self) -> None:
        """A rendering that takes too much memory fails, and the next one does not."""
        self.start()
        large = self.put(("\x1b[3;31m#\x1b[0m" * 900 + "\n").encode() * 90)
        small = self.put(b"cat")
        self.assertEqual(self.ask("GET", "/upload").status, 200)
        [renderer] = self.renderers()
        limit = int(self.memory_of(renderer) * 1.05)
        command = ["prlimit", f"--pid={renderer}", f"--as={limit}"]
        subprocess.run(command, check=True)
        self.assertEqual(self.ask("GET", large).status, 302)
        self.wait_until_gone(renderer)
        self.assertEqual(self.ask("GET", small).status, 200)
        self.assertIn("renderer: out of memory", self.daemon.log)
        self.daemon.stop()

    def memory_of(self, pid: int) -> int:
        """Return the address space of a process in bytes."""
        pages = Path(f"/proc/{pid}/statm").read_text().split()[0]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def test_daemon_killed(self) -> None:
        """The renderer does not outlive a daemon that is killed."""
        self.start()
        self.assertEqual(self.ask("GET", "/upload").status, 200)
        [renderer] = self.renderers()
        self.daemon.kill()
        self.wait_until_gone(renderer)
