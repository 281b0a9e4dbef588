"""
Clients that take more than their share; `attacks` starts them.

    attackers.py ATTACK HOST PORT CONNECTIONS SOURCES

They connect from the addresses SOURCES, separated by commas, in turn.  A connection
that is closed is opened again.  A line is printed once all are at work; they end with
stdin, and then print JSON: how many answers of each status there were, and how many
connections were lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections import Counter
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING

from script import art_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LARGEST_CHUNK = 1024 * 1024
"""Bytes of a chunk, the default of --max-chunk-size; JSON takes six times as many."""
LARGEST_BODY = 6 * LARGEST_CHUNK
TRICKLE = 1.0
"""Seconds between two bytes of a body that is sent very slowly."""
LEFT = 600
"""Bytes of such a body that are left to trickle."""
SMALLEST = 16 * 1024
"""Bytes of such a body that are sent at first where no more are taken."""
UPLOAD = sha256(b"upload").hexdigest()
"""The hash of an upload that is pending, with chunks of that size."""
STALLED = 256 * 1024
"""Bytes of a PUT that are sent before it stalls."""
LARGE = 60_000_000
"""Bytes of the image whose ranges are requested."""
CODED = 65_536
"""Bytes of an image that is sent with a coding: the largest such."""
_BLOCK = b"".join(art_of(100, seed=1))
"""What images are made of."""
PAUSE = 0.05
"""Seconds before a connection is opened again."""


def art(size: int, number: int = 0) -> bytes:
    """Return an image of `size` bytes; another number makes another one."""
    first = b"%015d\n" % number
    return (first + _BLOCK * (size // len(_BLOCK) + 1))[:size]


@cache
def digest_of(size: int) -> str:
    """Return the hash of an image of `size` bytes."""
    return sha256(art(size)).hexdigest()


def request(line: str, body: bytes = b"", **fields: str) -> bytes:
    """Return a request; the names of fields have underscores for hyphens."""
    head = f"{line} HTTP/1.1\r\nHost: attacker\r\n"
    for name, value in fields.items():
        head += f"{name.replace('_', '-')}: {value}\r\n"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode("ascii") + body


class Attack:
    """Connections of one kind."""

    def __init__(self, host: str, port: int, sources: list[str]) -> None:
        self._place = host, port
        self._sources = sources
        self.answers: Counter[str] = Counter()
        self._numbers = count(int.from_bytes(os.urandom(4), "big"))
        self._first: dict[int, int] = {}
        self._working: set[int] = set()
        self.changed = asyncio.Event()

    async def keep_up(self, number: int, work: Callable[..., Awaitable[None]]) -> None:
        """Do `work` on a connection, and on another one when it ends."""
        source = self._sources[number % len(self._sources)]
        while True:
            writer = None
            try:
                reader, writer = await asyncio.open_connection(
                    *self._place, local_addr=(source, 0), limit=1 << 20
                )
                await work(number, reader, writer)
            except (OSError, EOFError, asyncio.LimitOverrunError):
                self.answers["lost"] += 1
            finally:
                if writer is not None:
                    writer.close()
            self.at_work(number)
            await asyncio.sleep(PAUSE)

    def at_work(self, number: int) -> None:
        """Count a connection whose attack is in progress, or was refused."""
        self._working.add(number)
        self.changed.set()

    async def wait_until_at_work(self, connections: int) -> None:
        """Return when all connections are."""
        while len(self._working) < connections:
            self.changed.clear()
            await self.changed.wait()

    async def answer(self, reader: asyncio.StreamReader, *, bodyless: bool) -> bytes:
        """Read an answer; return its head, in lower case."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = head.split(b" ", 2)[1].decode("ascii")
        self.answers[status] += 1
        length = 0
        if not (bodyless or status == "304"):
            for line in head.split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
        await reader.readexactly(length)
        return head

    async def _repeat(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        data: bytes,
    ) -> None:
        """Send the same request as fast as the answers arrive."""
        bodyless = data.startswith(b"HEAD ")
        while True:
            writer.write(data)
            head = await self.answer(reader, bodyless=bodyless)
            self.at_work(number)
            if b"connection: close" in head:
                return

    async def _hold(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        trickles: bool,
    ) -> None:
        """Leave a request unfinished until it is answered all the same."""
        await writer.drain()
        self.at_work(number)
        trickle = asyncio.create_task(_trickle(writer)) if trickles else None
        try:
            await self.answer(reader, bodyless=False)
        finally:
            if trickle is not None:
                trickle.cancel()

    # The attacks.

    async def bodies(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """
        Send nearly all of the largest body of a chunk, then a byte at a time.

        After a refusal half as much is sent at first: so the last room is filled, too.
        """
        first = self._first.get(number, LARGEST_BODY - LEFT)
        self._first[number] = first // 2 if first > SMALLEST else LARGEST_BODY - LEFT
        head = request(
            f"POST /image/{UPLOAD}/chunks",
            Content_Type="application/json",
            Content_Length=str(LARGEST_BODY),
        )
        writer.write(head)
        piece = b" " * 65_536
        left = first
        while left > 0:
            writer.write(piece[:left])
            left -= len(piece)
            await writer.drain()
        await self._hold(number, reader, writer, trickles=True)

    async def connections(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Keep a connection open: idle, or with a head or a body that is not ended."""
        if number % 3 == 0:
            writer.write(request("GET /livez"))
            await self.answer(reader, bodyless=False)
        elif number % 3 == 1:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: attacker\r\nA: ")
        else:
            head = request("POST /image", b" " * LEFT, Content_Type="application/json")
            writer.write(head[:-LEFT])
        await self._hold(number, reader, writer, trickles=number % 3 > 0)

    async def codings(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Request an image's gzip encoding without its bytes."""
        path = f"/image/{digest_of(CODED)}"
        if number % 2:
            data = request(f"HEAD {path}", Accept_Encoding="gzip")
        else:
            tag = f'"{digest_of(CODED)}-gzip"'
            data = request(f"GET {path}", Accept_Encoding="gzip", If_None_Match=tag)
        await self._repeat(number, reader, writer, data)

    async def ranges(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Request 16 bytes, each at another offset of a large image."""
        step = LARGE // 16
        specs = ",".join(f"{at * step}-{at * step}" for at in range(16))
        data = request(f"GET /image/{digest_of(LARGE)}", Range=f"bytes={specs}")
        await self._repeat(number, reader, writer, data)

    async def range_field(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Request the same bytes many times in one field."""
        specs = ",".join(f"{at * 2}-{at * 2}" for at in range(15))
        specs += ",90-90" * ((3_990 - len(specs)) // 6)
        data = request(f"GET /image/{digest_of(CODED)}", Range=f"bytes={specs}")
        await self._repeat(number, reader, writer, data)

    async def digest_field(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send very many digests of unknown algorithms."""
        stated = ",".join(f"x{at:x}=:" + "=:" for at in range(900))[:7_000]
        data = request(
            "POST /image",
            b"{}",
            Content_Type="application/json",
            Content_Digest=stated.rpartition(",")[0],
        )
        await self._repeat(number, reader, writer, data)

    async def metrics(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Scrape."""
        await self._repeat(number, reader, writer, request("GET /metrics"))

    async def pending(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Register images that are never uploaded, also when that is refused."""
        while True:
            digest = sha256(b"%d" % next(self._numbers)).hexdigest()
            members = {"sha256": digest, "size": 700, "chunk_size": 256}
            body = json.dumps(members).encode("ascii")
            writer.write(request("POST /image", body, Content_Type="application/json"))
            head = await self.answer(reader, bodyless=False)
            if not head.startswith(b"http/1.1 201"):
                self.at_work(number)
                if b"connection: close" in head:
                    return

    async def stalls(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Begin a PUT with a lot of bytes at once, and send nothing more."""
        digest = sha256(b"stalled %d" % number).hexdigest()
        writer.write(
            request(
                f"PUT /image/{digest}",
                Content_Type="text/plain; charset=utf-8",
                Content_Length=str(4 * STALLED),
            )
            + b"x" * STALLED
        )
        await self._hold(number, reader, writer, trickles=False)

    async def images(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Upload images of 60 kB and download them."""
        while True:
            body = art(60_000, next(self._numbers))
            path = f"/image/{sha256(body).hexdigest()}"
            writer.write(
                request(f"PUT {path}", body, Content_Type="text/plain; charset=utf-8")
            )
            await self.answer(reader, bodyless=False)
            writer.write(request(f"GET {path}"))
            head = await self.answer(reader, bodyless=False)
            self.at_work(number)
            if b"connection: close" in head:
                return


async def _trickle(writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(TRICKLE)
        writer.write(b" ")


async def attack(
    name: str, host: str, port: int, connections: int, sources: list[str]
) -> None:
    """Attack until stdin ends."""
    loop = asyncio.get_running_loop()
    attackers = Attack(host, port, sources)
    work = getattr(attackers, name)
    tasks = [
        loop.create_task(attackers.keep_up(number, work))
        for number in range(connections)
    ]
    ended = loop.run_in_executor(None, sys.stdin.read)
    ready = loop.create_task(attackers.wait_until_at_work(connections))
    await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
    print("at work", flush=True)
    await ended
    for task in [ready, *tasks]:
        task.cancel()
    for task in [ready, *tasks]:
        with suppress(asyncio.CancelledError):
            await task
    print(json.dumps(dict(attackers.answers)))


def main(name: str, host: str, port: str, connections: str, sources: str) -> None:
    """Attack, at the lowest priority."""
    os.nice(19)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(attack(name, host, int(port), int(connections), sources.split(",")))


if __name__ == "__main__":
    main(*sys.argv[1:])
