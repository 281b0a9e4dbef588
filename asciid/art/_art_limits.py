"""Bounds on what is rendered, and the error beyond them."""

from __future__ import annotations

from attrs import frozen

from asciid.errors import AsciidError

__all__ = ["LIMITS", "Limits", "TooLargeError"]


class TooLargeError(AsciidError):
    """The text exceeds a limit of rendering; it can be shown as plain text."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"art too large: more than {limit} {what}")
        self.what = what
        self.limit = limit


@frozen(kw_only=True)
class Limits:
    """What :func:`asciid.art.parse` accepts; beyond it raises `TooLargeError`."""

    characters: int = 1 << 20
    """Code points of the text, escape sequences included."""
    columns: int = 999
    """Columns of a row."""
    rows: int = 10_000
    """Rows."""
    cells: int = 400_000
    """Cells of all rows together, each counted up to the last one written."""
    code_points: int = 32
    """Code points of one cell: a character with its combining marks."""
    work: int = 4_000_000
    """Cells that are skipped, erased, inserted, deleted or repeated; a row is 16."""


LIMITS = Limits()
"""The limits unless others are given."""
