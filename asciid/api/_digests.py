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
    "USUAL_DIGEST",
    "ContentDigest",
    "check_content_digest",
    "digest_field",
    "parse_dictionary",
    "preferred_algorithm",
]

ALGORITHMS = {b"sha-256": hashlib.sha256, b"sha-512": hashlib.sha512}
"""The secure algorithms (RFC 9530, section 5), the preferred one first."""

USUAL_DIGEST = b"sha-256"
"""The algorithm of Repr-Digest for clients that do not ask for another one."""

_KEY = rb"[a-z*][a-z0-9_\-.*]*"
_ITEM = (
    rb"(?::[A-Za-z0-9+/=]*:"
    rb"|-?[0-9]{1,15}(?:\.[0-9]{1,3})?"
    rb'|"(?:[ !#-\[\]-~]|\\["\\])*"'
    rb"|\?[01]"
    rb"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*)"
)
# Matches a member with its separator, or the malformed rest.
_find_members = re.compile(
    rb"(?>(%b)(?:=(%b))?(?:;[ ]*%b(?:=%b)?)*+)(?:[ \t]*,[ \t]*(?=[^ \t])|\Z)|(.+)"
    % (_KEY, _ITEM, _KEY, _ITEM),
    re.DOTALL,
).findall

# The minimum that a parser must support (RFC 8941, section 3.2).
_MAX_MEMBERS = 1_024
_MAX_FIELD = 4 * 1024


def parse_dictionary(field: bytes) -> dict[bytes, bytes] | None:
    """
    Parse a dictionary (RFC 8941, section 3.2) whose members are items.

    Return the serialized items without parameters, or None if the field is malformed,
    has a list as a member, or exceeds 4 KiB or 1,024 members.
    """
    field = field.strip(b" ")
    if len(field) > _MAX_FIELD or field.count(b",") >= _MAX_MEMBERS:
        return None
    members = _find_members(field)
    if members and members[-1][2]:
        return None
    return {key: item or b"?1" for key, item, _ in members}


def digest_field(algorithm: bytes, digest: bytes) -> bytes:
    """Return a Repr-Digest or Content-Digest field of one digest."""
    encoded = binascii.b2a_base64(digest, newline=False)
    return b"%b=:%b:" % (algorithm, encoded)


def preferred_algorithm(wanted: bytes) -> bytes | None:
    """
    Return the preferred algorithm of a Want-Repr-Digest field, if any.

    The default is sha-256, also if the field is malformed or names no known algorithm.
    None means that the client wants none (section 4).
    """
    weights: dict[bytes, int] = {
        algorithm: int(weight)
        for algorithm, weight in (parse_dictionary(wanted) or {}).items()
        if algorithm in ALGORITHMS and weight.isdigit()
    }
    if not weights:
        return USUAL_DIGEST
    best = max(ALGORITHMS, key=lambda algorithm: weights.get(algorithm, 0))
    return best if weights.get(best) else None


class ContentDigest:
    """
    Verifies a request body against Content-Digest as it arrives.

    Unknown algorithms are ignored; without a known one there is no check.

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
        """Process the next piece of the body."""
        for _, _, actual in self._checks:
            actual.update(piece)

    def verify(self) -> None:
        """
        Verify the digests after the last piece.

        Errors: `DigestMismatchError`.
        """
        for algorithm, stated, actual in self._checks:
            if actual.digest() != stated:
                raise DigestMismatchError(algorithm)

    def check(self, body: bytes) -> None:
        """
        Verify a whole body.

        Errors: those of `verify`.
        """
        self.update(body)
        self.verify()


def check_content_digest(request: Request, body: bytes) -> None:
    """
    Verify a whole body against the request's Content-Digest, if any.

    Errors: `MalformedRequestError`, `DigestMismatchError`.
    """
    ContentDigest(request).check(body)


_MALFORMED = (
    "Malformed Content-Digest: expected a dictionary of byte sequences, such as "
    "sha-256=:...:, of at most 4096 bytes."
)


def _decode(item: bytes) -> bytes:
    if not item.startswith(b":"):
        raise MalformedRequestError(_MALFORMED)
    encoded = item.strip(b":").rstrip(b"=")
    try:
        return binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4))
    except binascii.Error as error:
        raise MalformedRequestError(_MALFORMED) from error
