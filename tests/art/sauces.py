"""Makes SAUCE records for tests."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["record"]


def record(  # noqa: PLR0913 - one argument a field
    title: str = "",
    author: str = "",
    group: str = "",
    *,
    date: bytes = b"        ",
    file_size: int = 0,
    data_type: int = 1,
    file_type: int = 1,
    numbers: Sequence[int] = (0, 0, 0, 0),
    flags: int = 0,
    font: bytes = b"",
    comments: Sequence[str] = (),
    version: bytes = b"00",
) -> bytes:
    """Return ^Z, comments and a record, as they stand behind the text of a file."""
    lines = b"".join(each.encode("cp437").ljust(64) for each in comments)
    return (
        b"\x1a"
        + (b"COMNT" + lines if comments else b"")
        + struct.pack(
            "<5s2s35s20s20s8sIBB4HBB22s",
            b"SAUCE",
            version,
            title.encode("cp437").ljust(35),
            author.encode("cp437").ljust(20),
            group.encode("cp437").ljust(20),
            date,
            file_size,
            data_type,
            file_type,
            *numbers,
            len(comments),
            flags,
            font,
        )
    )
