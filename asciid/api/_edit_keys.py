"""Edit keys: what lets the uploader of an image change and delete it later."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct

from asciid.http import encode_fields

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = ["EDIT_KEY", "EditKey", "new_edit_key", "sent_key_hash"]

EDIT_KEY = b"Asciid-Edit-Key"
"""The field that has a key: in the response that makes it, and in later requests."""

_LINE = encode_fields(((EDIT_KEY, b"%b"),))

_BYTES = 16
_is_key = re.compile(rb"[0-9a-f]{32}").fullmatch


class EditKey(Struct, frozen=True):
    """A new key of 128 random bits."""

    text: bytes
    """Four groups of eight hex digits."""
    key_hash: bytes
    """The SHA-256 of its bytes, all that is stored."""

    @property
    def line(self) -> bytes:
        """The line of that field, as `asciid.http.encode_fields` makes it."""
        return _LINE % self.text

    def send(self, request: Request) -> None:
        """Set the field of the response, which no cache may store."""
        request.setHeader(EDIT_KEY, self.text)
        request.setHeader(b"Cache-Control", b"no-store")


def new_edit_key() -> EditKey:
    """Return a random key."""
    key = secrets.token_bytes(_BYTES)
    return EditKey(key.hex("-", 4).encode("ascii"), sha256(key).digest())


def sent_key_hash(request: Request) -> bytes | None:
    """
    Return the hash of the key in a request, None without one.

    Case and hyphens do not matter.  What is no key has a hash that is never stored.
    """
    text = request.getHeader(EDIT_KEY)
    if text is None:
        return None
    digits = text.replace(b"-", b"").lower()
    key = bytes.fromhex(digits.decode("ascii")) if _is_key(digits) else text
    return sha256(key).digest()
