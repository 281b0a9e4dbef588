"""Carries operations out in a write transaction; runs in the writer's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from asciid.engines.lmdb import _staging
from asciid.engines.lmdb._about_changes import block, set_about, unblock
from asciid.engines.lmdb._batch import Batch
from asciid.engines.lmdb._sweeping import remove_expired
from asciid.errors import StorageFullError
from asciid.store.operations import (
    Abandon,
    AddChunk,
    AddPieces,
    Adopt,
    Begin,
    BlockHash,
    DeleteDiscarded,
    Finish,
    Operation,
    Probe,
    Put,
    Register,
    Remove,
    RemoveExpired,
    SetAbout,
    UnblockHash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asciid.engines.lmdb._reserve import Reserve

__all__ = ["Task", "perform"]

Task: TypeAlias = "Operation | Callable[[Batch], Any]"
"""An operation of the engine's interface, or a function of this engine's own."""


def perform(batch: Batch, task: Task, reserve: Reserve) -> Any:  # noqa: ANN401 - the outcome
    """
    Carry out one task; `reserve` is the space to keep free.

    Errors: those of the task, `StorageFullError`.
    """
    # Not isinstance(), which is slow for a Struct: its metaclass is not `type`.
    it: Any = task
    function = _PERFORM.get(type(it))
    if function is None:
        return it(batch)
    if it.adds:
        reserve.take(it.size)
        return function(batch, it)
    outcome = function(batch, it)
    if type(it) is Probe:
        # Its own size proves too little: larger ones are refused before.
        reserve.take(0)
        if not reserve.has_room:
            raise StorageFullError
    return outcome


_PERFORM: Mapping[type, Callable[[Batch, Any], Any]] = {
    Abandon: lambda batch, it: _staging.abandon(batch, it.number),
    AddChunk: Batch.add_chunk,
    AddPieces: lambda batch, it: _staging.add(batch, it.number, it.first, it.pieces),
    Adopt: _staging.adopt,
    Begin: lambda batch, _: _staging.begin(batch),
    BlockHash: lambda batch, it: block(batch, it.sha256, it.reason),
    DeleteDiscarded: lambda batch, _: batch.delete_discarded(),
    Finish: Batch.finish,
    Probe: lambda batch, _: batch.probe(),
    Put: _staging.put,
    Register: Batch.register,
    Remove: lambda batch, it: batch.remove(it.sha256, it.key_hash),
    RemoveExpired: remove_expired,
    SetAbout: set_about,
    UnblockHash: lambda batch, it: unblock(batch, it.sha256),
}
