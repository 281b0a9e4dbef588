"""The requests of the protocol (docs/protocol.md), one method each."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from asciid.client._backoff import nothing
from asciid.client._exceptions import (
    ClientError,
    LostError,
    NotFoundError,
    RefusedError,
)
from asciid.model import ImageSpec, ImageState, UploadStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asciid.client._backoff import Backoff
    from asciid.client._transport import Transport
    from asciid.client.exchange import Reply, Sink
    from asciid.client.source import Whole

__all__ = ["NO_FIELDS", "Calls", "chunk_body"]

NO_FIELDS: Mapping[str, str] = MappingProxyType({})
"""Says nothing about an image."""

_JSON = {"Content-Type": "application/json"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class _Status(msgspec.Struct):
    """A status document; other members are ignored."""

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
    Return a status; :exc:`ValueError` or :exc:`OverflowError` if it is invalid.

    Its numbers are used to compute chunks.
    """
    if status.sha256.lower() != sha256:
        message = "wrong image"
        raise ValueError(message)
    if status.size < 0 or status.chunk_size < 1:
        message = "invalid sizes"
        raise ValueError(message)
    spec = ImageSpec(sha256, status.size, status.chunk_size)
    if not all(0 <= first <= last < spec.chunks for first, last in status.missing):
        message = "missing chunks out of range"
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
    # Whether the time is a valid date is checked where it is shown.
    return moment.astimezone(UTC).timestamp()


def _check_empty(reply: Reply) -> None:
    """Check that a body is empty: asciid servers send nothing else."""
    if reply.body:
        message = "invalid response: is this an asciid server?"
        raise LostError(message)


class Calls:
    """
    Makes requests through `transport`, and parses the responses.

    Every method raises the errors of :meth:`Transport.request`.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def url(self, sha256: str) -> str:
        """Return the URL of an image."""
        return self.transport.url("image", sha256)

    def backoff(self, on_retry: Callable[[], None] = nothing) -> Backoff:
        """Return a new retry policy."""
        return self.transport.backoff(on_retry)

    async def register(
        self,
        spec: ImageSpec,
        about: Mapping[str, str] = NO_FIELDS,
        *,
        on_retry: Callable[[], None] = nothing,
    ) -> None:
        """Register an image; raises an error if it is already registered."""
        document: dict[str, Any] = {
            "sha256": spec.sha256,
            "size": spec.size,
            "chunk_size": spec.chunk_size,
        }
        if about:
            document["about"] = dict(about)
            if charset := document["about"].pop("charset", ""):
                document["charset"] = charset
        await self.transport.request(
            "POST", ("image",), _JSON, _encode(document), on_retry=on_retry
        )

    async def add_chunk(self, sha256: str, body: bytes) -> None:
        """
        Upload a chunk; `body` is from `chunk_body`.

        A chunk that is already stored with the same bytes is a success.
        """
        backoff = self.backoff()
        while True:
            try:
                return await self.send_chunk(sha256, body)
            except ClientError as error:
                await backoff.after(error)

    async def send_chunk(self, sha256: str, body: bytes) -> None:
        """Like `add_chunk`, without retries."""
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
        """Request the status of an image."""
        path = _chunks(sha256)
        reply = await self.transport.request("GET", path, on_retry=on_retry)
        return self._status_in(reply, sha256)

    async def status_if_any(self, sha256: str) -> UploadStatus:
        """Request the status once; None if the server does not support it."""
        reply = await self.transport.once("GET", _chunks(sha256))
        return self._status_in(reply, sha256)

    def _status_in(self, reply: Reply, sha256: str) -> UploadStatus:
        try:
            return _understood(_decode_status(reply.body), sha256)
        except (msgspec.DecodeError, ValueError, OverflowError) as error:
            message = f"invalid status: {error}"
            raise LostError(message) from error

    async def put(
        self,
        sha256: str,
        body: bytes | Whole,
        about: Mapping[str, str] = NO_FIELDS,
        *,
        on_retry: Callable[[], None] = nothing,
    ) -> bool:
        """Upload an image in one request; return whether it is new to the server."""
        headers = {
            **_TEXT,
            **{f"Asciid-{name.title()}": value for name, value in about.items()},
        }
        reply = await self.transport.request(
            "PUT", ("image", sha256), headers, body, on_retry=on_retry
        )
        _check_empty(reply)
        return reply.status == HTTPStatus.CREATED

    async def get(self, sha256: str, begin: int, sink: Sink) -> None:
        """Request an image from byte `begin` on, without retries, into `sink`."""
        headers = {}
        if begin:
            headers = {"Range": f"bytes={begin}-", "If-Range": f'"{sha256}"'}
        await self.transport.once("GET", ("image", sha256), headers, sink=sink)

    async def delete(self, sha256: str) -> None:
        """Delete an image; if it is missing at a retry, it was deleted."""
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
            # The response to an earlier attempt may have been lost.
            if not retried:
                raise
