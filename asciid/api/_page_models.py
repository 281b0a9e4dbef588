"""Makes what pages show of what the store has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.api._cursors import cursor_text
from asciid.web.pages import Card, PageImage

if TYPE_CHECKING:
    from asciid.model import AboutRecord, ListedImage
    from asciid.store import IImageReader

__all__ = ["ID_DIGITS", "card_of", "expiry_of", "page_image"]

ID_DIGITS = 12
"""Digits of a hash in short links, and at least in an address."""


def card_of(image: ListedImage) -> Card:
    """Return the card of a listed image."""
    about = image.record.about
    return Card(
        sha256=image.spec.sha256,
        id=image.spec.sha256[:ID_DIGITS],
        title=about.title,
        description=about.description,
        author=about.author,
        size=image.spec.size,
        completed=image.completed,
        cursor=cursor_text(image.cursor),
        charset=image.record.charset,
    )


def expiry_of(completed: int, expires: int, image_ttl: int | None) -> int:
    """
    Return when an image is deleted, in milliseconds since the epoch; 0: never.

    `completed` is when it became complete, `expires` what its uploader said, both in
    milliseconds; `image_ttl` is that of the service in seconds.
    """
    if not image_ttl:
        return expires
    latest = completed + 1000 * image_ttl
    return min(expires, latest) if expires else latest


def page_image(
    reader: IImageReader, record: AboutRecord, image_ttl: int | None
) -> PageImage:
    """Return what the page of an image says about it."""
    about = record.about
    completed = round(reader.completed * 1000)
    return PageImage(
        sha256=reader.spec.sha256,
        id=reader.spec.sha256[:ID_DIGITS],
        size=reader.spec.size,
        completed=completed,
        title=about.title,
        description=about.description,
        author=about.author,
        licence=about.licence,
        tags=about.tags,
        listed=about.listed,
        charset=record.charset,
        expires=expiry_of(completed, about.expires, image_ttl),
    )
