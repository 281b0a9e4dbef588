"""A storage of format 1, which an earlier release has written."""

from __future__ import annotations

import gzip
from pathlib import Path

__all__ = ["BY_COMPLETION", "GONE", "PENDING", "QUARANTINED", "write_format_1"]

BY_COMPLETION = [b"cat", b"dog", b"owl", b"x" * 5_000, b"late!"]
"""Its complete images, in chunks of 4 or 1,000 bytes; the last was registered early."""

PENDING, GONE, QUARANTINED = b"pending", b"old", b"bat"


def write_format_1(path: str | Path) -> None:
    """Write the storage into a new directory."""
    source = Path(__file__).with_name("format1.mdb.gz")
    directory = Path(path)
    directory.mkdir()
    (directory / "data.mdb").write_bytes(gzip.decompress(source.read_bytes()))
