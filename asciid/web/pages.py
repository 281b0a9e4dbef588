"""
What each page shows, as plain values.

The process that serves requests makes these; the renderer makes HTML of them.  All text
in them is unescaped, and most of it was written by strangers.  Times are milliseconds
since the epoch.  A path begins with ``/`` and is percent-encoded.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "Card",
    "ChoicesPage",
    "EmbedPage",
    "GalleryPage",
    "PageImage",
    "ProblemPage",
    "Site",
    "UploadPage",
    "ViewerPage",
]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What the pages of a host have in common."""

    url: str = ""
    """Address of the host without a slash at the end, such as https://art.example."""
    public: bool = False
    """
    Whether `url` was configured, and is not the Host of a request: only then do pages
    name it in a canonical link, OpenGraph and oEmbed.
    """
    listing: bool = True
    """Whether there are gallery, random, feed and JSON listing, to be linked to."""
    listed_by_default: bool = True
    """Whether an image is listed if its upload does not say so."""
    needs_token: bool = False
    """Whether uploads require a write token."""
    max_image_size: int = 0
    """Largest image accepted, in bytes."""
    max_chunk_size: int = 0
    """Largest chunk accepted, in bytes."""
    image_ttl: int = 0
    """Seconds after which the host deletes images; 0: never."""
    png: bool = False
    """Whether images are served as PNG, which needs an optional package."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A listed image in a gallery, and as a neighbour of another."""

    sha256: str
    id: str
    """First digits of the hash: its viewer is ``/i/<id>``."""
    title: str = ""
    description: str = ""
    author: str = ""
    size: int = 0
    """Bytes of the image."""
    completed: int = 0
    cursor: str = ""
    """Position in the listing: older images are at ``/?before=<cursor>``."""
    charset: str = ""
    """As in `PageImage`."""


class PageImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image in its viewer."""

    sha256: str
    id: str
    size: int
    completed: int
    title: str = ""
    description: str = ""
    author: str = ""
    licence: str = ""
    """An SPDX expression, or an http or https URL."""
    tags: tuple[str, ...] = ()
    listed: bool = True
    charset: str = ""
    """
    What it was converted from, and how it has to be shown: the text form of an
    `Origin` of `asciid.art.encodings`, such as ``cp437; columns=160``.
    """
    expires: int = 0
    """When it will be deleted; 0: never."""


class GalleryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Listed images, newest first."""

    site: Site
    cards: tuple[Card, ...]
    """At most 12.  The page may end before the last one; it links to what follows."""
    more: bool = False
    """Whether there are older images than the last card."""
    first: bool = True
    """Whether it shows the newest images."""
    now: int = 0


class ViewerPage(msgspec.Struct, frozen=True, kw_only=True):
    """One image, and what is known about it."""

    site: Site
    image: PageImage
    newer: Card | None = None
    older: Card | None = None
    now: int = 0


class EmbedPage(msgspec.Struct, frozen=True, kw_only=True):
    """One image in a frame of another site."""

    site: Site
    image: PageImage


class UploadPage(msgspec.Struct, frozen=True, kw_only=True):
    """The form that sends images."""

    site: Site


class ChoicesPage(msgspec.Struct, frozen=True, kw_only=True):
    """The listed images whose hash begins with the digits of an address."""

    site: Site
    prefix: str
    cards: tuple[Card, ...]


class ProblemPage(msgspec.Struct, frozen=True, kw_only=True):
    """Why a page is not served: not found, gone, blocked, and others."""

    site: Site
    status: int
    title: str
    detail: str
    prefix: str = ""
    """The digits that were asked for, if the address was that of an image."""
