"""Whether a stream leads to the journal of systemd."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

__all__ = ["error_prefix", "is_journal"]


def is_journal(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """
    Return whether `stream` is the one that JOURNAL_STREAM names (systemd.exec(5)).

    The variable is inherited by processes whose output is redirected elsewhere, so
    device and inode decide.
    """
    named = environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False  # it is closed, or no file
    return named == f"{status.st_dev}:{status.st_ino}"


def error_prefix(stream: IO[str] | None, environ: Mapping[str, str]) -> str:
    """Return the priority of an error (sd-daemon(3)) if `stream` is the journal."""
    return "<3>" if stream is not None and is_journal(stream, environ) else ""
