"""The error of renderings that need more than is installed."""

from __future__ import annotations

from asciid.errors import AsciidError

__all__ = ["PNGUnavailableError"]


class PNGUnavailableError(AsciidError):
    """Pillow or a font is missing."""
