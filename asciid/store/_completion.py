"""Tells the log of images that became complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from asciid.model import ImageSpec

__all__ = ["log_complete"]

_log = Logger()


def log_complete(spec: ImageSpec) -> None:
    """Log that the image of `spec` can be downloaded from now on."""
    _log.info(
        "Image {sha256} is complete, {size} bytes", sha256=spec.sha256, size=spec.size
    )
