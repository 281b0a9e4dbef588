"""The listing of a server: a page of it, and its images."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec
from attrs import frozen

__all__ = ["FoundImage", "ListingPage", "parse_listing"]

_is_hash = re.compile("[0-9a-f]{64}").fullmatch
# RFC 8288, section 3.
_LINK = re.compile(r"<([^>]*)>([^,<]*)")
_NEXT = re.compile(
    r";\s*rel\s*=\s*(?:next\b|\"(?:[^\"]*\s)?next(?:\s[^\"]*)?\")", re.IGNORECASE
)
_is_query = re.compile(r"[!-~]*").fullmatch


class FoundImage(msgspec.Struct, frozen=True):
    """An image of the listing."""

    sha256: str
    size: int
    """Bytes."""
    completed: datetime
    title: str = ""
    description: str = ""
    author: str = ""
    licence: str = ""
    tags: tuple[str, ...] = ()
    expires: datetime | None = None


@frozen
class ListingPage:
    """A page of the listing, the newest image first."""

    images: tuple[FoundImage, ...]
    following: str
    """What to request the next page with; empty: this is the last one."""


class _Document(msgspec.Struct):
    images: tuple[FoundImage, ...]


_decode = msgspec.json.Decoder(_Document).decode


def parse_listing(body: bytes, link: str) -> ListingPage:
    """
    Return the page in a response with the field Link.

    Raises :exc:`ValueError` if it is invalid.
    """
    images = _decode(body).images
    for image in images:
        if _is_hash(image.sha256) is None:
            message = "invalid SHA-256"
            raise ValueError(message)
    return ListingPage(images, _next_query(link))


def _next_query(link: str) -> str:
    """
    Return the query of the link to the next page, empty if there is none.

    The rest of its URL does not matter: a proxy may have changed the path.
    """
    for url, parameters in _LINK.findall(link):
        query: str = url.partition("#")[0].partition("?")[2]
        if _NEXT.search(parameters) and query and _is_query(query):
            return query
    return ""
