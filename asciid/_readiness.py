"""What must hold for the service to be ready, for /readyz and for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asciid.store import StoreHealth

__all__ = ["failed_checks"]


def failed_checks(store: StoreHealth, *, draining: bool) -> Mapping[str, str | None]:
    """Return each check by its name, with the reason why it fails, or None."""
    return {
        "storage": None if store.open else "The storage is not open.",
        "writes": None if store.writes else "The last write to the disk failed.",
        "reads": None if store.reads else "Reading from the disk fails or hangs.",
        "room": None if store.has_room else "The disk has no room but the reserve.",
        "serving": "The service is stopping." if draining else None,
    }
