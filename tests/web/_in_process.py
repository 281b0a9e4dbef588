"""A renderer in the process of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed

from asciid.web._job_handlers import JobHandlers
from asciid.web.jobs import (
    MessageReader,
    Missing,
    Refused,
    Rendered,
    decode_answer,
    decode_job,
    framed,
)
from asciid.web.renderer import (
    NotRenderableError,
    RendererStats,
    RenderingFailedError,
)

if TYPE_CHECKING:
    from asciid.web.jobs import AnyJob

__all__ = ["InProcessRenderer"]


class InProcessRenderer:
    """
    Does jobs at once, as the process does them.

    :ivar jobs: the jobs so far.
    :ivar clients: for whom they were.
    :ivar error: what jobs fail with from now on, if that is not None.
    :ivar held: collects jobs that are not done, if it is not None.
    """

    def __init__(self) -> None:
        self.stats = RendererStats()
        self.jobs: list[AnyJob] = []
        self.clients: list[str] = []
        self.error: Exception | None = None
        self.held: list[Deferred[Rendered | Missing]] | None = None
        self.stopped = False
        self._handlers = JobHandlers()

    def render(self, job: AnyJob, client: str = "") -> Deferred[Rendered | Missing]:
        """See `IRenderer.render`."""
        self.jobs.append(job)
        self.clients.append(client)
        if self.error is not None:
            return fail(self.error)
        if self.held is not None:
            done: Deferred[Rendered | Missing] = Deferred()
            self.held.append(done)
            return done
        [sent] = MessageReader().feed(framed(job))
        [received] = MessageReader().feed(framed(self._handlers.do(decode_job(sent))))
        answer = decode_answer(received)
        if isinstance(answer, Rendered | Missing):
            return succeed(answer)
        if isinstance(answer, Refused):
            return fail(NotRenderableError(answer.reason))
        return fail(RenderingFailedError())

    def stop(self) -> Deferred[None]:
        """See `IRenderer.stop`."""
        self.stopped = True
        return succeed(None)
