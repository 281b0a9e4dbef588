"""
A simulation: many uploads and downloads at once, each step of each checked.

It needs nothing but what the base protocol promises, so it can be played
against any implementation of it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults

from ._art import ArtError
from ._requests import LostError, UnavailableError

if TYPE_CHECKING:
    import random
    from collections.abc import Coroutine, Iterable, Iterator

    from twisted.internet.interfaces import IReactorTime

    from ._art import Art, Gallery
    from ._log import Field, Log
    from ._requests import Reply, Requests

__all__ = ["CHUNKS_IN_FLIGHT", "Plan", "Simulation"]

CHUNKS_IN_FLIGHT = 8
"""The most chunks of one image that are being uploaded at a time."""

_CREATED = 201
_CONFLICT = 409
_OK = 200


@frozen
class Plan:
    """What a simulation is to do."""

    files: int
    """The number of images, from 1."""
    chunk_size: int
    """Bytes in every chunk but an image's last, from 1."""
    parallel: int
    """The most images that are on their way at a time, from 1."""


class _StepError(Exception):
    """The server did something else than what the step expects."""

    def __init__(self, step: str, reason: str, fields: dict[str, Field]) -> None:
        super().__init__(f"{step}: {reason}")
        self.fields = fields


async def _in_parallel(
    coroutines: Iterable[Coroutine[Deferred[Any], Any, None]],
) -> None:
    """Run all; when one raises, cancel the others and raise the same."""
    running = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    try:
        await gatherResults(running, consumeErrors=True)
    except FirstError as first:
        for one in running:
            one.cancel()
        first.subFailure.raiseException()


class Simulation:
    """
    Uploads art from `gallery` as `plan` says and checks what the server does.

    Chunks go out in an order that `rng` decides.  `clock` is for the duration
    in the last lines of `log`.
    """

    def __init__(  # noqa: PLR0913 - each is a part that tests replace
        self,
        plan: Plan,
        *,
        requests: Requests,
        gallery: Gallery,
        rng: random.Random,
        log: Log,
        clock: IReactorTime,
    ) -> None:
        self._plan = plan
        self._requests = requests
        self._gallery = gallery
        self._rng = rng
        self._log = log
        self._clock = clock
        self._passed = 0

    async def run(self) -> bool:
        """
        Play the whole plan; tell whether every step of it went as it should.

        An image that fails does not stop the others; a server that cannot be
        reached or does not answer stops everything.
        """
        plan = self._plan
        started = self._clock.seconds()
        work = self._work()
        players = min(plan.parallel, plan.files)
        try:
            await _in_parallel([self._play(work) for _ in range(players)])
        except (ArtError, UnavailableError) as error:
            self._log.error(str(error))
        seconds = self._clock.seconds() - started
        sent = self._requests.sent
        self._log.info(
            "simulation: done",
            files=self._passed,
            requests=sent,
            seconds=round(seconds, 3),
            requests_per_second=round(sent / seconds) if seconds else 0,
        )
        if self._passed == plan.files:
            self._log.info("SUCCESS!")
            return True
        self._log.fatal(
            "FAILED!", files=plan.files, files_not_ok=plan.files - self._passed
        )
        return False

    def _work(self) -> Iterator[tuple[Art, list[int]]]:
        """Yield each image with its chunk ids in the order to send them."""
        for _ in range(self._plan.files):
            art = self._gallery.draw()
            ids = list(range(-(-len(art.data) // self._plan.chunk_size)))
            self._rng.shuffle(ids)
            yield art, ids

    async def _play(self, work: Iterator[tuple[Art, list[int]]]) -> None:
        for art, ids in work:
            self._log.debug(
                "image drawn",
                font=art.font,
                image_sha256=art.sha256,
                image_size=len(art.data),
                word=art.word,
            )
            try:
                await self._register(art)
                left = iter(ids)
                uploaders = min(CHUNKS_IN_FLIGHT, len(ids))
                await _in_parallel([self._upload(art, left) for _ in range(uploaders)])
                await self._download(art)
            except _StepError as error:
                self._log.error(str(error), **error.fields)
            else:
                self._passed += 1

    async def _register(self, art: Art) -> None:
        """Register twice: the first time is fine, the second is a conflict."""
        document = {
            "sha256": art.sha256,
            "size": len(art.data),
            "chunk_size": self._plan.chunk_size,
        }
        fields: dict[str, Field] = {
            "image_sha256": art.sha256,
            "image_size": len(art.data),
            "chunk_size": self._plan.chunk_size,
        }
        request = self._requests.post(("image",), document)
        step = "image registration"
        reply = await self._reply(step, request, fields)
        if reply.status == _CONFLICT:
            reason = (
                "the server has this image already: "
                "use another seed, or a fresh storage"
            )
            raise _StepError(step, reason, fields)
        self._expect(step, reply, _CREATED, fields)
        if not reply.header("location"):
            raise _StepError(step, "the response has no Location", fields)
        self._log.info(f"{step}: OK", **fields)

        request = self._requests.post(("image",), document)
        step = "image duplicate registration"
        reply = await self._reply(step, request, fields)
        self._expect(step, reply, _CONFLICT, fields)
        self._log.info(f"{step}: OK", **fields)

    async def _upload(self, art: Art, ids: Iterator[int]) -> None:
        size = self._plan.chunk_size
        path = ("image", art.sha256, "chunks")
        step = "chunk upload"
        for chunk_id in ids:
            data = art.data[chunk_id * size : (chunk_id + 1) * size]
            document = {
                "id": chunk_id,
                "size": len(data),
                "data": data.decode("ascii"),
            }
            fields: dict[str, Field] = {
                "chunk_id": chunk_id,
                "chunk_size": len(data),
                "image_sha256": art.sha256,
            }
            reply = await self._reply(step, self._requests.post(path, document), fields)
            self._expect(step, reply, _CREATED, fields)
            self._log.info(f"{step}: OK", **fields)

    async def _download(self, art: Art) -> None:
        step = "image download"
        fields: dict[str, Field] = {
            "image_sha256": art.sha256,
            "image_size": len(art.data),
        }
        request = self._requests.get(("image", art.sha256))
        reply = await self._reply(step, request, fields)
        self._expect(step, reply, _OK, fields)
        media_type = reply.header("content-type").partition(";")[0].strip().lower()
        if media_type != "text/plain":
            reason = f"expected text/plain, got {media_type or 'no content type'}"
            raise _StepError(step, reason, fields)
        digest = sha256(reply.body).hexdigest()
        if digest != art.sha256:
            reason = f"the SHA-256 of what was downloaded is {digest}"
            raise _StepError(step, reason, fields)
        self._log.info(f"{step}: OK", **fields)

    async def _reply(
        self,
        step: str,
        request: Coroutine[Deferred[Any], Any, Reply],
        fields: dict[str, Field],
    ) -> Reply:
        try:
            return await request
        except LostError as error:
            raise _StepError(step, str(error), fields) from error

    def _expect(
        self, step: str, reply: Reply, status: int, fields: dict[str, Field]
    ) -> None:
        if reply.status != status:
            reason = f"expected status {status}, got {reply.status}"
            detail = reply.detail()
            if detail:
                reason = f"{reason}: {detail}"
            raise _StepError(step, reason, fields)
