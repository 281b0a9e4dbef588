"""A daemon that renders, and its renderers."""

from __future__ import annotations

import contextlib
import os
import time
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import Daemon

if TYPE_CHECKING:
    from http.client import HTTPResponse

__all__ = ["PATIENCE", "RenderingCase"]

PATIENCE = 60
"""Seconds until a renderer that does not start or end has failed the test."""


class RenderingCase(SynchronousTestCase):
    """A daemon whose images are in memory."""

    def start(self, *options: str, **environ: str) -> Daemon:
        """Start it."""
        directory = Path(self.mktemp()).resolve()
        options = options or ("--storage=:memory:",)
        self.daemon = Daemon(directory, options, environ)
        self.addCleanup(self.daemon.kill)
        return self.daemon.start()

    def ask(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        """Send a browser's request on a connection of its own; return the response."""
        client = HTTPConnection("127.0.0.1", self.daemon.port, timeout=PATIENCE)
        # The response then owns the socket, and closes it with its last reference: a
        # load test would run out of descriptors.
        fields = {"Accept": "text/html, */*;q=0.8", "Connection": "close"}
        client.request(method, path, body, fields)
        return client.getresponse()

    def put(self, text: bytes) -> str:
        """Store an image; return the path of its page."""
        name = sha256(text).hexdigest()
        self.assertEqual(self.ask("PUT", f"/image/{name}", text).status, 201)
        return f"/i/{name}"

    def renderers(self) -> list[int]:
        """Return the process ids of the renderers of the daemon and its workers."""
        serving = self.daemon.children("worker") or [self.daemon.pid]
        found = []
        for pid in (pid for each in serving for pid in self.children_of(each)):
            with contextlib.suppress(
                FileNotFoundError, ProcessLookupError
            ):  # it has ended
                if b"_renderer_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def children_of(self, pid: int) -> list[str]:
        """Return the process ids of the children of a process."""
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def wait_until_gone(self, pid: int) -> None:
        """Wait until a process has ended."""
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}/stat").exists():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                    return
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def wait_for_log(self, text: str) -> None:
        """Wait until the log of the daemon has a text: it is written a moment later."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.daemon.log:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.02)

    def is_busy(self) -> bool:
        """Return whether a rendering is under way."""
        page = self.ask("GET", "/metrics").read().decode()
        return "\nasciid_renderings 1.0\n" in page

    def memory_of(self, pid: int) -> int:
        """Return the address space of a process in bytes."""
        pages = Path(f"/proc/{pid}/statm").read_text().split()[0]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
