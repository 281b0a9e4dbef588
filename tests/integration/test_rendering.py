"""Pages of a real daemon, and its renderer when it fails."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from threading import Thread

from tests._other_process import OtherProcess
from tests.integration._rendering import PATIENCE, RenderingCase


class RenderingTests(RenderingCase):
    """A daemon whose images are in memory."""

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
        process = OtherProcess(renderer)
        self.addCleanup(process.close)
        process.send(signal.SIGSTOP)
        statuses: list[int] = []
        waiting = Thread(target=lambda: statuses.append(self.ask("GET", first).status))
        waiting.start()
        self.addCleanup(waiting.join)
        # Downloads do not wait.
        image = first.replace("/i/", "/image/")
        self.assertEqual(self.ask("GET", image).read(), b"one")
        while not self.is_busy():
            time.sleep(0.02)
        process.send(signal.SIGKILL)
        waiting.join(PATIENCE)
        self.assertEqual(statuses, [302])
        self.assertEqual(self.ask("GET", second).status, 200)
        self.assertNotIn(renderer, self.renderers())
        self.wait_for_log("renderer exited")
        self.daemon.stop()

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
        self.wait_for_log("renderer: out of memory")
        self.daemon.stop()

    def test_daemon_killed(self) -> None:
        """The renderer does not outlive a daemon that is killed."""
        self.start()
        self.assertEqual(self.ask("GET", "/upload").status, 200)
        [renderer] = self.renderers()
        self.daemon.kill()
        self.wait_until_gone(renderer)
