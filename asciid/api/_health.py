"""
Health, for whatever restarts the process or sends it requests.

Both answers are made of what is known already: they wait for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from asciid.api._refusals import NotReadyError

if TYPE_CHECKING:
    from asciid.api._request import Request
    from asciid.store import StoreHealth

__all__ = ["answer_live", "answer_ready"]


def answer_live(request: Request) -> bytes:
    """Answer that the reactor turns: it called this."""
    return _answer(request, {"live": True})


def answer_ready(request: Request, store: StoreHealth, *, draining: bool) -> bytes:
    """
    Answer 200 if all checks hold; the body names each.

    Errors: `NotReadyError`.
    """
    reasons = {
        "storage": None if store.open else "The storage is not open.",
        "writes": None if store.writes else "The last write to the disk failed.",
        "room": None if store.has_room else "The disk has no room but the reserve.",
        "serving": "The service is stopping." if draining else None,
    }
    checks: dict[str, dict[str, object]] = {
        name: {"ok": True} if reason is None else {"ok": False, "reason": reason}
        for name, reason in reasons.items()
    }
    if any(reasons.values()):
        raise NotReadyError(checks)
    return _answer(request, {"ready": True, "checks": checks})


def _answer(request: Request, document: object) -> bytes:
    body = msgspec.json.encode(document)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.setHeader(b"Cache-Control", b"no-store")
    return body
