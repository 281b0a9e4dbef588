"""Content negotiation (RFC 9110, section 12.5)."""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen

from asciid.api._list_fields import weighted_members

__all__ = [
    "ANY_CODING",
    "CODINGS",
    "AcceptedCodings",
    "accepted_codings",
    "names_html",
    "takes_text",
]

CODINGS = (b"zstd", b"gzip")
"""The supported content codings, the better one first."""

# There are few different values in practice: cached.
_KEPT = 64

_RANGES = {b"text/plain": 2, b"text/*": 1, b"*/*": 0, b"*": 0}
"""Media ranges that match text/plain -> specificity."""
_HTML = frozenset({b"text/html", b"application/xhtml+xml"})
_CHARSET = b"charset=utf-8"


@frozen
class AcceptedCodings:
    """The supported codings that Accept-Encoding permits."""

    preferred: tuple[bytes, ...]
    """Codings with at least the weight of identity, best first."""
    identity: bool
    """Whether identity is acceptable."""


ANY_CODING = AcceptedCodings((), identity=True)
"""The default without Accept-Encoding."""


@lru_cache(maxsize=_KEPT)
def takes_text(accept: bytes) -> bool:
    """
    Return whether an Accept field permits ``text/plain; charset=utf-8``.

    The most specific media range decides.  A field without media ranges permits it.
    """
    said = False
    specific, weight = -1, 0.0
    for name, parameters, member_weight in weighted_members(accept):
        said = said or b"/" in name or name == b"*"
        rank = _RANGES.get(name)
        if rank is None or any(p.replace(b" ", b"") != _CHARSET for p in parameters):
            continue
        # A range with parameters is more specific than any without.
        rank += len(_RANGES) if parameters else 0
        if rank > specific:
            specific, weight = rank, member_weight
        elif rank == specific:
            weight = max(weight, member_weight)
    return weight > 0 or not said


@lru_cache(maxsize=_KEPT)
def names_html(accept: bytes) -> bool:
    """
    Return whether an Accept field names HTML, as those of browsers do.

    A wildcard does not: programs send it that would rather have text.
    """
    return any(
        name in _HTML and weight > 0 for name, _, weight in weighted_members(accept)
    )


@lru_cache(maxsize=_KEPT)
def accepted_codings(accept_encoding: bytes) -> AcceptedCodings:
    """Parse an Accept-Encoding field (RFC 9110, section 12.5.3)."""
    weights: dict[bytes, float] = {}
    for name, _, weight in weighted_members(accept_encoding):
        coding = b"gzip" if name == b"x-gzip" else name
        weights[coding] = max(weight, weights.get(coding, 0.0))
    others = weights.get(b"*")
    # If not listed, identity is acceptable, with the lowest preference.
    bare = weights.get(b"identity", others or 0.0)
    identity = weights.get(b"identity", 1.0 if others is None else others) > 0
    offered = {coding: weights.get(coding, others or 0.0) for coding in CODINGS}
    preferred = sorted(
        (coding for coding, weight in offered.items() if weight and weight >= bare),
        key=lambda coding: -offered[coding],
    )
    return AcceptedCodings(tuple(preferred), identity)
