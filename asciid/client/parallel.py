"""Runs coroutines concurrently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, FirstError, gatherResults

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["in_parallel"]


async def in_parallel(
    coroutines: Iterable[Coroutine[Deferred[Any], Any, None]],
) -> None:
    """
    Run all; if one raises, or this is cancelled, cancel the others.

    Raises the first exception, once all have ended.
    """
    running = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    try:
        await gatherResults(running, consumeErrors=True)
    except FirstError as first:
        for one in running:
            one.cancel()
        first.subFailure.raiseException()
