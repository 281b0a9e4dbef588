"""The status document of an upload."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from asciid.api._cors import READ_FIELDS
from asciid.http import PreparedHead

if TYPE_CHECKING:
    from asciid.api._request_interface import Request
    from asciid.model import UploadStatus

__all__ = ["answer_status", "status_link"]

_HEAD = PreparedHead(
    200,
    (
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Type", b"application/json"),
        (b"Cache-Control", b"no-store"),
        *READ_FIELDS,
    ),
)


def status_link(sha256: str) -> bytes:
    """Return a Link field (RFC 8288) to the status of an upload."""
    return f'</image/{sha256}/chunks>; rel="status"'.encode("ascii")


def answer_status(status: UploadStatus, request: Request) -> bytes:
    """Answer with a status as JSON, with times in RFC 3339 form."""
    _HEAD.apply(request)
    spec = status.spec
    return msgspec.json.encode(
        {
            "sha256": spec.sha256,
            "size": spec.size,
            "chunk_size": spec.chunk_size,
            "chunks": spec.chunks,
            "state": status.state,
            "received": status.received,
            "missing": status.missing,
            "missing_cut": status.missing_cut,
            "created": _moment(status.created),
            "completed": _moment(status.completed),
            "expires": _moment(status.expires),
        }
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
