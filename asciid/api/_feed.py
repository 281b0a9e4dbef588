"""The feed of the newest images (RFC 4287)."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asciid.model import ListedImage

__all__ = ["FEED_LENGTH", "feed_body", "xml_text"]

FEED_LENGTH = 20
"""Images in the feed."""

# XML 1.0, section 2.2: no document can have these.
_NO_XML = dict.fromkeys((*range(32), 65534, 65535), "�")
for _allowed in (9, 10, 13):
    del _NO_XML[_allowed]


def xml_text(text: str) -> str:
    """Return `text` as the content of an XML element."""
    return escape(text.translate(_NO_XML))


def feed_body(images: Sequence[ListedImage], base: str) -> bytes:
    """Return the feed of `images`, the newest first; `base` is the host's URL."""
    updated = _moment(images[0].completed if images else 0)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<id>{xml_text(base)}/feed.atom</id>",
        f"<title>asciid: {xml_text(base.partition('://')[2])}</title>",
        f"<updated>{updated}</updated>",
        "<author><name>asciid</name></author>",
        f'<link rel="self" type="application/atom+xml" href="{base}/feed.atom"/>',
        f'<link rel="alternate" type="text/html" href="{base}/"/>',
        *(line for image in images for line in _entry(image, base)),
        "</feed>\n",
    ]
    return "\n".join(lines).encode("utf-8", "replace")


def _entry(image: ListedImage, base: str) -> Iterator[str]:
    about = image.record.about
    name = image.spec.sha256
    moment = _moment(image.completed)
    yield "<entry>"
    # RFC 6920: the same wherever the image is hosted.
    digest = urlsafe_b64encode(bytes.fromhex(name)).decode("ascii").rstrip("=")
    yield f"<id>ni:///sha-256;{digest}</id>"
    yield f"<title>{xml_text(about.title or name[:12])}</title>"
    yield f"<published>{moment}</published>"
    yield f"<updated>{moment}</updated>"
    if about.author:
        yield f"<author><name>{xml_text(about.author)}</name></author>"
    if about.description:
        yield f"<summary>{xml_text(about.description)}</summary>"
    if about.licence:
        yield f"<rights>{xml_text(about.licence)}</rights>"
    for tag in about.tags:
        yield f"<category term={quoteattr(tag.translate(_NO_XML))}/>"
    yield f'<link rel="alternate" type="text/html" href="{base}/i/{name[:12]}"/>'
    yield (
        f'<link rel="enclosure" type="text/plain" length="{image.spec.size}" '
        f'href="{base}/image/{name}"/>'
    )
    yield "</entry>"


def _moment(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
