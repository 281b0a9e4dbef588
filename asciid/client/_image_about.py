"""What is said about an image, as clients send and receive it."""

from __future__ import annotations

import msgspec
from attrs import frozen

__all__ = ["NOTHING", "AboutFields", "ImageAbout", "header_fields", "said_fields"]

_MAX_HEADERS = 4096
"""Maximum bytes of all values in header fields; servers limit the head of requests."""


class AboutFields(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    What the uploader says about an image.

    The server checks the values; see "What is said about an image" in docs/protocol.md.
    """

    title: str = ""
    description: str = ""
    """The alternative text; may have several lines."""
    author: str = ""
    licence: str = ""
    """An SPDX license expression, or an http(s) URL."""
    tags: tuple[str, ...] = ()
    listed: bool | None = None
    """Whether listings name the image; None: as is the default of the server."""
    expires: str = ""
    """When to delete the image: a date of RFC 3339, or a time from now such as 7d."""
    charset: str = ""
    """
    What the text was converted from, and how it has to be shown, such as ``cp437;
    columns=160``; it is set by uploads alone.
    """


NOTHING = AboutFields()
"""Says nothing."""


@frozen
class ImageAbout:
    """What the server has stored beside an image."""

    fields: AboutFields
    etag: str
    """The entity tag, which changes with each change; empty if there was none."""


def header_fields(fields: AboutFields) -> dict[str, str] | None:
    """
    Return `fields` as header fields, such as ``Asciid-Title``.

    None if header fields cannot have one of the values, as several lines, or if they
    are long.
    """
    values = {
        "Title": fields.title,
        "Description": fields.description,
        "Author": fields.author,
        "Licence": fields.licence,
        "Tags": ", ".join(fields.tags),
        "Listed": "" if fields.listed is None else str(fields.listed).lower(),
        "Expires": fields.expires,
        "Charset": fields.charset,
    }
    total = "".join(values.values())
    if not total.isprintable() or len(total.encode()) > _MAX_HEADERS:
        return None
    return {f"Asciid-{name}": value for name, value in values.items() if value}


def said_fields(fields: AboutFields) -> dict[str, object]:
    """Return the members of `fields` for JSON, without the defaults and `charset`."""
    said: dict[str, object] = msgspec.to_builtins(fields)
    said.pop("charset", None)
    return said
