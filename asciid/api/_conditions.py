"""Conditional requests (RFC 9110, section 13)."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asciid.api._list_fields import all_lines
from asciid.api._refusals import PreconditionFailedError
from asciid.http import cached_by_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from asciid.api._request_interface import Request

__all__ = [
    "check_write",
    "has_write_condition",
    "last_modified",
    "parse_http_date",
    "range_applies",
    "unmodified_tag",
]

_MONTHS = (
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun",
    b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
)  # fmt: skip

_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = tuple(
    re.compile(pattern).fullmatch
    for pattern in (
        rb"[A-Z][a-z]{2}, (?P<day>\d\d) %b (?P<year>\d{4}) %b GMT" % (_MONTH, _TIME),
        rb"[A-Z][a-z]+day, (?P<day>\d\d)-%b-(?P<year>\d\d) %b GMT" % (_MONTH, _TIME),
        rb"[A-Z][a-z]{2} %b (?P<day>[ \d]\d) %b (?P<year>\d{4})" % (_MONTH, _TIME),
    )
)
"""The three forms of a date (RFC 9110, section 5.6.7), the preferred one first."""

_MAX_TAGS = 4 * 1024
"""Maximum bytes of a list of entity tags: more than 50 tags of images."""

_MAX_DATE = 64
"""Maximum bytes of a date in any of the forms."""

_find_tags = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"').findall


def unmodified_tag(
    request: Request,
    etag: bytes,
    modified: int | None = None,
    others: Callable[[], Collection[bytes]] = tuple,
) -> bytes | None:
    """
    Evaluate the preconditions of a GET or HEAD in the order of section 13.2.2.

    `etag` is the strong entity tag, with its quotes, of the selected representation,
    `modified` its Last-Modified in seconds since the epoch; without one, conditions on
    it are ignored (section 13.1.3).  `others` returns the tags of equivalent
    representations, which match as well.

    Return the entity tag for a 304, None for a full response.  Errors:
    `PreconditionFailedError`.
    """
    header = request.getHeader
    if header(b"if-match") is not None:
        if not _names_strongly(request, {etag, *others()}):
            raise PreconditionFailedError(b"If-Match")
    elif modified is not None and header(b"if-unmodified-since") is not None:
        _check_unmodified_since(request, modified)
    none_match = header(b"if-none-match")
    if none_match is not None:
        if none_match == etag:
            return etag
        named = _weakly_named(request)
        if named is None or etag in named:
            return etag
        return min(named.intersection(others()), default=None)
    if modified is None:
        return None
    modified_since = _date(header(b"if-modified-since"))
    if modified_since is None or modified > modified_since:
        return None
    return etag


def last_modified(completed: float, now: float) -> int:
    """
    Return the Last-Modified of an image in seconds since the epoch.

    Never later than Date (section 8.8.2.1).
    """
    return int(min(now, completed))


@cached_by_fields
def has_write_condition(request: Request) -> bool:
    """Return whether `check_write` could refuse the request."""
    header = request.getHeader
    return not (
        header(b"if-match") is None
        and header(b"if-none-match") is None
        and header(b"if-unmodified-since") is None
    )


def check_write(
    request: Request, etags: Collection[bytes], modified: int | None = None
) -> None:
    """
    Evaluate the preconditions of a PUT or DELETE in the order of section 13.2.2.

    `etags` are the strong entity tags, with their quotes, of all current
    representations, `modified` their Last-Modified in seconds since the epoch.  Without
    one there are no tags, and If-Unmodified-Since is ignored (section 13.1.4).

    Errors: `PreconditionFailedError`.
    """
    header = request.getHeader
    if header(b"if-match") is not None:
        if not etags or not _names_strongly(request, etags):
            raise PreconditionFailedError(b"If-Match")
    elif modified is not None:
        _check_unmodified_since(request, modified)
    if etags and header(b"if-none-match") is not None:
        named = _weakly_named(request)
        # The unread rest may contain the tag.
        unread = len(all_lines(request, b"if-none-match")) > _MAX_TAGS
        if named is None or unread or not named.isdisjoint(etags):
            raise PreconditionFailedError(b"If-None-Match")


def _check_unmodified_since(request: Request, modified: int) -> None:
    unmodified_since = _date(request.getHeader(b"if-unmodified-since"))
    if unmodified_since is not None and modified > unmodified_since:
        raise PreconditionFailedError(b"If-Unmodified-Since")


def _names_strongly(request: Request, etags: Collection[bytes]) -> bool:
    tags = all_lines(request, b"if-match")[:_MAX_TAGS]
    # Weak tags keep their W/, so they never match.
    return tags.strip() == b"*" or not {*_find_tags(tags)}.isdisjoint(etags)


def _weakly_named(request: Request) -> set[bytes] | None:
    """Return the tags in If-None-Match as strong ones; None for ``*``."""
    field = all_lines(request, b"if-none-match")[:_MAX_TAGS]
    if field.strip() == b"*":
        return None
    return {tag.removeprefix(b"W/") for tag in _find_tags(field)}


def range_applies(request: Request, etag: bytes, modified: int | None) -> bool:
    """
    Return whether If-Range, if any, permits sending a range.

    A date must equal Last-Modified (section 13.1.5).  It is a strong validator (section
    8.8.2.2): the image of a hash never changes.  `modified` is None if the client may
    have received another representation with the same date.
    """
    condition = request.getHeader(b"if-range")
    if condition is None:
        return True
    condition = condition.strip()
    return condition == etag or (modified is not None and _date(condition) == modified)


def parse_http_date(
    text: bytes, *, clock: Callable[[], float] = time.time
) -> int | None:
    """
    Return a date in seconds since the epoch, or None if malformed.

    Two-digit years are at most 50 years after `clock`.
    """
    match = next(filter(None, (form(text) for form in _DATES)), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == len("99"):
        latest = time.gmtime(clock()).tm_year + 50
        year = latest - (latest - year) % 100
    try:
        date = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            # Seconds since the epoch have no leap seconds.
            min(int(match["second"]), 59),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return int(date.timestamp())


def _date(field: bytes | None) -> int | None:
    if field is None or len(field) > _MAX_DATE:
        return None
    return parse_http_date(field.strip())
