"""
A client that uploads and downloads images one after the other; `attacks` starts it.

    polite.py HOST PORT SOURCE SECONDS

It connects from the address SOURCE, with a new connection for every tenth request,
and rests for a moment between two requests.  It prints JSON: how long each response
took, in microseconds, and descriptions of the unexpected ones.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from script import art_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_SIZE = 256
LARGE = 100_000
"""Bytes of every second image, which is one chunk: more than one read brings."""
REST = 0.003
"""Seconds between two requests."""
GAP = 0.002
"""Seconds between head and body: so they do not arrive together."""
PATIENCE = 30.0
"""Seconds for each step of an answer."""
REQUESTS_OF_A_CONNECTION = 10
MOST_SHOWN = 5
"""Wrong answers that are described; the others are counted."""


class Exchange(NamedTuple):
    """A request and its expected response."""

    line: str
    status: int
    body: bytes = b""
    media_type: str = "application/json"
    expected: bytes | None = None
    """The body of the answer, or None if any will do."""


def _post(path: str, members: dict[str, object]) -> Exchange:
    return Exchange(f"POST {path}", 201, json.dumps(members).encode("ascii"))


def _upload(art: bytes, chunk_size: int) -> Iterator[Exchange]:
    digest = sha256(art).hexdigest()
    path = f"/image/{digest}"
    size = len(art)
    yield _post("/image", {"sha256": digest, "size": size, "chunk_size": chunk_size})
    for index, start in enumerate(range(0, size, chunk_size)):
        data = art[start : start + chunk_size]
        chunk = {"id": index, "size": len(data), "data": data.decode("ascii")}
        yield _post(f"{path}/chunks", chunk)
    yield Exchange(f"GET {path}", 200, expected=art)
    yield Exchange(f"GET {path}/chunks", 200)


def exchanges(art: bytes) -> Iterator[Exchange]:
    """Yield the requests of a small image, and of a large one made of it."""
    yield from _upload(art, CHUNK_SIZE)
    yield from _upload((art * (LARGE // len(art) + 1))[:LARGE], LARGE)
    yield Exchange("GET /livez", 200)


class Client:
    """One connection at a time."""

    def __init__(self, host: str, port: int, source: str) -> None:
        self._place, self._source = (host, port), (source, 0)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket: socket.socket | None = None
        self._left = 0

    def exchange(self, exchange: Exchange) -> tuple[float, str | None]:
        """Return the seconds until the answer was complete, and the error."""
        began = time.monotonic()
        try:
            connection = self._connected()
            waited = self._send(connection, exchange)
            status, body, closes = _answer(connection)
        except OSError as error:
            self.close()
            return time.monotonic() - began, f"{exchange.line[:40]}: {error!r}"
        took = time.monotonic() - began - waited
        self._left -= 1
        if closes or self._left <= 0:
            self.close()
        if status != exchange.status:
            return took, f"{exchange.line[:40]}: {status} {body[:100]!r}"
        if exchange.expected not in {None, body}:
            return took, f"{exchange.line[:40]}: other bytes"
        return took, None

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(self._family)
            self._socket.settimeout(PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.bind(self._source)
            self._socket.connect(self._place)
            self._left = REQUESTS_OF_A_CONNECTION
        return self._socket

    @staticmethod
    def _send(connection: socket.socket, exchange: Exchange) -> float:
        head = f"{exchange.line} HTTP/1.1\r\nHost: polite\r\n"
        if exchange.body:
            head += (
                f"Content-Type: {exchange.media_type}\r\n"
                f"Content-Length: {len(exchange.body)}\r\n"
            )
        connection.sendall(f"{head}\r\n".encode("ascii"))
        if not exchange.body:
            return 0.0
        time.sleep(GAP)
        connection.sendall(exchange.body)
        return GAP


def _answer(connection: socket.socket) -> tuple[int, bytes, bool]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines[1:])
    length = int(fields.get(b"content-length", 0))
    while len(body) < length:
        body += _receive(connection)
    closes = b"close" in fields.get(b"connection", b"")
    return int(lines[0].split()[1]), body, closes


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        message = "closed without an answer"
        raise ConnectionError(message)
    return data


def main(host: str, port: str, source: str, seconds: str) -> None:
    """Work for some seconds, and print the result."""
    client = Client(host, int(port), source)
    took: list[int] = []
    wrong: list[str] = []
    deadline = time.monotonic() + float(seconds)
    for art in art_of(sys.maxsize, random.SystemRandom().getrandbits(64)):
        for exchange in exchanges(art):
            seconds_taken, mistake = client.exchange(exchange)
            took.append(round(seconds_taken * 1e6))
            if mistake is not None:
                wrong.append(mistake)
            time.sleep(REST)
            if time.monotonic() >= deadline:
                client.close()
                shown = wrong[:MOST_SHOWN]
                print(json.dumps({"took": took, "wrong": len(wrong), "shown": shown}))
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
