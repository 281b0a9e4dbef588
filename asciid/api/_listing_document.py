"""The listing as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from asciid.api._cursors import cursor_text
from asciid.api._refusals import MalformedRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.api._request_interface import Request
    from asciid.model import ListedImage

__all__ = ["listing_body", "next_page", "parse_limit"]

_DEFAULT_LIMIT = 50
_MAX_LIMIT = 100


class _Image(msgspec.Struct):
    """An image of the listing."""

    sha256: str
    size: int
    completed: datetime
    title: str
    description: str
    author: str
    licence: str
    tags: tuple[str, ...]
    expires: datetime | None
    image: str
    page: str


def parse_limit(request: Request) -> int:
    """
    Return how many images a request wants at most.

    Errors: `MalformedRequestError`.
    """
    values = request.args.get(b"limit")
    if not values:
        return _DEFAULT_LIMIT
    text = values[-1]
    if text.isdigit() and len(text) <= len(b"100") and 0 < int(text) <= _MAX_LIMIT:
        return int(text)
    message = f"limit must be a number from 1 to {_MAX_LIMIT}."
    raise MalformedRequestError(message)


def next_page(images: Sequence[ListedImage], limit: int) -> str | None:
    """Return the path of the page after `images`, which are at most `limit`."""
    if len(images) < limit:
        return None
    return f"/images?before={cursor_text(images[-1].cursor)}&limit={limit}"


def listing_body(images: Sequence[ListedImage], following: str | None) -> bytes:
    """Return a page of the listing as JSON, with times in RFC 3339 form."""
    return msgspec.json.encode({"images": [*map(_image, images)], "next": following})


def _image(image: ListedImage) -> _Image:
    about = image.record.about
    name = image.spec.sha256
    return _Image(
        sha256=name,
        size=image.spec.size,
        completed=_moment(image.completed),
        title=about.title,
        description=about.description,
        author=about.author,
        licence=about.licence,
        tags=about.tags,
        expires=_moment(about.expires) if about.expires else None,
        image=f"/image/{name}",
        page=f"/i/{name[:12]}",
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
