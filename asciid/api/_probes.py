"""
Liveness and readiness probes.

Responses are made of cached state, without waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from asciid.api._refusals import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asciid.api._request_interface import Request

__all__ = ["answer_live", "answer_ready"]


def answer_live(request: Request) -> bytes:
    """Respond that the process is alive."""
    return _answer(request, {"live": True})


def answer_ready(
    request: Request, failed: Mapping[str, str | None], remarks: Mapping[str, str]
) -> bytes:
    """
    Respond 200 if all checks pass; the body has each check.

    `failed` has the reason of failure, or None, by name of the check; `remarks` has
    remarks on passing checks.

    Errors: `NotReadyError`.
    """
    checks: dict[str, dict[str, object]] = {
        name: {"ok": True} if reason is None else {"ok": False, "reason": reason}
        for name, reason in failed.items()
    }
    for name, remark in remarks.items():
        checks[name].setdefault("reason", remark)
    if any(failed.values()):
        raise NotReadyError(checks)
    return _answer(request, {"ready": True, "checks": checks})


def _answer(request: Request, document: object) -> bytes:
    body = msgspec.json.encode(document)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.setHeader(b"Cache-Control", b"no-store")
    return body
