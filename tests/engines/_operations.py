"""Operations that several tests of engines apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.store.operations import AddChunk, Register
from asciid.store.rules import PIECE
from tests.store._support import chunk_of, spec_of

if TYPE_CHECKING:
    from asciid.model import NewImage
    from asciid.store.operations import AnyOperation

__all__ = ["pieces_of", "upload_of"]


def upload_of(
    data: bytes, chunk_size: int = 4, new: NewImage | None = None
) -> list[AnyOperation]:
    """Return the operations that register an image and store its chunks."""
    spec = spec_of(data, chunk_size)
    chunks = [
        AddChunk(spec.sha256, i, chunk_of(data, spec, i)) for i in range(spec.chunks)
    ]
    return [Register(spec, "", new), *chunks]


def pieces_of(data: bytes) -> list[bytes]:
    """Return the pieces that a staged image is stored in."""
    return [data[i : i + PIECE] for i in range(0, len(data), PIECE)]
