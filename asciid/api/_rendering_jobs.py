"""Has pages and files rendered, and hands the renderer the images that it needs."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import DeferredList
from twisted.python.failure import Failure

from asciid import __version__
from asciid.errors import (
    ImageBlockedError,
    ImageGoneError,
    ImageNotFoundError,
    StorageFailedError,
)
from asciid.web.jobs import (
    MAX_CARD_TEXT,
    MAX_TEXT,
    CardsJob,
    GalleryJob,
    Rendered,
)
from asciid.web.renderer import (
    NotRenderableError,
    RendererBusyError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asciid.store import IImageReader, IImageStore
    from asciid.web.pages import GalleryPage
    from asciid.web.renderings import Renderings

__all__ = ["RenderingJobs", "rendering_key"]

_CARDS_BYTES = 256 * 1024
"""Bytes of images in one job for cards: so others wait for few of them."""

_MAX_ROUNDS = 8
"""How often cards are sent that the renderer misses, some of them at a time."""

_REMOVED = (
    ImageBlockedError,
    ImageGoneError,
    ImageNotFoundError,
    # One damaged image must not take the gallery down.
    StorageFailedError,
)


def rendering_key(kind: str, *parts: object) -> str:
    """Return the key of a rendering that depends on `parts`, and on this release."""
    data = msgspec.msgpack.encode((__version__, kind, *parts))
    return blake2b(data, digest_size=16).hexdigest()


class RenderingJobs:
    """Has `renderings` render galleries, and reads the images of `store` for that."""

    def __init__(self, store: IImageStore, renderings: Renderings) -> None:
        self._store = store
        self._renderings = renderings

    async def gallery(self, page: GalleryPage, client: str) -> Rendered:
        """
        Render a gallery for a client, by its key.

        A card whose image is removed meanwhile is empty.

        Errors: those of `IRenderer.render`, `IImageReader.read`.
        """
        absent: list[str] = []
        for _ in range(_MAX_ROUNDS):
            job = GalleryJob(page=page, absent=tuple(absent))
            answer = await self._renderings.do(job, client)
            if isinstance(answer, Rendered):
                return answer
            charsets = {card.sha256: card.charset for card in page.cards}
            absent += await self._send_cards(answer.hashes, charsets, client)
        # Others evict them faster than they are sent.
        raise RendererBusyError

    async def text(self, reader: IImageReader) -> bytes:
        """
        Return the whole content of an image.

        Errors: `NotRenderableError` if it is too large, those of `IImageReader.read`.
        """
        if reader.spec.size > MAX_TEXT:
            message = (
                f"The image is too large to be rendered: {reader.spec.size} bytes "
                f"(limit {MAX_TEXT})."
            )
            raise NotRenderableError(message)
        return await _read(reader, MAX_TEXT)

    async def _send_cards(
        self, hashes: Sequence[str], charsets: Mapping[str, str], client: str
    ) -> list[str]:
        """Have cards of images rendered; return those that were removed."""
        absent = []
        texts: dict[str, bytes] = {}
        size = 0
        # At once: short queries of a turn of the reactor share a thread's time.
        opening = [self._store.open(sha256) for sha256 in hashes]
        opened = await DeferredList(opening, consumeErrors=True)
        for sha256, (_, reader) in zip(hashes, opened, strict=True):
            try:
                if isinstance(reader, Failure):
                    reader.raiseException()
                text = await _read(reader, MAX_CARD_TEXT)
            except _REMOVED:
                absent.append(sha256)
                continue
            if texts and size + len(text) > _CARDS_BYTES:
                await self._renderings.do(_cards_job(texts, charsets), client)
                texts, size = {}, 0
            texts[sha256] = text
            size += len(text)
        if texts:
            await self._renderings.do(_cards_job(texts, charsets), client)
        return absent


def _cards_job(texts: dict[str, bytes], charsets: Mapping[str, str]) -> CardsJob:
    return CardsJob(
        texts=texts,
        charsets={sha256: charsets[sha256] for sha256 in texts if charsets[sha256]},
    )


async def _read(reader: IImageReader, limit: int) -> bytes:
    if reader.content is not None:
        return reader.content[:limit]
    return await reader.read(0, min(reader.spec.size, limit))
