"""What the verification of a storage finds, whatever keeps it."""

from __future__ import annotations

from attrs import frozen

from asciid.errors import AsciidError

__all__ = [
    "FEW",
    "MAX_DAMAGED",
    "Damaged",
    "Inconsistent",
    "StorageDamagedError",
    "most_damaged",
]

MAX_DAMAGED = 0.1
"""The fraction of damaged images past which the storage is damaged as a whole."""

FEW = 10
"""So few damaged images are no evidence about the storage as a whole."""


class StorageDamagedError(AsciidError):
    """Too many images are damaged: restoring a backup is better."""

    def __init__(self, damaged: int, fraction: float) -> None:
        super().__init__(
            f"more than {fraction:.0%} of the images are damaged, and so is the "
            f"storage as a whole: stopped with {damaged} images in quarantine, restore "
            "a backup; asciid verify --restore takes them out of quarantine again, and "
            "--no-quarantine lists all that is damaged"
        )


@frozen
class Damaged:
    """A damaged image."""

    sha256: str
    reason: str
    """The damage, for people."""


@frozen
class Inconsistent:
    """An image whose records do not agree."""

    sha256: str
    reason: str
    """How they do not, for people."""


def most_damaged(images: int, fraction: float) -> int:
    """Return how many of `images` may be damaged before the storage counts as such."""
    return max(FEW, int(images * fraction))
