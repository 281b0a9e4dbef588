"""Resumable uploads, in one request or in chunks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from asciid.client._calls import chunk_body
from asciid.client._exceptions import (
    ChangedError,
    LostError,
    NotFoundError,
    NotTextError,
    RefusedError,
    ServerFailedError,
    SplitCharacterError,
)
from asciid.client._image_about import AboutFields, header_fields
from asciid.client.parallel import in_parallel
from asciid.client.source import SMALL, Whole
from asciid.model import ImageSpec, ImageState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.defer import Deferred

    from asciid.client._backoff import Backoff
    from asciid.client._calls import Calls
    from asciid.client._progress import Meter
    from asciid.client.source import Content, Source
    from asciid.model import UploadStatus

__all__ = ["CHUNK_SIZE", "WHOLE_SIZE", "OnEditKey", "Upload", "Uploaded"]

OnEditKey = Callable[[str, str], Awaitable[None] | None]
"""
Receives the hash of an image and its edit key, which the server sends only once.

What it returns is awaited before the upload continues.
"""

WHOLE_SIZE = 1024 * 1024
"""Maximum bytes of an image that is sent in one request by default."""

CHUNK_SIZE = 256 * 1024
"""Default chunk size in bytes."""

_REGISTERED_CHUNK_SIZE = 4096
"""Chunk size in bytes of an image that is registered, and then sent whole."""

_BEGINNINGS = 3
"""Maximum restarts of an upload that the server discarded."""


@frozen
class Uploaded:
    """An uploaded image."""

    sha256: str
    """64 lower-case hex digits."""
    size: int
    """Bytes."""
    url: str
    """The URL of the image."""
    link: str
    """The short URL of its page."""
    new: bool
    """Whether this upload completed the image."""
    described: bool = True
    """
    Whether the server stored what was said about the image; if not, it keeps what an
    earlier upload or registration said.
    """
    edit_key_lost: bool = False
    """Whether the image may be new, and the response with its edit key was lost."""


class _StartAgainError(Exception):
    """The server has discarded the upload."""


class _UncutError(Exception):
    """The image cannot be uploaded in chunks; one request is possible."""


@define(eq=False)
class _Attempt:
    """Remembers whether a request was retried, and counts that."""

    _meter: Meter
    retried: bool = field(init=False, default=False)

    def retry(self) -> None:
        self.retried = True
        self._meter.retry()


@define(eq=False)
class Upload:
    """
    Uploads `source` with `content` through `calls`, with progress to `meter`.

    `in_thread` calls a function in a thread.  Up to `concurrency` chunks are in flight.
    `about` is said about a new image; `on_edit_key` receives its edit key, None: the
    uploader does not want it.
    """

    _calls: Calls
    _source: Source
    _content: Content
    _meter: Meter
    _in_thread: Callable[..., Deferred[Any]] = field(kw_only=True)
    _concurrency: int = field(kw_only=True)
    _about: AboutFields = field(kw_only=True)
    _on_edit_key: OnEditKey | None = field(kw_only=True)
    _key_lost: bool = field(init=False, default=False)
    _described: bool = field(init=False, default=False)

    async def run(self, chunk_size: int | None) -> Uploaded:
        """
        Upload in chunks of `chunk_size` bytes; None chooses the method and size.

        Raises :exc:`SplitCharacterError` if `chunk_size` splits a character, and the
        errors of requests.
        """
        content = self._content
        chosen_here = chunk_size is None
        if chunk_size is None:
            if content.size > WHOLE_SIZE:
                chunk_size = await self._in_thread(
                    self._source.chunk_size, content, CHUNK_SIZE
                )
        elif await self._in_thread(self._source.splits, content, chunk_size):
            message = f"chunk size {chunk_size} splits a character: use another"
            raise SplitCharacterError(message)
        if chunk_size is None:
            return await self.whole()
        try:
            return await self._chunked(chunk_size)
        except _UncutError:
            return await self.whole()
        except RefusedError as error:
            # The server's limit is below the default.
            if not chosen_here or error.name != "chunk-too-large":
                raise
            return await self.whole()

    async def whole(self) -> Uploaded:
        """Upload in one request; raises :exc:`ChangedError` if the source changes."""
        size = self._content.size

        def on_read(done: int) -> None:
            self._meter.reached(done, size)

        body: bytes | Whole = Whole(self._source, size, on_read)
        if size <= SMALL:
            body = self._source.read(0, size)
        sha256 = self._content.sha256
        about = header_fields(self._about)
        is_registered = about is None
        if about is None:
            # JSON can say what header fields cannot; the upload keeps it.
            await self._register(ImageSpec(sha256, size, _REGISTERED_CHUNK_SIZE))
            about = header_fields(AboutFields(charset=self._about.charset)) or {}
        attempt = _Attempt(self._meter)
        try:
            put = await self._calls.put(sha256, body, about, on_retry=attempt.retry)
        except RefusedError as error:
            if error.name == "hash-mismatch" or await self._is_no_text(error):
                raise ChangedError from error
            raise
        if put.edit_key:
            self._described, self._key_lost = not is_registered, False
            await self._take_edit_key(put.edit_key)
        elif attempt.retried and not put.new:
            self._key_lost = True
        return self._uploaded(new=put.new)

    async def _take_edit_key(self, edit_key: str) -> None:
        if edit_key and self._on_edit_key is not None:
            taken = self._on_edit_key(self._content.sha256, edit_key)
            if taken is not None:
                await taken

    async def _is_no_text(self, error: RefusedError) -> bool:
        """Return whether a refusal is because the source is no longer UTF-8."""
        # The status has other causes, too, so examine the source.
        if error.status != HTTPStatus.BAD_REQUEST or self._content.size <= SMALL:
            return False
        try:
            await self._in_thread(self._source.examine)
        except NotTextError:
            return True
        return False

    def _uploaded(self, *, new: bool) -> Uploaded:
        content = self._content
        self._meter.reached(content.size, content.size)
        url = self._calls.url(content.sha256)
        link = self._calls.link(content.sha256)
        return Uploaded(
            content.sha256,
            content.size,
            url,
            link,
            new=new,
            described=self._described,
            edit_key_lost=self._key_lost,
        )

    async def _chunked(self, chunk_size: int) -> Uploaded:
        content = self._content
        wanted = ImageSpec(content.sha256, content.size, chunk_size)
        self._meter.reached(0, content.size)
        for _ in range(_BEGINNINGS):
            registered = await self._register(wanted)
            try:
                return await self._send_missing(wanted if registered else None)
            except _StartAgainError:
                continue
        # Another client keeps uploading wrong chunks.
        raise _UncutError

    async def _register(self, spec: ImageSpec) -> bool:
        """Register the image; return whether it is new."""
        attempt = _Attempt(self._meter)
        # Without a key, a PUT by another client would replace what is said.
        wants_key = self._on_edit_key is not None or self._about != AboutFields()
        try:
            edit_key = await self._calls.register(
                spec,
                self._about,
                edit_key=wants_key,
                on_retry=attempt.retry,
            )
        except RefusedError as error:
            if error.name != "image-exists":
                raise
            self._key_lost, self._described = attempt.retried, False
            return False
        self._key_lost, self._described = False, True
        await self._take_edit_key(edit_key)
        return True

    async def _send_missing(self, registered: ImageSpec | None) -> Uploaded:
        """Send the missing chunks until none is missing; all chunks if it is new."""
        backoff = self._calls.backoff(self._meter.retry)
        sent = False
        if registered is not None:
            await self._send(registered, iter(range(registered.chunks)))
            sent = True
        received = -1
        while True:
            status = await self._status()
            if status.state is ImageState.COMPLETE:
                if status.spec.size != self._content.size:
                    # The hash determines the size.
                    message = "invalid response: wrong size of the image"
                    raise LostError(message)
                return self._uploaded(new=sent)
            self._meter.reached(status.received, status.spec.size)
            if received < status.received:
                backoff.reset()
            else:
                message = "the server did not store the chunks"
                await backoff.after(LostError(message))
            received = status.received
            await self._check_cut(status.spec)
            await self._send(status.spec, _ids(status))
            sent = True

    async def _status(self) -> UploadStatus:
        try:
            return await self._calls.status(
                self._content.sha256, on_retry=self._meter.retry
            )
        except NotFoundError as error:
            raise _StartAgainError from error

    async def _check_cut(self, spec: ImageSpec) -> None:
        """Check that the registered chunk size splits no characters."""
        content = self._content
        if spec.size != content.size or await self._in_thread(
            self._source.splits, content, spec.chunk_size
        ):
            raise _UncutError

    async def _send(self, spec: ImageSpec, ids: Iterator[int]) -> None:
        """Send the chunks `ids`, each once, even if its outcome is unknown."""
        workers = min(self._concurrency, spec.chunks)
        await in_parallel([self._work(spec, ids) for _ in range(workers)])

    async def _work(self, spec: ImageSpec, ids: Iterator[int]) -> None:
        backoff = self._calls.backoff(self._meter.retry)
        for chunk_id in ids:
            body = await self._in_thread(self._chunk_body, spec, chunk_id)
            if await self._send_chunk(spec.sha256, body, backoff):
                backoff.reset()
                self._meter.add(spec.chunk_length(chunk_id))

    async def _send_chunk(self, sha256: str, body: bytes, backoff: Backoff) -> bool:
        """Send a chunk; return whether it is known to be stored."""
        while True:
            try:
                await self._calls.send_chunk(sha256, body)
            except LostError as error:
                # It may be stored; the status will show it.
                await backoff.after(error)
                return False
            except NotFoundError as error:
                raise _StartAgainError from error
            except RefusedError as error:
                if error.name == "chunk-exists":
                    raise _UncutError from error
                if error.name == "hash-mismatch":
                    raise _StartAgainError from error
                await backoff.after(error)
            except ServerFailedError as error:
                await backoff.after(error)
            else:
                return True

    def _chunk_body(self, spec: ImageSpec, chunk_id: int) -> bytes:
        length = spec.chunk_length(chunk_id)
        data = self._source.read(chunk_id * spec.chunk_size, length)
        if len(data) != length:
            raise ChangedError
        try:
            return chunk_body(chunk_id, data)
        except UnicodeDecodeError as error:
            raise ChangedError from error


def _ids(status: UploadStatus) -> Iterator[int]:
    """Yield the ids of the missing chunks in the status."""
    for first, last in status.missing:
        yield from range(first, last + 1)
