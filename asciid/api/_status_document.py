"""The status document of an upload."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from asciid.model import UploadStatus

__all__ = ["status_body", "status_link"]


def status_link(sha256: str) -> bytes:
    """Return a Link field (RFC 8288) to the status of an upload."""
    return f'</image/{sha256}/chunks>; rel="status"'.encode("ascii")


def status_body(status: UploadStatus) -> bytes:
    """Return a status as JSON, with times in RFC 3339 form."""
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
