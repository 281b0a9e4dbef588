"""The requests of the protocol (docs/protocol.md), one method each."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
from attrs import field, frozen

from asciid.client._backoff import nothing
from asciid.client._exceptions import (
    AmbiguousError,
    ClientError,
    LostError,
    NotFoundError,
    RedirectedError,
    RefusedError,
)
from asciid.client._found_images import parse_listing
from asciid.client._image_about import NOTHING, AboutFields, ImageAbout, said_fields
from asciid.client.wire import check_token
from asciid.model import ImageSpec, ImageState, UploadStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asciid.client._backoff import Backoff
    from asciid.client._found_images import ListingPage
    from asciid.client._transport import Transport
    from asciid.client.exchange import Reply, Sink
    from asciid.client.source import Whole

__all__ = ["Calls", "PutOutcome", "chunk_body"]

_EDIT_KEY = "Asciid-Edit-Key"
_LONGEST_KEY = 1024
"""Maximum characters of an edit key."""

_LINK_DIGITS = 12
_INVALID = "invalid response: is this an asciid server?"

_find_hash = re.compile(r"/image/([0-9a-f]{64})\Z").search
_find_hashes = re.compile(r"\b[0-9a-f]{64}\b").findall

_NO_FIELDS: Mapping[str, str] = MappingProxyType({})

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


class _About(msgspec.Struct):
    """What is said about an image; other members are ignored."""

    title: str = ""
    description: str = ""
    author: str = ""
    licence: str = ""
    tags: tuple[str, ...] = ()
    listed: bool = True
    expires: str | None = None
    charset: str = ""


@frozen
class PutOutcome:
    """The outcome of an upload in one request."""

    new: bool
    """Whether the image is new to the server."""
    edit_key: str = field(repr=False)
    """The edit key of a new image; empty if the server sent none."""


_decode_about = msgspec.json.Decoder(_About).decode
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


def _edit_key_in(reply: Reply) -> str:
    """Return the edit key in a response, empty if it has none that can be sent."""
    key = reply.header(_EDIT_KEY)
    try:
        check_token(key)
    except ValueError:
        return ""
    return key if len(key) <= _LONGEST_KEY else ""


def _with_key(edit_key: str | None) -> dict[str, str]:
    return {_EDIT_KEY: edit_key} if edit_key else {}


def _hash_in(path: str, digits: str) -> str:
    """Return the hash in the path of an image, which must begin with `digits`."""
    found = _find_hash(path)
    if found is None or not found[1].startswith(digits):
        raise LostError(_INVALID)
    return found[1]


def _check_empty(reply: Reply) -> None:
    """Check that a body is empty: asciid servers send nothing else."""
    if reply.body:
        raise LostError(_INVALID)


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

    def link(self, sha256: str) -> str:
        """Return the short URL of the page of an image."""
        return self.transport.url("i", sha256[:_LINK_DIGITS])

    def backoff(self, on_retry: Callable[[], None] = nothing) -> Backoff:
        """Return a new retry policy."""
        return self.transport.backoff(on_retry)

    async def resolve(self, digits: str) -> str:
        """
        Request the hash that begins with `digits`, 12 to 64 of them.

        Raises :exc:`AmbiguousError` if there are several.
        """
        try:
            await self.transport.request("GET", ("i", f"{digits}.txt"))
        except RedirectedError as error:
            if error.status != HTTPStatus.MULTIPLE_CHOICES:
                return _hash_in(error.location, digits)
            names = _find_hashes(error.body.decode("utf-8", "replace"))
            choices = dict.fromkeys(name for name in names if name.startswith(digits))
            raise AmbiguousError(digits, tuple(choices)) from error
        raise LostError(_INVALID)

    async def random(self) -> str:
        """Request the hash of an image that the server draws."""
        try:
            reply = await self.transport.request("HEAD", ("random",))
        except NotFoundError as error:
            # The response to a HEAD has no problem document.
            document = {"detail": "the server has no listed image"}
            raise NotFoundError(error.status, document) from error
        return _hash_in(reply.header("Content-Location"), "")

    async def listing(self, query: str) -> ListingPage:
        """Request a page of the listing."""
        reply = await self.transport.request("GET", (f"images?{query}",))
        try:
            return parse_listing(reply.body, reply.header("Link"))
        except (msgspec.DecodeError, ValueError) as error:
            message = f"invalid listing: {error}"
            raise LostError(message) from error

    async def register(
        self,
        spec: ImageSpec,
        about: AboutFields = NOTHING,
        *,
        edit_key: bool = False,
        on_retry: Callable[[], None] = nothing,
    ) -> str:
        """
        Register an image; raises an error if it is already registered.

        Returns the edit key, if it asks for one; empty if the server sent none.
        """
        document: dict[str, object] = {
            "sha256": spec.sha256,
            "size": spec.size,
            "chunk_size": spec.chunk_size,
        }
        if edit_key:
            document["edit_key"] = True
        if said := said_fields(about):
            document["about"] = said
        if about.charset:
            document["charset"] = about.charset
        reply = await self.transport.request(
            "POST", ("image",), _JSON, _encode(document), on_retry=on_retry
        )
        return _edit_key_in(reply)

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
        about: Mapping[str, str] = _NO_FIELDS,
        *,
        on_retry: Callable[[], None] = nothing,
    ) -> PutOutcome:
        """Upload an image in one request; `about` are the header fields about it."""
        headers = {**_TEXT, **about}
        reply = await self.transport.request(
            "PUT", ("image", sha256), headers, body, on_retry=on_retry
        )
        _check_empty(reply)
        return PutOutcome(reply.status == HTTPStatus.CREATED, _edit_key_in(reply))

    async def get(self, sha256: str, begin: int, sink: Sink) -> None:
        """Request an image from byte `begin` on, without retries, into `sink`."""
        headers = {}
        if begin:
            headers = {"Range": f"bytes={begin}-", "If-Range": f'"{sha256}"'}
        await self.transport.once("GET", ("image", sha256), headers, sink=sink)

    async def about(self, sha256: str) -> ImageAbout:
        """Request what is said about an image."""
        reply = await self.transport.request("GET", ("image", sha256, "about"))
        try:
            about = _decode_about(reply.body)
        except (msgspec.DecodeError, ValueError) as error:
            message = f"invalid document about the image: {error}"
            raise LostError(message) from error
        fields = AboutFields(
            about.title,
            about.description,
            about.author,
            about.licence,
            about.tags,
            about.listed,
            about.expires or "",
            about.charset,
        )
        return ImageAbout(fields, reply.header("ETag"))

    async def set_about(
        self, sha256: str, about: AboutFields, etag: str, edit_key: str | None
    ) -> None:
        """Replace what is said about an image, if it still has `etag`, if any."""
        headers = {**_JSON, **_with_key(edit_key)}
        if etag:
            headers["If-Match"] = etag
        body = _encode(said_fields(about))
        path = ("image", sha256, "about")
        await self.transport.request("PUT", path, headers, body)

    async def delete(self, sha256: str, edit_key: str | None = None) -> None:
        """Delete an image; if it is missing at a retry, it was deleted."""
        retried = False

        def on_retry() -> None:
            nonlocal retried
            retried = True

        try:
            reply = await self.transport.request(
                "DELETE",
                ("image", sha256),
                _with_key(edit_key),
                on_retry=on_retry,
            )
            _check_empty(reply)
        except NotFoundError:
            # The response to an earlier attempt may have been lost.
            if not retried:
                raise
