"""Several coroutines at once, as one."""

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
    Run all; when one raises, or this is cancelled, cancel the others.

    What the first one raised is raised from here, once all have ended.
    """
    running = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    try:
        await gatherResults(running, consumeErrors=True)
    except FirstError as first:
        for one in running:
            one.cancel()
        first.subFailure.raiseException()
