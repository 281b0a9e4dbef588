"""What a simulation is to do, and the pieces of work that come of it."""

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
"""One chunk in so many is cut off, and one in so many is repeated."""


@frozen
class Plan:
    """What a simulation is to do."""

    files: int | None
    """The number of images, from 1; None is any number, if `seconds` ends it."""
    chunk_size: int
    """Bytes in every chunk but an image's last, from 1."""
    parallel: int
    """The most images that are on their way at a time, from 1."""
    downloads: int = 1
    """How often each image is downloaded, from 1."""
    rate: float = 0
    """The most images that begin in a second; 0 is any number."""
    seconds: float = 0
    """How long images begin; 0 is until there are `files`."""


@frozen
class Send:
    """One upload of one chunk."""

    chunk_id: int
    cut: bool = False
    """Whether the connection is dropped in the middle of the request."""


@frozen
class Piece:
    """One image and all uploads of its chunks, in the order to begin them."""

    art: Art
    sends: list[Send]
    repeated: frozenset[int] = field(init=False)
    """The chunks that are sent whole more than once."""

    @repeated.default
    def _find_repeated(self) -> frozenset[int]:
        whole = Counter(send.chunk_id for send in self.sends if not send.cut)
        return frozenset(chunk_id for chunk_id, times in whole.items() if times > 1)


def pieces(
    plan: Plan, gallery: Gallery, rng: random.Random, faults: random.Random | None
) -> Iterator[Piece]:
    """
    Yield what is to be uploaded, with each image's chunks in random order.

    `rng` decides the order.  `faults` decides which chunks are cut off and
    which are repeated, and where among the others; None is no faults.  The same
    states give the same pieces, and the same images with faults as without.
    Raises :exc:`~asciid.simulate._art.ArtError` when there is no more art.
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
    """Add uploads that are cut off and repeated ones, each anywhere."""
    for chunk_id in range(len(sends)):
        for cut in (True, False):
            if not faults.randrange(ONE_FAULT_IN):
                where = faults.randrange(len(sends) + 1)
                sends.insert(where, Send(chunk_id, cut))
