"""Authorization of writes by bearer tokens (RFC 6750)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from asciid.api._refusals import (
    AuthorizationMalformedError,
    TokenInvalidError,
    TokenMissingError,
)
from asciid.http import values_of

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = ["Access", "Tokens"]

READS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""The methods that require no token."""

# RFC 9110, section 11.4: scheme names are case-insensitive.
_bearer = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE).fullmatch


class Tokens(Protocol):
    """Verifies tokens."""

    def accepts(self, token: bytes) -> bool:
        """Return whether `token` is valid."""


class Access:
    """Authorizes writes with one of `tokens`."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def check(self, request: Request) -> None:
        """
        Check the authorization of a request.

        Errors: `TokenMissingError`, also for another scheme than Bearer;
        `TokenInvalidError`; `AuthorizationMalformedError` (RFC 6750, section 3.1).
        """
        lines = values_of(request, b"authorization")
        if len(lines) > 1:
            raise AuthorizationMalformedError
        if not lines or lines[0].partition(b" ")[0].lower() != b"bearer":
            raise TokenMissingError
        found = _bearer(lines[0])
        if found is None:
            raise AuthorizationMalformedError
        if not self._tokens.accepts(found[1]):
            raise TokenInvalidError
