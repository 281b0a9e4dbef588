"""Uploads and downloads a large image over one connection."""

from __future__ import annotations

import re
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from process import BenchmarkError

import script

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT = 30.0
"""Seconds without a byte."""
_PIECE = 2**20
"""Bytes received at once, at most."""
_HEAD = 8192

_length_in = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE).search


class Downloads(NamedTuple):
    """What was downloaded."""

    seconds: list[float]
    """Of each download, from the request to its last byte."""
    elapsed: float
    """Seconds in all, with the comparison of what was received."""
    cpu: float
    """CPU time of this client in that time, in seconds."""


class Client:
    """A connection to a server on 127.0.0.1."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._room = memoryview(bytearray(_HEAD + script.LARGE_SIZE))

    def upload(self) -> None:
        """
        Store the image.

        Errors: `BenchmarkError`.
        """
        self._exchange(script.put(script.large_image()))

    def download(self, seconds: float) -> Downloads:
        """
        Download the image until `seconds` have passed; three times at least.

        Errors: `BenchmarkError` if a byte is wrong.
        """
        image = script.large_image()
        request = script.get(script.digest_of(image), image)
        taken = list[float]()
        begun, cpu = time.perf_counter(), time.process_time()
        while len(taken) < 3 or sum(taken) < seconds:
            taken.append(self._exchange(request))
        elapsed = time.perf_counter() - begun
        return Downloads(taken, elapsed, time.process_time() - cpu)

    def _exchange(self, request: script.Request) -> float:
        """Return how many seconds the response took."""
        begun = time.perf_counter()
        self._socket.sendall(request.data)
        end, body = self._receive()
        elapsed = time.perf_counter() - begun
        received = self._room[body:end]
        status = bytes(self._room[:12]).partition(b" ")[2]
        if status != b"%d" % request.status or request.body not in (None, received):
            message = f"status {status!r} and {len(received)} bytes to a large image"
            raise BenchmarkError(message)
        return elapsed

    def _receive(self) -> tuple[int, int]:
        """Receive a response; return its end, and where its body begins."""
        filled, end, body = 0, _HEAD, 0
        while filled < end:
            got = self._socket.recv_into(self._room[filled:], min(_PIECE, end - filled))
            if got == 0:
                message = "the server closed the connection"
                raise BenchmarkError(message)
            filled += got
            if body == 0:
                head, found, _ = bytes(self._room[: min(filled, _HEAD)]).partition(
                    b"\r\n\r\n"
                )
                if found:
                    body = len(head) + len(found)
                    length = _length_in(head + b"\r\n")
                    end = body + (int(length[1]) if length else 0)
        return end, body


@contextmanager
def connected(port: int) -> Iterator[Client]:
    """Connect to a server on 127.0.0.1, and disconnect at the end."""
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
        yield Client(connection)
