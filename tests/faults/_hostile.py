"""
Hostile clients: ``python -m tests.faults._hostile KINDS PORT COUNT TARGET``.

It runs until it is killed.  KINDS are names of functions below, with commas
between them, which share COUNT connections; TARGET is the path of an image.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import sys
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

AHEAD = 256
"""Requests that a greedy client sends before it reads the answers."""

_HEAD = b"Host: 127.0.0.1\r\nContent-Type: text/plain\r\n"
_RESET = struct.pack("ii", 1, 0)
_GREEDY_IMAGE = 64 * 1024


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    client = socket.socket()
    # Data that is not read remains in the daemon's buffers.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)  # noqa: FBT003 - as the method is
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=client, limit=4096)


async def _drip(writer: asyncio.StreamWriter, data: bytes, pause: float) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(pause)


async def slow_headers(port: int, target: str) -> None:
    """Send a request's head byte by byte."""
    _, writer = await _connect(port)
    head = f"GET {target} HTTP/1.1\r\nX: {'x' * 5000}".encode()
    await _drip(writer, head, 0.05)


async def slow_bodies(port: int, target: str) -> None:
    """Announce a large body and send it byte by byte."""
    _, writer = await _connect(port)
    head = f"PUT {target} HTTP/1.1\r\nContent-Length: 1000000\r\n".encode()
    writer.write(head + _HEAD + b"\r\n")
    await _drip(writer, b"x" * 10_000, 0.05)


async def slow_readers(port: int, target: str) -> None:
    """Request a large image many times, and read a little of the first response."""
    reader, writer = await _connect(port)
    request = f"GET {target} HTTP/1.1\r\n".encode() + _HEAD + b"\r\n"
    writer.write(request * 32)
    while await reader.read(64):  # noqa: ASYNC110 - nothing to wait for: it is slow
        await asyncio.sleep(0.2)


async def churn(port: int, target: str) -> None:
    """Break a connection off within a request, and make the next one."""
    reader, writer = await _connect(port)
    reset = writer.get_extra_info("socket").setsockopt
    reset(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    request = f"GET {target} HTTP/1.1\r\n".encode() + _HEAD + b"\r\n"
    writer.write(request * 2 + request[:20])
    await asyncio.wait_for(reader.read(10), 5)
    writer.close()


async def junk(port: int, target: str) -> None:
    """Send invalid HTTP, and reconnect when it is refused."""
    del target
    reader, writer = await _connect(port)
    writer.write(random.choice((os.urandom(2000), b"GET / HTTP/9.9\r\n\r\n", b"\r\n")))
    await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def _skip_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await reader.readexactly(size)


async def greedy_uploads(port: int, target: str) -> None:
    """Upload images without a pause."""
    del target
    reader, writer = await _connect(port)
    while True:
        data = os.urandom(_GREEDY_IMAGE // 2).hex().encode()
        line = f"PUT /image/{sha256(data).hexdigest()} HTTP/1.1\r\n"
        length = f"Content-Length: {len(data)}\r\n\r\n"
        writer.write(line.encode() + _HEAD + length.encode() + data)
        await _skip_answer(reader)


async def greedy_downloads(port: int, target: str) -> None:
    """Download an image without a pause, some requests ahead of the answers."""
    request = f"GET {target} HTTP/1.1\r\n".encode() + _HEAD + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(request * AHEAD)
        for _ in range(AHEAD):
            await _skip_answer(reader)


async def _again(
    attack: Callable[[int, str], Awaitable[None]], port: int, target: str
) -> None:
    while True:
        with suppress(OSError, EOFError, asyncio.TimeoutError):
            await attack(port, target)
        await asyncio.sleep(0.05)


ATTACKS = (
    slow_headers,
    slow_bodies,
    slow_readers,
    churn,
    junk,
    greedy_uploads,
    greedy_downloads,
)


async def _main(names: str, port: int, count: int, target: str) -> None:
    known = {attack.__name__: attack for attack in ATTACKS}
    attacks = [known[name] for name in names.split(",")]
    tasks = [_again(attacks[i % len(attacks)], port, target) for i in range(count)]
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
