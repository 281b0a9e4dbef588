"""
Health, for whatever restarts the process or sends it requests.

Both answers are made of what is known already: they wait for nothing.
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
    """Answer that the reactor turns: it called this."""
    return _answer(request, {"live": True})


def answer_ready(
    request: Request, failed: Mapping[str, str | None], remarks: Mapping[str, str]
) -> bytes:
    """
    Answer 200 if all checks pass; the body names each.

    `failed` has the reason why a check fails, or None, by the name of the check;
    `remarks` has what is to be known of checks that pass.

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
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.setHeader(b"Cache-Control", b"no-store")
    return body
