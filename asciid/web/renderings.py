"""Rendering for requests: shared by those that wait for the same, and kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from asciid.runtime.cache import OVERHEAD, ByteBoundedCache, footprint
from asciid.web.jobs import Rendered
from asciid.web.renderer import NotRenderableError, RenderingFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asciid.web.jobs import AnyJob, Missing
    from asciid.web.renderer import IRenderer, RendererStats

__all__ = ["Renderings"]

_CAPACITY = 16 * 1024 * 1024
"""Bytes of results that are kept."""

_LARGEST = 4 * 1024 * 1024
"""Bytes of the largest result that is kept."""

_FAILED_FOR = 60.0
"""Seconds for which a rendering that failed is not tried again."""

_MAX_FAILED = 1000
"""Maximum failed renderings that are remembered."""

_MAKERS = 2
"""
Clients for which the same is rendered at once.

The first one may have to wait for much else that it has asked for.
"""

Making: TypeAlias = "Coroutine[Deferred[object], object, Rendered]"


@define
class _UnderWay:
    """A rendering that is under way."""

    waiting: list[Deferred[Rendered]] = field(factory=list)
    """The requests that wait for it."""
    makers: list[str] = field(factory=list)
    """The clients for which it was begun."""
    makings: int = 0
    """How many of these have not ended."""


class Renderings:
    """
    Renders once for all requests that wait for the same, and keeps results.

    A key names all that a result depends on, so no result ever becomes invalid.
    `clock` returns monotonic seconds.
    """

    def __init__(
        self, renderer: IRenderer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._renderer = renderer
        self._clock = clock
        self._kept: ByteBoundedCache[Rendered | NotRenderableError] = ByteBoundedCache(
            _CAPACITY, _LARGEST
        )
        # Key -> when it may be tried again.
        self._failed: dict[str, float] = {}
        self._under_way: dict[str, _UnderWay] = {}

    @property
    def hits(self) -> int:
        """How often a result was kept."""
        return self._kept.hits

    @property
    def misses(self) -> int:
        """How often a result was not kept."""
        return self._kept.misses

    @property
    def used(self) -> int:
        """Bytes of the results that are kept."""
        return self._kept.used

    @property
    def renderer_stats(self) -> RendererStats:
        """What the renderer did."""
        return self._renderer.stats

    def do(self, job: AnyJob, client: str) -> Deferred[Rendered | Missing]:
        """See `IRenderer.render`; nothing is kept."""
        return self._renderer.render(job, client)

    async def render(self, job: AnyJob, client: str) -> Rendered:
        """
        Do a job that misses nothing, for a client; nothing is kept.

        Errors: those of `IRenderer.render`.
        """
        answer = await self._renderer.render(job, client)
        if isinstance(answer, Rendered):
            return answer
        raise RenderingFailedError

    async def get(self, key: str, make: Callable[[], Making], client: str) -> Rendered:
        """
        Return what is kept for `key`, or what `make` returns.

        `client` is the key of the client for which `make` renders.  Cancelling it does
        not cancel `make`, whose result is kept.

        Errors: those of `make`.
        """
        kept = self._kept.get(key)
        if isinstance(kept, NotRenderableError):
            raise NotRenderableError(str(kept))
        if kept is not None:
            return kept
        if self._clock() < self._failed.get(key, 0.0):
            raise RenderingFailedError
        under_way = self._under_way.setdefault(key, _UnderWay())
        answer: Deferred[Rendered] = Deferred(under_way.waiting.remove)
        under_way.waiting.append(answer)
        makers = under_way.makers
        if client not in makers and len(makers) < _MAKERS:
            makers.append(client)
            under_way.makings += 1
            making = Deferred.fromCoroutine(make())
            making.addCallbacks(
                self._keep,
                self._note_failure,
                callbackArgs=(key,),
                errbackArgs=(key,),
            )
            making.addBoth(self._answer, key, under_way)
        return await answer

    def _keep(self, rendered: Rendered, key: str) -> Rendered:
        size = footprint(len(rendered.body) + len(rendered.gzip))
        self._kept.put(key, rendered, size)
        return rendered

    def _note_failure(self, failure: Failure, key: str) -> Failure:
        error = failure.value
        if isinstance(error, NotRenderableError):
            self._kept.put(key, NotRenderableError(str(error)), OVERHEAD)
        elif isinstance(error, RenderingFailedError):
            self._failed.pop(key, None)
            self._failed[key] = self._clock() + _FAILED_FOR
            if len(self._failed) > _MAX_FAILED:
                del self._failed[next(iter(self._failed))]
        return failure

    def _answer(
        self, outcome: Rendered | Failure, key: str, under_way: _UnderWay
    ) -> None:
        under_way.makings -= 1
        if isinstance(outcome, Failure) and under_way.makings:
            # Another client's turn may succeed.
            return
        # A callback may cancel another waiter.
        while under_way.waiting:
            under_way.waiting.pop(0).callback(outcome)
        if self._under_way.get(key) is under_way:
            del self._under_way[key]
