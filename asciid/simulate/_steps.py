"""
The steps of an image in a simulation, with their expected responses.

They rely on the base protocol only, so they run against any implementation of it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from asciid.client import LostError
from asciid.simulate._requests import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.internet.defer import Deferred

    from asciid.simulate._art import Art
    from asciid.simulate._log import Field, Log
    from asciid.simulate._plan import Piece, Send
    from asciid.simulate._requests import Requests, Timed
    from asciid.simulate._tally import Tally

__all__ = ["StepError", "Steps"]

_CREATED = 201
_CONFLICT = 409
_OK = 200

_REGISTRATION = "image registration"
_DUPLICATE = "image duplicate registration"
_CHUNK = "chunk upload"
_REPETITION = "chunk repetition"
_CUT = "chunk cut off"
_DOWNLOAD = "image download"

Fields = dict[str, "Field"]
_R = TypeVar("_R")


class StepError(Exception):
    """The server's response is not the expected one."""

    def __init__(self, step: str, reason: str, fields: Fields) -> None:
        super().__init__(f"{step}: {reason}")
        self.fields = fields


@frozen
class Steps:
    """
    The steps, one method each; they report results to `log` and `tally`.

    The methods raise :exc:`StepError`, and the errors of `requests` except
    :exc:`~asciid.client.LostError`.
    """

    requests: Requests
    log: Log
    tally: Tally
    chunk_size: int

    async def register(self, art: Art) -> None:
        """Register twice: the second registration must be a conflict."""
        document = {
            "sha256": art.sha256,
            "size": len(art.data),
            "chunk_size": self.chunk_size,
        }
        fields: Fields = {
            "image_sha256": art.sha256,
            "image_size": len(art.data),
            "chunk_size": self.chunk_size,
        }
        request = self.requests.post(("image",), document)
        reply = await self._reply(_REGISTRATION, request, fields)
        if reply.status == _CONFLICT:
            reason = (
                "the server already has this image: use another seed or an empty "
                "storage"
            )
            raise self._error(_REGISTRATION, reason, fields)
        self._expect(_REGISTRATION, reply, _CREATED, fields)
        if not reply.header("location"):
            reason = "the response has no Location"
            raise self._error(_REGISTRATION, reason, fields)
        self._passed(_REGISTRATION, reply.seconds, fields)

        request = self.requests.post(("image",), document)
        reply = await self._reply(_DUPLICATE, request, fields)
        self._expect(_DUPLICATE, reply, _CONFLICT, fields)
        self._passed(_DUPLICATE, reply.seconds, fields)

    async def upload(self, piece: Piece, send: Send, stored: set[int]) -> None:
        """
        Upload one chunk, or half of it.

        `stored` has the ids of accepted chunks; a chunk must be accepted once, and
        refused at each repetition.
        """
        art, chunk_id = piece.art, send.chunk_id
        path = ("image", art.sha256, "chunks")
        data = art.data[chunk_id * self.chunk_size :][: self.chunk_size]
        document = {"id": chunk_id, "size": len(data), "data": data.decode("ascii")}
        fields: Fields = {
            "chunk_id": chunk_id,
            "chunk_size": len(data),
            "image_sha256": art.sha256,
        }
        if send.cut:
            early = await self._reply(
                _CUT, self.requests.post_half(path, document), fields
            )
            if early is not None:
                reason = f"half a request got status {early.status}"
                raise self._error(_CUT, reason, fields)
            self._passed(_CUT, None, fields)
            return
        reply = await self._reply(_CHUNK, self.requests.post(path, document), fields)
        if reply.status == _CONFLICT and chunk_id in piece.repeated:
            self._passed(_REPETITION, reply.seconds, fields)
            return
        self._expect(_CHUNK, reply, _CREATED, fields)
        if chunk_id in stored:
            reason = "the same chunk was accepted twice"
            raise self._error(_REPETITION, reason, fields)
        stored.add(chunk_id)
        self._passed(_CHUNK, reply.seconds, fields)

    def check_repeated(self, piece: Piece, stored: set[int]) -> None:
        """Check after all uploads that each repeated chunk was accepted once."""
        refused = piece.repeated - stored
        if refused:
            fields: Fields = {
                "chunk_id": min(refused),
                "image_sha256": piece.art.sha256,
            }
            raise self._error(_CHUNK, "the chunk was refused every time", fields)

    async def download(self, art: Art) -> None:
        """Download the image and compare it."""
        fields: Fields = {"image_sha256": art.sha256, "image_size": len(art.data)}
        request = self.requests.get(("image", art.sha256))
        reply = await self._reply(_DOWNLOAD, request, fields)
        self._expect(_DOWNLOAD, reply, _OK, fields)
        media_type = reply.header("content-type").partition(";")[0].strip().lower()
        if media_type != "text/plain":
            reason = f"expected text/plain, got {media_type or 'no content type'}"
            raise self._error(_DOWNLOAD, reason, fields)
        digest = sha256(reply.body).hexdigest()
        if digest != art.sha256:
            reason = f"downloaded bytes have the SHA-256 {digest}"
            raise self._error(_DOWNLOAD, reason, fields)
        self._passed(_DOWNLOAD, reply.seconds, fields)

    async def _reply(
        self,
        step: str,
        request: Coroutine[Deferred[Any], Any, _R],
        fields: Fields,
    ) -> _R:
        try:
            return await request
        except LostError as error:
            raise self._error(step, str(error), fields) from error
        except UnavailableError:
            self.tally.failed(step)
            raise

    def _expect(self, step: str, reply: Timed, status: int, fields: Fields) -> None:
        if reply.status != status:
            reason = f"expected status {status}, got {reply.status}"
            detail = reply.detail()
            if detail:
                reason = f"{reason}: {detail}"
            raise self._error(step, reason, fields)

    def _error(self, step: str, reason: str, fields: Fields) -> StepError:
        self.tally.failed(step)
        return StepError(step, reason, fields)

    def _passed(self, step: str, seconds: float | None, fields: Fields) -> None:
        self.tally.passed(step, seconds)
        message = f"{step}: OK"
        self.log.info(message, **fields)
