"""Reports damage that a read has found."""

from __future__ import annotations

from twisted.logger import Logger

from asciid.errors import StorageUnreadableError

__all__ = ["damaged"]

_log = Logger()


def damaged(sha256: str) -> StorageUnreadableError:
    """Log that an image is damaged; return the error for its reader."""
    _log.error("damaged image {sha256}; asciid verify lists it", sha256=sha256)
    return StorageUnreadableError()
