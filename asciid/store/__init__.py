"""Stores of images: the promises, and two that keep them."""

from asciid.store._aging import GONE_FOR, STAGED_FOR, Lifetimes
from asciid.store._cache import ByteBoundedCache, footprint
from asciid.store._checkup import StoreHealth
from asciid.store._interface import IImageReader, IImageStore, IImageWriter
from asciid.store._lmdb import LMDBStore
from asciid.store._memory import MemoryStore
from asciid.store._pending import PendingLimits
from asciid.store._stats import StoreEvents, StoreStats, StoreUsage

__all__ = [
    "GONE_FOR",
    "STAGED_FOR",
    "ByteBoundedCache",
    "IImageReader",
    "IImageStore",
    "IImageWriter",
    "LMDBStore",
    "Lifetimes",
    "MemoryStore",
    "PendingLimits",
    "StoreEvents",
    "StoreHealth",
    "StoreStats",
    "StoreUsage",
    "footprint",
]
