"""The plan of a simulation, and the uploads it consists of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from asciid.simulate._art import Art, Gallery

__all__ = ["ONE_FAULT_IN", "Piece", "Plan", "Send", "pieces"]

ONE_FAULT_IN = 6
"""One chunk in this many is cut off, and one in this many is repeated."""


@frozen
class Plan:
    """The plan of a simulation."""

    files: int | None
    """Number of images, from 1; None: unlimited, until `seconds` have passed."""
    chunk_size: int
    """Chunk size in bytes, from 1."""
    parallel: int
    """Maximum images in flight, from 1."""
    downloads: int = 1
    """Downloads of each image, from 1."""
    rate: float = 0
    """Maximum images started per second; 0: unlimited."""
    seconds: float = 0
    """Seconds after which no image is started; 0: no limit."""


@frozen
class Send:
    """One upload of one chunk."""

    chunk_id: int
    cut: bool = False
    """Whether to drop the connection in the middle of the request."""


@frozen
class Piece:
    """An image and all uploads of its chunks, in their order."""

    art: Art
    sends: list[Send]
    repeated: frozenset[int] = field(init=False)
    """The chunks that are sent more than once."""

    @repeated.default
    def _find_repeated(self) -> frozenset[int]:
        whole = Counter(send.chunk_id for send in self.sends if not send.cut)
        return frozenset(chunk_id for chunk_id, times in whole.items() if times > 1)


def pieces(
    plan: Plan, gallery: Gallery, rng: random.Random, faults: random.Random | None
) -> Iterator[Piece]:
    """
    Yield the images to upload, each with its chunks in random order.

    `rng` determines the order, `faults` which chunks are cut off or repeated, and
    where; None: no faults.  The same states give the same pieces, and the same images
    with and without faults.  Raises :exc:`~asciid.simulate._art.ArtError`.
    """
    begun = 0
    while plan.files is None or begun < plan.files:
        art = gallery.draw()
        ids = list(range(-(-len(art.data) // plan.chunk_size)))
        rng.shuffle(ids)
        sends = [Send(chunk_id) for chunk_id in ids]
        if faults is not None:
            _add_faults(sends, faults)
        yield Piece(art, sends)
        begun += 1


def _add_faults(sends: list[Send], faults: random.Random) -> None:
    """Insert cut-off and repeated uploads at random positions."""
    for chunk_id in range(len(sends)):
        for cut in (True, False):
            if not faults.randrange(ONE_FAULT_IN):
                where = faults.randrange(len(sends) + 1)
                sends.insert(where, Send(chunk_id, cut))
