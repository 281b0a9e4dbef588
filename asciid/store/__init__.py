"""The store of images: its promises, and the one implementation over an engine."""

from asciid.store._about_rules import check_about, check_reason, fit_line
from asciid.store._interface import (
    IImageObserver,
    IImageReader,
    IImageStore,
    IImageWriter,
)
from asciid.store._lifetimes import FOR_EVER, GONE_FOR, STAGED_FOR, Lifetimes
from asciid.store._store import ImageStore
from asciid.store.pending import NO_LIMITS, PendingLimits
from asciid.store.stats import StoreEvents, StoreHealth, StoreStats, StoreUsage

__all__ = [
    "FOR_EVER",
    "GONE_FOR",
    "NO_LIMITS",
    "STAGED_FOR",
    "IImageObserver",
    "IImageReader",
    "IImageStore",
    "IImageWriter",
    "ImageStore",
    "Lifetimes",
    "PendingLimits",
    "StoreEvents",
    "StoreHealth",
    "StoreStats",
    "StoreUsage",
    "check_about",
    "check_reason",
    "fit_line",
]
