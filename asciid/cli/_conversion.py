"""Reads the files of ``asciid put`` and converts them to UTF-8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

from asciid.art.encodings import (
    AUTO,
    LARGEST_CONVERTED,
    Origin,
    UndecodableError,
    UnknownCharsetError,
    check_charset,
    check_size,
    decode,
    is_utf_8,
)
from asciid.client import AboutFields
from asciid.client.source import SMALL

if TYPE_CHECKING:
    from asciid.art.encodings import Sauce

__all__ = ["Art", "charset_option", "read_art", "require_text"]


_LONGEST = 200
"""Maximum bytes of a title or author."""


def _checked_charset(_: click.Context, __: click.Parameter, label: str) -> str:
    try:
        check_charset(label)
    except UnknownCharsetError as error:
        raise click.BadParameter(str(error)) from error
    return label


charset_option = click.option(
    "--charset",
    default=AUTO,
    callback=_checked_charset,
    metavar="CHARSET",
    help="Charset of the files.",
)


@frozen
class Art:
    """What to upload of a file."""

    content: bytes | Path
    """The text in UTF-8, or the path of the file if that is to be sent as it is."""
    growth: int
    """By how many bytes the text is larger than the file; may be negative."""
    charset: str
    """The name of the charset of the file."""
    about: AboutFields
    """What to say about the image: title, author, and how it has to be shown."""


def read_art(path: Path, charset: str, name: str) -> Art:
    """
    Read the file at `path`, which the user calls `name`, in `charset` or ``auto``.

    A file that is said to be UTF-8 is neither read nor converted, nor is one of more
    than `LARGEST_CONVERTED` bytes.

    Raises :exc:`OSError`, :exc:`asciid.art.encodings.UndecodableError`, and
    :exc:`asciid.art.encodings.UnknownCharsetError`.
    """
    size = path.stat().st_size
    check_size(size, charset)
    if size > LARGEST_CONVERTED or is_utf_8(charset):
        return Art(path, 0, Origin().charset, _about(name, None, Origin()))
    data = path.read_bytes()
    decoded = decode(data, charset, name)
    text = decoded.text.encode()
    content: bytes | Path = text
    if len(text) > SMALL and text == data:
        content = path  # need not stay in memory
    growth = len(text) - len(data)
    about = _about(name, decoded.sauce, decoded.origin)
    return Art(content, growth, decoded.charset, about)


def require_text(art: Art) -> None:
    """
    Refuse a file without text: it is what a pipe sends whose command has failed.

    Raises :exc:`OSError` and :exc:`asciid.art.encodings.UndecodableError`.
    """
    content = art.content
    if not (content if isinstance(content, bytes) else content.stat().st_size):
        reason = "the file has no text"
        raise UndecodableError(reason, None, "nothing was stored")


def _about(name: str, sauce: Sauce | None, origin: Origin) -> AboutFields:
    """Return title and author, of the record or the name, and the origin."""
    title = "" if name == "-" else Path(name).name
    author = ""
    if sauce is not None:
        title = sauce.title or title
        author = sauce.author or sauce.group
    return AboutFields(title=_line(title), author=_line(author), charset=str(origin))


def _line(text: str) -> str:
    """Return printable text of a limited length, as servers want it."""
    text = "".join(each for each in text if each.isprintable()).strip()
    return text.encode()[:_LONGEST].decode(errors="ignore")
