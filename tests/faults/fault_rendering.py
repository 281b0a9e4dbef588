"""Renderers that hang, are killed under load, or write garbage."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from threading import Event, Thread

from asciid.web.jobs import TIME_LIMIT
from tests.integration._daemon import ROOT
from tests.integration._rendering import PATIENCE, RenderingCase

_CLIENTS = 16
_SECONDS = 20.0
"""For how long renderers are killed."""

_GARBAGE = """\
import os, sys
if "asciid.web._renderer_process" in sys.orig_argv:
    os.write(1, b"Traceback (most recent call last):" * 100)
"""
"""A sitecustomize.py: Python runs it when it starts."""


class RendererFaultTests(RenderingCase):
    """Faults of renderers."""

    def test_hangs(self) -> None:
        """A renderer that hangs is replaced, and nothing but its job waits for it."""
        self.start()
        first, second = self.put(b"one"), self.put(b"two")
        self.assertEqual(self.ask("GET", "/upload").status, 200)
        [renderer] = self.renderers()
        os.kill(renderer, signal.SIGSTOP)
        statuses: list[int] = []
        waiting = Thread(target=lambda: statuses.append(self.ask("GET", first).status))
        began = time.monotonic()
        waiting.start()
        while waiting.is_alive():
            sent = time.monotonic()
            self.assertEqual(self.ask("GET", "/livez").status, 200)
            self.assertLess(time.monotonic() - sent, TIME_LIMIT / 2)
        self.assertEqual(statuses, [302])
        self.assertGreater(time.monotonic() - began, TIME_LIMIT - 1)
        self.wait_for_log("a job took more than")
        self.assertEqual(self.ask("GET", second).status, 200)
        self.wait_until_gone(renderer)
        self.daemon.stop()

    def test_stopped_at_the_end(self) -> None:
        """A renderer that hangs does not delay the stop of the daemon."""
        self.start()
        self.assertEqual(self.ask("GET", "/upload").status, 200)
        [renderer] = self.renderers()
        os.kill(renderer, signal.SIGSTOP)
        began = time.monotonic()
        self.daemon.stop()
        self.assertLess(time.monotonic() - began, TIME_LIMIT)
        self.wait_until_gone(renderer)

    def test_garbage(self) -> None:
        """A renderer that writes garbage is killed; later ones are used."""
        customized = Path(self.mktemp()).resolve()
        customized.mkdir()
        site = customized / "sitecustomize.py"
        site.write_text(_GARBAGE, encoding="ascii")
        self.start(PYTHONPATH=f"{customized}:{ROOT}")
        self.assertEqual(self.ask("GET", "/upload").status, 503)
        self.wait_for_log("invalid output")
        self.assertEqual(self.ask("GET", "/upload").status, 503)
        site.unlink()
        deadline = time.monotonic() + PATIENCE
        while self.ask("GET", "/upload").status != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.5)
        self.daemon.stop()

    def test_killed_under_load(self) -> None:
        """Workers whose renderers are killed again and again answer every request."""
        storage = Path(self.mktemp()).resolve() / "storage"
        self.start("--storage", str(storage), "--workers=3")
        pages = [self.put(f"image {number}".encode()) for number in range(300)]
        statuses: Counter[int] = Counter()
        over = Event()

        def browse() -> None:
            while not over.is_set():
                page = random.choice([*pages, "/"])
                kind = random.choice(["", ".svg", ".css"]) if page != "/" else ""
                statuses[self.ask("GET", page + kind).status] += 1

        clients = [Thread(target=browse) for _ in range(_CLIENTS)]
        for client in clients:
            client.start()
        deadline = time.monotonic() + _SECONDS
        killed = 0
        while time.monotonic() < deadline:
            time.sleep(2)
            for renderer in self.renderers():
                os.kill(renderer, random.choice([signal.SIGKILL, signal.SIGSEGV]))
                killed += 1
        over.set()
        for client in clients:
            client.join(PATIENCE)
        self.assertGreater(killed, 5)
        # An image whose rendering was killed leads to its text.
        self.assertLessEqual(set(statuses), {200, 302, 503}, statuses)
        self.assertGreater(statuses[200], 100)
        renderers = self.renderers()
        self.daemon.stop()
        for renderer in renderers:
            self.wait_until_gone(renderer)
