"""What the header fields of a GET or HEAD of an image ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from asciid.api._digests import USUAL_DIGEST, preferred_algorithm
from asciid.api._list_fields import all_lines
from asciid.api._negotiation import (
    ANY_CODING,
    AcceptedCodings,
    accepted_codings,
    takes_text,
)
from asciid.http import cached_by_fields, names_of

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = ["Selection", "select"]


_CONDITIONS = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)
_FIELDS = _CONDITIONS | {b"accept", b"accept-encoding", b"range", b"want-repr-digest"}


class Selection(Struct, frozen=True):
    """
    What the header fields of a request ask for, as far as they alone decide it.

    Whether a condition holds, and what a range is, depends on the image, too.
    """

    takes_text: bool
    """Whether Accept permits the media type of images."""
    codings: AcceptedCodings
    ranges: bytes | None
    """Range, if only the identity coding is needed to send one."""
    is_conditional: bool
    """Whether there is a precondition (RFC 9110, section 13.1) but If-Range."""
    digest: bytes | None
    """The algorithm of Repr-Digest; None: the client wants none."""


_ANY = Selection(
    takes_text=True,
    codings=ANY_CODING,
    ranges=None,
    is_conditional=False,
    digest=USUAL_DIGEST,
)


@cached_by_fields
def select(request: Request) -> Selection:
    """Return what the header fields of a request ask for."""
    names = names_of(request)
    if _FIELDS.isdisjoint(names):
        return _ANY
    header = request.getHeader
    accept = header(b"accept")
    accept_encoding = header(b"accept-encoding")
    codings = (
        ANY_CODING if accept_encoding is None else accepted_codings(accept_encoding)
    )
    digest: bytes | None = USUAL_DIGEST
    if header(b"want-repr-digest") is not None:
        digest = preferred_algorithm(all_lines(request, b"want-repr-digest"))
    return Selection(
        accept is None or _takes_text(request, accept),
        codings,
        header(b"range") if codings.identity else None,
        not _CONDITIONS.isdisjoint(names),
        digest,
    )


def _takes_text(request: Request, accept: bytes) -> bool:
    # The last line is enough to accept; all lines are needed to refuse.
    return takes_text(accept) or takes_text(all_lines(request, b"accept"))
