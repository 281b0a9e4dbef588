"""The wall clock jumps while clients upload and download."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime

from tests.faults._case import FaultTestCase
from tests.faults._client import Connection
from tests.faults._load import Load, Upload
from tests.faults._needs import need_faketime

_JUMPS = {"-1d": -86_400, "+1h": 3_600}
"""Offsets for libfaketime, one after the other, and their seconds."""

_PATIENCE = 90


class ClockTests(FaultTestCase):
    """A daemon whose wall clock a file sets; its monotonic clock is real."""

    def setUp(self) -> None:
        """Start the daemon."""
        super().setUp()
        library = need_faketime()
        self.directory.mkdir(parents=True)
        self.offset = self.directory / "offset"
        self.set_clock("+0")
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # Its workaround for older releases of glibc stops this one's threads.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }
        self.clocked = self.daemon(environ=self.environ)

    def set_clock(self, offset: str) -> None:
        """Make the clock jump, at once."""
        new = self.directory / "offset.new"
        new.write_text(offset)
        new.replace(self.offset)

    def test_uploads(self) -> None:
        """Uploads go on through each jump, and none is refused or lost."""
        with Load(self.clocked.port) as load:
            load.run_for(0.3)
            for offset in _JUMPS:
                self.set_clock(offset)
                load.run_for(0.1)
                self.assertTrue(load.progresses(100), offset)
        self.assertEqual((load.half, load.record.refused), (0, {}))
        self.assert_kept(self.clocked, load.record)
        self.stop()

    def test_expiry(self) -> None:
        """
        A pending upload expires after the time that went by without activity,
        whatever the clock shows; one with activity stays.
        """
        self.clocked.stop()
        seconds = 5
        self.clocked = self.daemon("--upload-ttl", str(seconds), environ=self.environ)
        idle, active = Upload.sized(2500), Upload.sized(2500)
        with Connection(self.clocked.port) as client:
            began = time.monotonic()
            for upload in (idle, active):
                answer = client.post("/image", upload.art.registration)
                self.assertEqual(answer.status, 201)
            for number, chunk_id in enumerate(active.art.ids):
                self.set_clock(list(_JUMPS)[number % 2])
                chunk = active.art.chunk(chunk_id)
                answer = client.post(f"{active.target}/chunks", chunk)
                self.assertEqual(answer.status, 201)
                answer = client.request("GET", f"{idle.target}/chunks")
                if time.monotonic() - began < seconds:
                    self.assertEqual(answer.status, 200)
                time.sleep(seconds / 5)
            self.assertEqual(client.request("GET", active.target).status, 200)
            while client.request("GET", f"{idle.target}/chunks").status == 200:
                self.assertLess(time.monotonic() - began, 10 * seconds)
                time.sleep(0.1)
        self.stop()

    def test_backwards(self) -> None:
        """
        At whatever instant the clock is set back, due calls are made: here it is a
        second earlier at each reading.
        """
        self.set_clock("@2030-01-01 00:00:00 i-1.0")
        with Load(self.clocked.port) as load:
            self.assertTrue(load.progresses(100))
        self.assert_kept(self.clocked, load.record)
        self.clocked.stop()

    def test_upload_and_download_under_way(self) -> None:
        """A slow upload and a slow download that a jump falls into are finished."""
        image = Upload.sized(8_000_000, whole=True)
        new = Upload.sized(300_000, whole=True)
        self.upload(self.clocked, [image])
        for offset in _JUMPS:
            download = self._begin(f"GET {image.target} HTTP/1.1\r\nHost: a\r\n\r\n")
            head = (
                f"PUT {new.target} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
                f"Content-Length: {len(new.content)}\r\n\r\n"
            )
            upload = self._begin(head)
            upload.sendall(new.content[:150_000])
            received = download.recv(10_000)
            self.set_clock(offset)
            time.sleep(1.5)  # timeouts are checked once a second
            upload.sendall(new.content[150_000:])
            self.assertIn(upload.recv(1000)[:12], {b"HTTP/1.1 201", b"HTTP/1.1 200"})
            while not received.endswith(image.content[-10_000:]):
                self.assertTrue(piece := download.recv(2**18))
                received += piece
            self.assertTrue(received.endswith(image.content))
            upload.close()
            download.close()
        self.assertEqual(self.get(self.clocked, new).body, new.content)
        self.stop()

    def test_dead_connections(self) -> None:
        """
        A client that begins a request and falls silent is disconnected in time,
        though the clock was set back by a day.
        """
        silent = self._begin("GET / HT")
        self.set_clock("-1d")
        ended = self._ends_within(silent, 20)
        self.report(f"a silent client was disconnected after {ended:.1f} s")
        self.stop()

    def stop(self) -> None:
        """Stop the daemon, and check that its clock is where the jumps have left it."""
        self.clocked.stop()
        last = self.clocked.log.splitlines()[-1]
        logged = datetime.strptime(last[:24], "%Y-%m-%dT%H:%M:%S%z")
        ahead = (logged - datetime.now(UTC)).total_seconds()
        self.assertLess(abs(ahead - _JUMPS[self.offset.read_text()]), 60)

    def _begin(self, data: str) -> socket.socket:
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.settimeout(_PATIENCE)
        client.connect(("127.0.0.1", self.clocked.port))
        client.sendall(data.encode())
        return client

    def _ends_within(self, client: socket.socket, seconds: float) -> float:
        """Send other requests until the daemon has ended the connection `client`."""
        began = time.monotonic()
        client.settimeout(0.2)
        while time.monotonic() < began + seconds:
            with Connection(self.clocked.port) as connection:
                connection.request("GET", "/")
            try:
                while client.recv(1000):
                    pass
            except TimeoutError:
                continue
            return time.monotonic() - began
        message = "the silent client is still there"
        raise self.failureException(message)
