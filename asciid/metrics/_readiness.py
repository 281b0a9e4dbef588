"""The readiness checks, for /readyz and the metrics."""

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
    Return the reason of failure, or None, of each check by name.

    A reached limit of `limits` fails only if clients are refused their equal share:
    otherwise one client could make the service not ready for all.
    """
    return {
        "storage": None if store.open else "The storage is not open.",
        "writes": None if store.writes else "The last write to the storage failed.",
        "reads": None if store.reads else "Reading from the storage fails or hangs.",
        "room": None if store.has_room else "The disk is full but for the reserve.",
        "serving": "The service is stopping." if draining else None,
        **{
            name: f"Clients are refused their equal share of {name}."
            if limit.is_starving
            else None
            for name, limit in limits.items()
        },
    }


def remarks(store: StoreHealth, limits: Mapping[str, FairLimit]) -> Mapping[str, str]:
    """
    Return remarks on checks that pass, by name: limits that are exhausted.

    One database server without a standby is a supported configuration, which is ready.
    """
    replication = (
        "The database has no synchronous standby: a commit is on one server only."
    )
    return {
        **({} if store.is_replicated else {"writes": replication}),
        **_exhausted(limits),
    }


def _exhausted(limits: Mapping[str, FairLimit]) -> Mapping[str, str]:
    return {
        name: f"The limit on {name} is reached; the largest clients are refused."
        for name, limit in limits.items()
        if limit.is_exhausted
    }
