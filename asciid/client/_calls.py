"""The requests of the protocol, one method each; docs/protocol.md describes them."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from asciid.client._exceptions import (
    ClientError,
    LostError,
    NotFoundError,
    RefusedError,
)
from asciid.client._patience import nothing
from asciid.model import ImageSpec, ImageState, UploadStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.client._patience import Patience
    from asciid.client._transport import Transport
    from asciid.client.exchange import Reply, Sink
    from asciid.client.source import Whole

__all__ = ["Calls", "chunk_body"]

_JSON = {"Content-Type": "application/json"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class _Status(msgspec.Struct):
    """A status as it is sent; what it says more is not read."""

    sha256: str
    size: int
    chunk_size: int
    state: ImageState
    received: int
    created: datetime
    missing: tuple[tuple[int, int], ...]
    missing_cut: bool
    expires: datetime | None
    completed: datetime | None = None  # older servers do not send it


_decode_status = msgspec.json.Decoder(_Status).decode
_encode = msgspec.json.Encoder().encode


def chunk_body(chunk_id: int, data: bytes) -> bytes:
    """
    Return the body of the request that uploads a chunk.

    Raises :exc:`UnicodeDecodeError` if `data` is not UTF-8 by itself.
    """
    document = {"id": chunk_id, "size": len(data), "data": data.decode("utf-8")}
    return _encode(document)


def _chunks(sha256: str) -> tuple[str, ...]:
    return "image", sha256, "chunks"


def _understood(status: _Status, sha256: str) -> UploadStatus:
    """
    Return a status; :exc:`ValueError` or :exc:`OverflowError` if it cannot be one.

    Chunks are cut by it, and there is arithmetic that not every number survives.
    """
    if status.sha256.lower() != sha256:
        message = "it is that of another image"
        raise ValueError(message)
    if status.size < 0 or status.chunk_size < 1:
        message = "there are no such sizes"
        raise ValueError(message)
    spec = ImageSpec(sha256, status.size, status.chunk_size)
    if not all(0 <= first <= last < spec.chunks for first, last in status.missing):
        message = "it misses chunks that the image does not have"
        raise ValueError(message)
    return UploadStatus(
        spec,
        status.state,
        status.received,
        _seconds(status.created),
        None if status.completed is None else _seconds(status.completed),
        missing=status.missing,
        missing_cut=status.missing_cut,
        expires=None if status.expires is None else _seconds(status.expires),
    )


def _seconds(moment: datetime) -> float:
    # That UTC has the moment, too, is for who shows it.
    return moment.astimezone(UTC).timestamp()


def _check_empty(reply: Reply) -> None:
    """Check that there is nothing to read: whoever says more is no such server."""
    if reply.body:
        message = "what answers is something else than an asciid server"
        raise LostError(message)


class Calls:
    """
    Makes requests through `transport`, and understands the answers.

    Every method raises what :meth:`Transport.request` does.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def url(self, sha256: str) -> str:
        """Return the URL of an image."""
        return self.transport.url("image", sha256)

    def patience(self, on_retry: Callable[[], None] = nothing) -> Patience:
        """Return a new count of failures."""
        return self.transport.patience(on_retry)

    async def register(
        self, spec: ImageSpec, *, on_retry: Callable[[], None] = nothing
    ) -> None:
        """Register an image; one that is already registered is refused."""
        document = {
            "sha256": spec.sha256,
            "size": spec.size,
            "chunk_size": spec.chunk_size,
        }
        await self.transport.request(
            "POST", ("image",), _JSON, _encode(document), on_retry=on_retry
        )

    async def add_chunk(self, sha256: str, body: bytes) -> None:
        """
        Upload a chunk; `body` is from `chunk_body`.

        One that is already stored, with the same bytes, is a success.
        """
        patience = self.patience()
        while True:
            try:
                return await self.send_chunk(sha256, body)
            except ClientError as error:
                await patience.after(error)

    async def send_chunk(self, sha256: str, body: bytes) -> None:
        """Do the same with one request and no other."""
        path = _chunks(sha256)
        try:
            await self.transport.once("POST", path, _JSON, body)
        except RefusedError as error:
            identical = error.document.get("identical") is True
            if error.name != "chunk-exists" or not identical:
                raise

    async def status(
        self, sha256: str, *, on_retry: Callable[[], None] = nothing
    ) -> UploadStatus:
        """Ask what is stored of an image."""
        path = _chunks(sha256)
        reply = await self.transport.request("GET", path, on_retry=on_retry)
        return self._status_in(reply, sha256)

    async def status_if_any(self, sha256: str) -> UploadStatus:
        """Ask once what is stored of an image, of a server that may not know that."""
        reply = await self.transport.once("GET", _chunks(sha256))
        return self._status_in(reply, sha256)

    def _status_in(self, reply: Reply, sha256: str) -> UploadStatus:
        try:
            return _understood(_decode_status(reply.body), sha256)
        except (msgspec.DecodeError, ValueError, OverflowError) as error:
            message = f"the status of the upload makes no sense: {error}"
            raise LostError(message) from error

    async def put(
        self,
        sha256: str,
        body: bytes | Whole,
        *,
        on_retry: Callable[[], None] = nothing,
    ) -> bool:
        """Upload an image whole; tell whether the server did not have it before."""
        reply = await self.transport.request(
            "PUT", ("image", sha256), _TEXT, body, on_retry=on_retry
        )
        _check_empty(reply)
        return reply.status == HTTPStatus.CREATED

    async def get(self, sha256: str, begin: int, sink: Sink) -> None:
        """Ask, once, for an image from the byte `begin` on; `sink` gets it."""
        headers = {}
        if begin:
            headers = {"Range": f"bytes={begin}-", "If-Range": f'"{sha256}"'}
        await self.transport.once("GET", ("image", sha256), headers, sink=sink)

    async def delete(self, sha256: str) -> None:
        """Remove an image; one that is gone at the second try was removed."""
        retried = False

        def on_retry() -> None:
            nonlocal retried
            retried = True

        try:
            reply = await self.transport.request(
                "DELETE", ("image", sha256), on_retry=on_retry
            )
            _check_empty(reply)
        except NotFoundError:
            # The answer to an earlier try may have been lost on the way.
            if not retried:
                raise
