"""
What a client says about an image: in header fields, a form or JSON.

Whatever the source, the fields have the names of `NAMES`, their values are text, and
`parse_about` has the rules.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import structs

from asciid.api._list_fields import all_lines
from asciid.art.encodings import Origin, UnknownCharsetError, name_of
from asciid.errors import InvalidAboutError
from asciid.http import cached_by_fields
from asciid.store import check_about

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asciid.api._request_interface import Request
    from asciid.model import About

__all__ = [
    "NAMES",
    "field_text",
    "parse_about",
    "parse_expires",
    "parse_origin",
    "sent_fields",
    "sent_origin",
]

NAMES = ("title", "description", "author", "licence", "tags", "listed", "expires")
"""Every field; ``Asciid-Title`` is the header field of the first."""

_HEADERS = {name: f"asciid-{name}".encode("ascii") for name in NAMES}
_ORIGIN = b"asciid-charset"
_FLAGS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_split_duration = re.compile(r"([0-9]{1,9})([smhd]?)").fullmatch
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60}
_A_TIME = "neither a time from now such as 15m, 24h or 7d, nor a date of RFC 3339"


@cached_by_fields
def sent_fields(request: Request) -> Mapping[str, str]:
    """
    Return the fields that a request has as header fields, such as ``Asciid-Title``.

    Their values are UTF-8.  The lines of a repeated one are joined by commas.

    Errors: `InvalidAboutError`.
    """
    return {
        name: field_text(name, all_lines(request, header))
        for name, header in _HEADERS.items()
        if request.getHeader(header) is not None
    }


@cached_by_fields
def sent_origin(request: Request) -> str:
    """
    Return what ``Asciid-Charset`` says that the body was converted from.

    Errors: `InvalidAboutError`.
    """
    value = request.getHeader(_ORIGIN)
    return "" if value is None else parse_origin(field_text("charset", value))


def parse_origin(text: str) -> str:
    """
    Return what a text was converted from, and how it has to be shown, as it is stored.

    Errors: `InvalidAboutError` if the charset is unknown.
    """
    origin = Origin.parse(text)
    try:
        charset = name_of(origin.charset)
    except UnknownCharsetError:
        raise InvalidAboutError("charset", "unknown") from None
    return str(Origin(charset, origin.columns, origin.ice_colours))


def field_text(name: str, value: bytes) -> str:
    """
    Return the text of a field.

    Errors: `InvalidAboutError` if it is not UTF-8.
    """
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidAboutError(name, "not UTF-8") from error


def parse_about(fields: Mapping[str, str], defaults: About, now: float) -> About:
    """
    Return what the fields say, and `defaults` where they say nothing.

    Other names than those of `NAMES` are ignored.  `now` is in seconds since the epoch.

    Errors: `InvalidAboutError`.
    """
    values: dict[str, Any] = {}
    for name in ("title", "author", "licence"):
        if fields.get(name, "").strip():
            values[name] = fields[name].strip()
    if "description" in fields:
        values["description"] = _lines(fields["description"])
    if "tags" in fields:
        tags = [tag.strip() for tag in fields["tags"].split(",")]
        values["tags"] = tuple(tag for tag in tags if tag)
    if "listed" in fields:
        values["listed"] = _flag(fields["listed"])
    values["expires"] = parse_expires(fields.get("expires", ""), now)
    about = structs.replace(defaults, **values)
    check_about(about)
    return about


def parse_expires(text: str, now: float) -> int:
    """
    Return a time in milliseconds since the epoch, 0 for an empty text.

    That is a duration from `now`, in seconds since the epoch, or a date.

    Errors: `InvalidAboutError`, also if it is not in the future.
    """
    text = text.strip()
    if not text:
        return 0
    duration = _split_duration(text.lower())
    if duration is not None:
        seconds = int(duration[1]) * _SECONDS[duration[2]]
        expires = now + seconds
    else:
        expires = _date(text)
    if expires <= now:
        raise InvalidAboutError("expires", "not in the future")
    return int(expires * 1000)


def _date(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return (moment - datetime.fromtimestamp(0, UTC)).total_seconds()
    except (ValueError, OverflowError):
        pass
    raise InvalidAboutError("expires", _A_TIME)


def _lines(text: str) -> str:
    # Forms end lines with CRLF (HTML, "constructing the entry list").
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _flag(text: str) -> bool:
    flag = _FLAGS.get(text.strip().lower())
    if flag is None:
        raise InvalidAboutError("listed", "neither true nor false")
    return flag
