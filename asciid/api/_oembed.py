"""oEmbed 1.0: how other sites show an image in a frame (https://oembed.com)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import msgspec
from attrs import frozen

from asciid.api._feed import xml_text
from asciid.api._refusals import MalformedRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asciid.api._request_interface import Request
    from asciid.model import About

__all__ = ["Embedding", "OEmbedQuery", "parse_oembed"]

_WIDTH, _HEIGHT = 720, 480
"""Size of a frame in CSS pixels, for a screen of 80 x 25 cells and a line of text."""

_FORMATS = {"json": b"application/json", "xml": b"text/xml; charset=utf-8"}


@frozen
class OEmbedQuery:
    """What a consumer asks for."""

    url: str
    xml: bool
    width: int
    height: int

    @property
    def content_type(self) -> bytes:
        """The media type of the response."""
        return _FORMATS["xml" if self.xml else "json"]


@frozen
class Embedding:
    """An image to be embedded; `base` is the host's URL."""

    base: str
    sha256: str
    about: About
    max_age: int
    """Seconds for which a consumer may keep the answer."""

    def body(self, query: OEmbedQuery) -> bytes:
        """Return the response."""
        name = self.about.title or self.sha256[:12]
        source = quoteattr(f"{self.base}/i/{self.sha256[:12]}/embed")
        title = quoteattr(name, {'"': "&quot;", "\n": " "})
        members: dict[str, str | int] = {
            "version": "1.0",
            "type": "rich",
            "title": name,
            "provider_name": "asciid",
            "provider_url": f"{self.base}/",
            "cache_age": self.max_age,
            "width": query.width,
            "height": query.height,
            "html": (
                f'<iframe src={source} title={title} width="{query.width}" '
                f'height="{query.height}" style="border:0" loading="lazy"></iframe>'
            ),
        }
        if self.about.author:
            members["author_name"] = self.about.author
        return _xml(members) if query.xml else msgspec.json.encode(members)


def parse_oembed(request: Request) -> OEmbedQuery:
    """
    Return the query of a request.

    Errors: `MalformedRequestError`.
    """
    form = _value(request, b"format") or "json"
    if form not in _FORMATS:
        message = "format must be json or xml."
        raise MalformedRequestError(message)
    url = _value(request, b"url")
    if url is None:
        message = "url is missing: the address of a page of an image."
        raise MalformedRequestError(message)
    return OEmbedQuery(
        url,
        form == "xml",
        _bound(request, b"maxwidth", _WIDTH),
        _bound(request, b"maxheight", _HEIGHT),
    )


def _value(request: Request, name: bytes) -> str | None:
    values = request.args.get(name)
    return values[-1].decode("utf-8", "replace") if values else None


def _bound(request: Request, name: bytes, size: int) -> int:
    text = _value(request, name)
    if text is None:
        return size
    if not (text.isascii() and text.isdigit() and int(text[:9])):
        message = f"{name.decode('ascii')} must be a number of pixels."
        raise MalformedRequestError(message)
    return min(size, int(text[:9]))


def _xml(members: Mapping[str, str | int]) -> bytes:
    elements = "".join(
        f"<{name}>{xml_text(str(value))}</{name}>" for name, value in members.items()
    )
    head = '<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n'
    return f"{head}<oembed>{elements}</oembed>\n".encode("utf-8", "replace")
