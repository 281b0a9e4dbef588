"""
Prepares the requests that the load generator replays.

Everything that costs time (art, SHA-256, JSON) is done here, before anything
is measured.  `load.c` describes how a script is carried out; `_pack` and its
`read_script` are the two sides of the format.
"""

from __future__ import annotations

import json
import random
import struct
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

IMAGE_SIZE = 700
CHUNK_SIZE = 256
LARGE_SIZE = 60 * 2**20

_UNCHECKED = 2**32 - 1
_PALETTE = " .,:;i1tfLCG08@#\\/|_-"
_LINE = 70


class Request(NamedTuple):
    """A request and its expected response."""

    data: bytes
    status: int
    body: bytes | None = None
    """The expected body, or None if any will do."""


Image = list[list[Request]]
"""Steps, one after the other, of requests made at the same time."""


def _post(path: str, members: dict[str, object]) -> Request:
    body = json.dumps(members).encode("ascii")
    head = (
        f"POST {path} HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode("ascii") + body, 201)


def _register(digest: str) -> Request:
    members = {"sha256": digest, "size": IMAGE_SIZE, "chunk_size": CHUNK_SIZE}
    return _post("/image", members)


def get(
    digest: str,
    art: bytes | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    status: int = 200,
) -> Request:
    """Make a download of an image, which is `art`."""
    return _bodyless(f"GET /image/{digest}", fields or {}, status, art)


def status(digest: str) -> Request:
    """Make a request for the missing chunks of an upload."""
    return _bodyless(f"GET /image/{digest}/chunks", {}, 200)


def put(art: bytes) -> Request:
    """Make an upload of a whole image."""
    head = (
        f"PUT /image/{sha256(art).hexdigest()} HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(art)}\r\n\r\n"
    )
    return Request(head.encode("ascii") + art, 201)


def _bodyless(
    line: str, fields: Mapping[str, str], status: int, body: bytes | None = None
) -> Request:
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    data = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n"
    return Request(data.encode("ascii"), status, body)


def _draw(rng: random.Random) -> bytes:
    lines = (
        "".join(rng.choices(_PALETTE, k=_LINE - 1)) for _ in range(IMAGE_SIZE // _LINE)
    )
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def art_of(count: int, seed: int) -> Iterator[bytes]:
    """Draw `count` images; another seed draws others."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _draw(rng)


def exercise(count: int, seed: int = 1) -> Iterator[Image]:
    """
    Make `count` images, each to be registered, uploaded and downloaded.

    The chunks of an image are one step, in random order; the download must
    answer the image's bytes.  Another seed makes other images.
    """
    rng = random.Random(seed)
    for _ in range(count):
        art = _draw(rng)
        digest = sha256(art).hexdigest()
        chunks = []
        for index, start in enumerate(range(0, len(art), CHUNK_SIZE)):
            data = art[start : start + CHUNK_SIZE]
            members = {"id": index, "size": len(data), "data": data.decode("ascii")}
            chunks.append(_post(f"/image/{digest}/chunks", members))
        rng.shuffle(chunks)
        yield [[_register(digest)], chunks, [get(digest, art)]]


@cache
def small_image() -> bytes:
    """Return the first image of `exercise`."""
    return _draw(random.Random(1))


@cache
def large_image() -> bytes:
    """Return an image of `LARGE_SIZE` bytes."""
    block = b"".join(art_of(100, seed=3))
    return (block * (LARGE_SIZE // len(block) + 1))[:LARGE_SIZE]


@cache
def digest_of(image: bytes) -> str:
    """Return the hash of an image."""
    return sha256(image).hexdigest()


def registrations(count: int) -> Iterator[Image]:
    """Make `count` registrations of images that are never uploaded."""
    rng = random.Random(2)
    for _ in range(count):
        yield [[_register(rng.randbytes(32).hex())]]


def download() -> Iterator[Image]:
    """Make one download, to be repeated, of `small_image`."""
    image = small_image()
    yield [[get(digest_of(image), image)]]


def _pack(image: Image) -> Iterator[bytes]:
    yield bytes([len(image), *(len(step) for step in image)])
    for step in image:
        for request in step:
            body = request.body
            length = _UNCHECKED if body is None else len(body)
            yield struct.pack("<HII", request.status, len(request.data), length)
            yield request.data
            yield body or b""


def write(path: Path, images: Iterable[Image]) -> Path:
    """Write the script that makes the load generator send `images`."""
    count = 0
    with path.open("wb") as file:
        file.write(struct.pack("<I", count))
        for image in images:
            file.writelines(_pack(image))
            count += 1
        file.seek(0)
        file.write(struct.pack("<I", count))
    return path
