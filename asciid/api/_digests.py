"""Digest fields (RFC 9530), which are structured fields (RFC 8941)."""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import TYPE_CHECKING

from asciid.api._list_fields import all_lines
from asciid.api._refusals import DigestMismatchError, MalformedRequestError

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = [
    "ALGORITHMS",
    "ContentDigest",
    "check_content_digest",
    "digest_field",
    "parse_dictionary",
    "preferred_algorithm",
]

ALGORITHMS = {b"sha-256": hashlib.sha256, b"sha-512": hashlib.sha512}
"""Those that are safe (RFC 9530, section 5), the one preferred here first."""

_KEY = rb"[a-z*][a-z0-9_\-.*]*"
_ITEM = (
    rb"(?::[A-Za-z0-9+/=]*:"
    rb"|-?[0-9]{1,15}(?:\.[0-9]{1,3})?"
    rb'|"(?:[ !#-\[\]-~]|\\["\\])*"'
    rb"|\?[01]"
    rb"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*)"
)
# One after the other: a member, with what is before the next, or all that is wrong.
_find_members = re.compile(
    rb"(?>(%b)(?:=(%b))?(?:;[ ]*%b(?:=%b)?)*+)(?:[ \t]*,[ \t]*(?=[^ \t])|\Z)|(.+)"
    % (_KEY, _ITEM, _KEY, _ITEM),
    re.DOTALL,
).findall

# As many as a parser must take (RFC 8941, section 3.2).
_MAX_MEMBERS = 1_024
_MAX_FIELD = 4 * 1024


def parse_dictionary(field: bytes) -> dict[bytes, bytes] | None:
    """
    Read a dictionary (RFC 8941, section 3.2) whose members are items.

    Return the items as they are written, their parameters left out, or None
    if the field is malformed, has a list as a member, or is longer than 4 KiB or
    1,024 members.
    """
    field = field.strip(b" ")
    if len(field) > _MAX_FIELD or field.count(b",") >= _MAX_MEMBERS:
        return None
    members = _find_members(field)
    if members and members[-1][2]:
        return None
    return {key: item or b"?1" for key, item, _ in members}


def digest_field(algorithm: bytes, digest: bytes) -> bytes:
    """Return a Repr-Digest or Content-Digest of one digest."""
    encoded = binascii.b2a_base64(digest, newline=False)
    return b"%b=:%b:" % (algorithm, encoded)


def preferred_algorithm(wanted: bytes) -> bytes | None:
    """
    Return the algorithm a Want-Repr-Digest field likes best, if it likes any.

    A field that names no known algorithm, or is malformed, says nothing: then
    it is sha-256.  None means that the client wants none (section 4).
    """
    weights: dict[bytes, int] = {
        algorithm: int(weight)
        for algorithm, weight in (parse_dictionary(wanted) or {}).items()
        if algorithm in ALGORITHMS and weight.isdigit()
    }
    if not weights:
        return b"sha-256"
    best = max(ALGORITHMS, key=lambda algorithm: weights.get(algorithm, 0))
    return best if weights.get(best) else None


class ContentDigest:
    """
    Checks a body against a request's Content-Digest while it arrives.

    Algorithms other than `ALGORITHMS` are ignored; without the field, or
    without a known algorithm in it, anything passes.

    Errors: `MalformedRequestError` if the field is malformed.
    """

    def __init__(self, request: Request) -> None:
        self._checks = []
        if request.getHeader(b"content-digest") is None:
            return
        stated = parse_dictionary(all_lines(request, b"content-digest"))
        if stated is None:
            raise MalformedRequestError(_MALFORMED)
        self._checks = [
            (algorithm, _decode(stated[algorithm]), make())
            for algorithm, make in ALGORITHMS.items()
            if algorithm in stated
        ]

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        for _, _, actual in self._checks:
            actual.update(piece)

    def verify(self) -> None:
        """
        Compare, after the last piece.

        Errors: `DigestMismatchError`.
        """
        for algorithm, stated, actual in self._checks:
            if actual.digest() != stated:
                raise DigestMismatchError(algorithm)

    def check(self, body: bytes) -> None:
        """
        Check a whole body.

        Errors: those of `verify`.
        """
        self.update(body)
        self.verify()


def check_content_digest(request: Request, body: bytes) -> None:
    """
    Check a whole body against its request's Content-Digest, if there is one.

    Errors: `MalformedRequestError`, `DigestMismatchError`.
    """
    if request.getHeader(b"content-digest") is not None:
        ContentDigest(request).check(body)


_MALFORMED = (
    "Content-Digest must be a dictionary of byte sequences, such as sha-256=:...:, in "
    "4096 bytes at most."
)


def _decode(item: bytes) -> bytes:
    if not item.startswith(b":"):
        raise MalformedRequestError(_MALFORMED)
    encoded = item.strip(b":").rstrip(b"=")
    try:
        return binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4))
    except binascii.Error as error:
        raise MalformedRequestError(_MALFORMED) from error
