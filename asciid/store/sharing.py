"""Stores for several processes that share one storage; one of them writes."""

from asciid.store._generations import Generations
from asciid.store._lock import StorageInUseError, StorageLock
from asciid.store._operations import AnyOperation, Outcome, Remove
from asciid.store._peers import ALONE, IPeers, Use
from asciid.store._shared import IOperations, SharedStore, prepare_storage
from asciid.store._uploads import Completed

__all__ = [
    "ALONE",
    "AnyOperation",
    "Completed",
    "Generations",
    "IOperations",
    "IPeers",
    "Outcome",
    "Remove",
    "SharedStore",
    "StorageInUseError",
    "StorageLock",
    "Use",
    "prepare_storage",
]
