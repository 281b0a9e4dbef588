"""What must hold for the service to be ready, for /readyz and for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asciid.net.fair_limit import FairLimit
    from asciid.store import StoreHealth

__all__ = ["failed_checks", "remarks"]


def failed_checks(
    store: StoreHealth, *, draining: bool, limits: Mapping[str, FairLimit]
) -> Mapping[str, str | None]:
    """
    Return each check by its name, with the reason why it fails, or None.

    One of `limits` that is reached fails only if clients are refused their equal share:
    else one client alone could make the service not ready for all.
    """
    return {
        "storage": None if store.open else "The storage is not open.",
        "writes": None if store.writes else "The last write to the disk failed.",
        "reads": None if store.reads else "Reading from the disk fails or hangs.",
        "room": None if store.has_room else "The disk has no room but the reserve.",
        "serving": "The service is stopping." if draining else None,
        **{
            name: f"Clients are refused their equal share of {name}."
            if limit.is_starving
            else None
            for name, limit in limits.items()
        },
    }


def remarks(limits: Mapping[str, FairLimit]) -> Mapping[str, str]:
    """Return which of `limits` is exhausted, by the name of its check."""
    return {
        name: f"The limit on {name} is reached; clients that hold the most are refused."
        for name, limit in limits.items()
        if limit.is_exhausted
    }
