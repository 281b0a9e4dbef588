"""Places in the listing, as clients send them back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asciid.api._refusals import MalformedRequestError
from asciid.model import Cursor

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = ["cursor_text", "parse_cursor"]

# Opaque to clients; 63 bits are what an engine takes.
_parse = re.compile(r"([0-7]?[0-9a-f]{1,15})-([0-7]?[0-9a-f]{1,15})").fullmatch


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as it stands in links."""
    return f"{cursor.completed:x}-{cursor.number:x}"


def parse_cursor(request: Request) -> Cursor | None:
    """
    Return the cursor in the query of a request, None without one.

    Errors: `MalformedRequestError`.
    """
    values = request.args.get(b"before")
    if not values or not values[-1]:
        return None
    match = _parse(values[-1].decode("latin-1"))
    if match is None:
        message = "before is not a cursor: follow the links of an earlier response."
        raise MalformedRequestError(message)
    return Cursor(int(match[1], 16), int(match[2], 16))
