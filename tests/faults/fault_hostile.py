"""Hostile and greedy clients, beside a polite one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from tests.faults._case import FaultTestCase
from tests.faults._client import Connection
from tests.faults._load import Upload
from tests.integration._daemon import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration._daemon import Daemon

ROUNDS = int(os.environ.get("ASCIID_POLITE_ROUNDS", "300"))
"""How often the polite client uploads an image and downloads it."""

FILES = int(os.environ.get("ASCIID_SIMULATE_FILES", "500"))
"""How many images ``asciid simulate`` uploads."""

HOSTILE = 200

GREEDY = 64

LARGE = 16 * 1024 * 1024

SHARE = 100
"""How often one connection pipelines as much as one turn answers."""

PIPELINED = 32
"""Requests of one connection that are sent at a time."""

_PER_CONNECTION = 5
"""Rounds after which the polite client reconnects."""

_PATIENCE = 90


class HostileTests(FaultTestCase):
    """The effect on a polite client with one connection."""

    def test_attack(self) -> None:
        """
        Slow heads, bodies and readers, junk, and connections that break off, 200
        at a time: every request of the polite client is answered right.
        """
        kinds = "slow_headers,slow_bodies,slow_readers,churn,junk"
        self.suffer(kinds, HOSTILE, at_least=HOSTILE // 2)

    def test_greedy_uploads(self) -> None:
        """Uploads without a pause on 64 connections: the polite one gets through."""
        self.suffer("greedy_uploads", GREEDY, at_least=GREEDY)

    def test_share(self) -> None:
        """One connection gets no less than each of 64 of another client."""
        daemon = self.daemon()
        image = Upload.sized(500)
        self.upload(daemon, [image])
        request = f"GET {image.target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        with (
            self.attack(daemon, "greedy_downloads", GREEDY, image, at_least=GREEDY),
            socket.create_connection(
                ("127.0.0.1", daemon.port), _PATIENCE, ("127.0.0.2", 0)
            ) as one,
            one.makefile("rb") as answers,
        ):
            # As many again are waiting whenever some are answered, or the share
            # were this client's, which has to get its turn from the system, too.
            one.sendall(request * PIPELINED)
            before = self.downloads(daemon)
            for _ in range(SHARE):
                one.sendall(request * PIPELINED)
                for _ in range(PIPELINED):
                    self.assertEqual(_body(answers), image.content)
            own = SHARE * PIPELINED
            average = (self.downloads(daemon) - before - own) / GREEDY
        self.report(
            f"{own} requests of the one, {average:.0f} of each of {GREEDY} others"
        )
        self.assertGreater(own, average / 2)
        self.assertGreater(average, 0)
        self.assert_calm(daemon)

    def test_exercise(self) -> None:
        """The exercise's own client meets no bound, with 256 images at a time."""
        daemon = self.daemon()
        began = time.monotonic()
        done = self.asciid(
            *("simulate", "-files", str(FILES), "--parallel", "256"),
            *("--host", "127.0.0.1", "--port", str(daemon.port)),
            *("--log-level", "warning"),
        )
        elapsed = time.monotonic() - began
        self.assertEqual(done.returncode, 0, done.stdout[-1000:] + done.stderr[-1000:])
        metrics = self.metrics(daemon)
        refused = {
            status: metrics["asciid_requests_total", status]
            for status in ("429", "503", "507")
        }
        self.report(f"{FILES} images in {elapsed:.1f} s, refused {refused}")
        self.assertEqual(set(refused.values()), {0})
        self.assertEqual(metrics["asciid_images_completed_total", ""], FILES)
        self.assert_calm(daemon)

    def suffer(self, kinds: str, count: int, *, at_least: int) -> None:
        """Compare the polite client's times without and with the others."""
        daemon = self.daemon()
        large = Upload.sized(LARGE, 1024 * 1024)
        self.upload(daemon, [large])
        alone = self.be_polite(daemon, b"alone")
        with self.attack(daemon, kinds, count, large, at_least=at_least):
            beside = self.be_polite(daemon, b"beside")
        self.report(
            f"ms, median, p99 and most: alone {_percentiles(alone)}, "
            f"beside {count} connections {_percentiles(beside)}"
        )
        self.assert_calm(daemon)

    @contextmanager
    def attack(
        self, daemon: Daemon, kinds: str, count: int, image: Upload, *, at_least: int
    ) -> Iterator[None]:
        """Attack the daemon, over `at_least` so many open connections."""
        others = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults._hostile", kinds),
                *(str(daemon.port), str(count), image.target),
            ],
            cwd=ROOT,
            env=environment(),
        )
        try:
            deadline = time.monotonic() + _PATIENCE
            while self.metrics(daemon)["asciid_connections", ""] <= at_least:
                self.assertLess(time.monotonic(), deadline, "there is no attack")
                time.sleep(0.1)
            yield
            self.assertIsNone(others.poll())
            connections = self.metrics(daemon)["asciid_connections", ""]
            self.assertGreater(connections, at_least)
        finally:
            others.kill()
            others.wait()

    def be_polite(self, daemon: Daemon, name: bytes) -> list[float]:
        """Upload and download; return what each request took, in seconds."""
        taken = []
        with Connection(daemon.port) as connection:
            for number in range(ROUNDS):
                data = b"%s %d " % (name, number) * 50
                target = f"/image/{sha256(data).hexdigest()}"
                for method, body, status in (("PUT", data, 201), ("GET", b"", 200)):
                    began = time.monotonic()
                    answer = connection.request(method, target, body)
                    taken.append(time.monotonic() - began)
                    self.assertEqual(answer.status, status)
                self.assertEqual(answer.body, data)
                if number % _PER_CONNECTION == 0:
                    connection.close()
        return taken

    def downloads(self, daemon: Daemon) -> int:
        """Return how many downloads the daemon has answered."""
        return int(self.metrics(daemon)["asciid_requests_total", "200"])


def _percentiles(seconds: list[float]) -> str:
    """Return median, 99th percentile and the most, in milliseconds."""
    ordered = sorted(seconds)
    chosen = (ordered[int(part * (len(ordered) - 1))] for part in (0.5, 0.99, 1))
    return " ".join(f"{1000 * value:.1f}" for value in chosen)


def _body(answers: BinaryIO) -> bytes:
    """Read the next answer."""
    head = b"".join(iter(answers.readline, b"\r\n")).lower()
    length = head.partition(b"content-length:")[2].partition(b"\r")[0]
    return answers.read(int(length))
