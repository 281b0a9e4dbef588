"""The client of one server."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from twisted.internet.defer import Deferred, succeed

from asciid.client._backoff import Backoff, nothing
from asciid.client._calls import Calls, chunk_body
from asciid.client._download import Download
from asciid.client._image_about import NOTHING
from asciid.client._progress import Meter
from asciid.client._transport import Transport
from asciid.client._upload import Upload
from asciid.client.agent import make_agent, make_pool, parse_base_url
from asciid.client.source import SMALL, open_source
from asciid.client.wire import check_token
from asciid.model import ImageSpec
from asciid.runtime.reactor import Reactor, installed_reactor
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from twisted.python.threadpool import ThreadPool
    from twisted.web.iweb import IAgent

    from asciid.client._exceptions import ClientError
    from asciid.client._found_images import ListingPage
    from asciid.client._image_about import AboutFields, ImageAbout
    from asciid.client._progress import OnProgress
    from asciid.client._upload import OnEditKey, Uploaded
    from asciid.client.source import Uploadable
    from asciid.model import UploadStatus

__all__ = ["CONCURRENCY", "CONNECTIONS", "RETRIES", "Client"]

RETRIES = 10
"""Default retries of a request."""

CONCURRENCY = 8
"""Default number of chunks of an image in flight."""

CONNECTIONS = 64
"""Maximum idle connections."""

_CLOSED_WITHIN = 2.0
"""Timeout in seconds for closing connections."""

LISTED = 50
"""Default number of images in a page of the listing."""

_DIGITS = re.compile(r"[0-9a-fA-F]{12,64}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")


class Client:
    """
    A client of the server at `base_url`, such as ``http://localhost:4444``.

    Requests are sent through `agent`; the default keeps connections alive until
    `close`.  `token` is sent with writes (RFC 6750).  Temporary failures (no
    connection, 429, 502 to 504, 408) are retried up to `retries` times in a row, with
    exponential backoff or the delay in Retry-After (RFC 9110, section 10.2.3);
    `on_retry` is called with the :exc:`ClientError` before each delay.

    Files are read and hashed in `threads`, by default the pool of `reactor`, which is
    by default the global one.

    Every method but `url` and `link` returns a Deferred.  Cancelling it stops its
    timers and closes its connections at once; `on_progress` and `on_retry` must not
    cancel it except in a later reactor iteration.

    Errors: a :exc:`ClientError`: :exc:`NotFoundError`, :exc:`RefusedError` or
    :exc:`ServerFailedError` with the problem document, or :exc:`LostError`; or
    :exc:`OSError` of a file.

    The constructor raises :exc:`ValueError` for an invalid `base_url` or `token`, and
    :exc:`NoTLSError` for https without the required packages.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        base_url: str,
        *,
        agent: IAgent | None = None,
        token: str | None = None,
        retries: int = RETRIES,
        reactor: Reactor = None,
        threads: ThreadPool | None = None,
        rng: random.Random | None = None,
        on_retry: Callable[[ClientError], None] = nothing,
    ) -> None:
        url = parse_base_url(base_url)
        if token:
            check_token(token)
        if reactor is None:
            reactor = installed_reactor()
        self._reactor = reactor
        self._threads = threads
        self._pool = None
        if agent is None:
            self._pool = make_pool(reactor, CONNECTIONS)
            agent = make_agent(reactor, url, self._pool)
        rng = rng or random.SystemRandom()

        def backoff(on_one_retry: Callable[[], None]) -> Backoff:
            return Backoff(reactor, retries, rng, on_one_retry, on_retry)

        self._calls = Calls(
            Transport(reactor, agent, url, token=token, backoff=backoff)
        )

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    def close(self) -> Deferred[None]:
        """
        Close the idle connections; fire when they are closed.

        It never fails, and waits a limited time for the server's part in closing TLS.
        """
        if self._pool is None:
            return succeed(None)
        closed: Deferred[None] = self._pool.closeCachedConnections()
        closed.addTimeout(_CLOSED_WITHIN, self._reactor)
        return closed.addErrback(lambda _: None)

    def url(self, sha256: str) -> str:
        """Return the URL of an image."""
        return self._calls.url(_hash(sha256))

    def link(self, sha256: str) -> str:
        """Return the short URL of the page of an image."""
        return self._calls.link(_hash(sha256))

    def register(self, sha256: str, size: int, chunk_size: int) -> Deferred[None]:
        """Register an image of `size` bytes; fails if it is already registered."""
        spec = ImageSpec(_hash(sha256), size, chunk_size)
        registered = Deferred.fromCoroutine(self._calls.register(spec))
        return registered.addCallback(lambda _: None)

    def upload_chunk(self, sha256: str, chunk_id: int, data: bytes) -> Deferred[None]:
        """
        Upload a chunk; succeeds if it is already stored with the same bytes.

        Raises :exc:`ValueError` if `data` is not UTF-8.
        """
        body = chunk_body(chunk_id, data)
        return Deferred.fromCoroutine(self._calls.add_chunk(_hash(sha256), body))

    def status(self, sha256: str) -> Deferred[UploadStatus]:
        """Request the status of an image."""
        return Deferred.fromCoroutine(self._calls.status(_hash(sha256)))

    def resolve(self, digits: str) -> Deferred[str]:
        """
        Request the hash of the complete image whose hash begins with `digits`.

        They are 12 or more hex digits.  Fails with :exc:`AmbiguousError` if there are
        several images.
        """
        if _DIGITS.fullmatch(digits) is None:
            message = f"{digits!r} is not the start of a SHA-256 (12 to 64 hex digits)"
            raise ValueError(message)
        return Deferred.fromCoroutine(self._calls.resolve(digits.lower()))

    def random(self) -> Deferred[str]:
        """Request the hash of a listed image that the server draws at random."""
        return Deferred.fromCoroutine(self._calls.random())

    def listing(
        self, following: str = "", *, limit: int = LISTED
    ) -> Deferred[ListingPage]:
        """
        Request up to `limit` listed images, from 1 to 100, the newest first.

        `following` is that of the page before, whose limit it has.
        """
        return Deferred.fromCoroutine(
            self._calls.listing(following or f"limit={limit}")
        )

    def about(self, sha256: str) -> Deferred[ImageAbout]:
        """Request what is said about an image."""
        return Deferred.fromCoroutine(self._calls.about(_hash(sha256)))

    def set_about(
        self,
        sha256: str,
        about: AboutFields,
        *,
        etag: str = "",
        edit_key: str | None = None,
    ) -> Deferred[None]:
        """
        Replace what is said about an image; requires its edit key, or a token.

        With `etag`, of an :class:`ImageAbout`, it fails with a :exc:`RefusedError` of
        the status 412 if there was another change since.
        """
        _check_edit_key(edit_key)
        changed = self._calls.set_about(_hash(sha256), about, etag, edit_key)
        return Deferred.fromCoroutine(changed)

    def delete(self, sha256: str, *, edit_key: str | None = None) -> Deferred[None]:
        """Delete an image; requires its edit key, or a token."""
        _check_edit_key(edit_key)
        return Deferred.fromCoroutine(self._calls.delete(_hash(sha256), edit_key))

    def put(
        self,
        source: Uploadable,
        *,
        on_progress: OnProgress | None = None,
        about: AboutFields = NOTHING,
        on_edit_key: OnEditKey | None = None,
    ) -> Deferred[Uploaded]:
        """
        Upload an image in one request, whatever its size.

        Otherwise like `upload`.
        """

        async def put(upload: Upload) -> Uploaded:
            return await upload.whole()

        uploaded = self._with(
            source, put, 1, on_progress, about=about, on_edit_key=on_edit_key
        )
        return Deferred.fromCoroutine(uploaded)

    def upload(  # noqa: PLR0913 - each has its default
        self,
        source: Uploadable,
        chunk_size: int | None = None,
        concurrency: int = CONCURRENCY,
        on_progress: OnProgress | None = None,
        *,
        about: AboutFields = NOTHING,
        on_edit_key: OnEditKey | None = None,
    ) -> Deferred[Uploaded]:
        """
        Upload an image, or its missing chunks.

        `source` is its bytes, the path of its file, or a file open for reading.  Up to
        `concurrency` chunks of `chunk_size` bytes are in flight.  Without a chunk size
        the image is sent in one request if it is small, or if chunks would split
        characters.  `on_progress` is called with each step.

        `about` is said about the image if it is new.  `on_edit_key` then receives the
        edit key, as soon as the server has sent it, which is before an upload in chunks
        is complete.

        Further errors: :exc:`NotTextError` if the image is not UTF-8,
        :exc:`SplitCharacterError` if `chunk_size` splits a character,
        :exc:`ChangedError` if the image changes meanwhile.
        """
        if concurrency < 1 or (chunk_size is not None and chunk_size < 1):
            message = "chunk_size and concurrency must be at least 1"
            raise ValueError(message)

        async def send(upload: Upload) -> Uploaded:
            return await upload.run(chunk_size)

        uploaded = self._with(
            source, send, concurrency, on_progress, about=about, on_edit_key=on_edit_key
        )
        return Deferred.fromCoroutine(uploaded)

    async def _with(  # noqa: PLR0913 - what `upload` was called with
        self,
        what: Uploadable,
        send: Callable[[Upload], Coroutine[Deferred[Any], Any, Uploaded]],
        concurrency: int,
        on_progress: OnProgress | None,
        *,
        about: AboutFields,
        on_edit_key: OnEditKey | None,
    ) -> Uploaded:
        if isinstance(what, bytes) and len(what) <= SMALL:
            # Cheaper than a call in a thread.
            source, content = open_source(what)
        else:
            source, content = await self._in_thread(open_source, what)
        try:
            if content is None:
                # If this is cancelled, closing the source ends the thread's work.
                content = await self._in_thread(source.examine)
            upload = Upload(
                self._calls,
                source,
                content,
                Meter(on_progress),
                in_thread=self._in_thread,
                concurrency=concurrency,
                about=about,
                on_edit_key=on_edit_key,
            )
            return await send(upload)
        finally:
            source.close()

    @overload
    def download(
        self, sha256: str, to: None = None, *, on_progress: OnProgress | None = None
    ) -> Deferred[bytes]: ...

    @overload
    def download(
        self,
        sha256: str,
        to: str | os.PathLike[str],
        *,
        resume: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Deferred[None]: ...

    def download(
        self,
        sha256: str,
        to: str | os.PathLike[str] | None = None,
        *,
        resume: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Deferred[bytes] | Deferred[None]:
        """
        Download an image and check its hash; received parts are not requested again.

        The complete, verified image is moved to the path `to`, through symbolic links;
        without one, the Deferred fires with its bytes.  Until then it is in a hidden
        file beside, which is kept if the download fails, for a later one with `resume`.

        If responses lack the size of the image, its status is requested; without one,
        the limit is 1 GiB.

        Further errors: :exc:`DamagedError` if the bytes are wrong, and
        :exc:`DownloadBusyError` while another download to the same path runs.
        """
        meter = Meter(on_progress)
        download = Download(self._calls, _hash(sha256), meter, self._in_thread)
        if to is None:
            return Deferred.fromCoroutine(download.to_memory())
        return Deferred.fromCoroutine(download.to_file(Path(to), resume=resume))

    def _in_thread(
        self,
        call: Callable[ParametersT, ResultT],
        *args: ParametersT.args,
        **kwargs: ParametersT.kwargs,
    ) -> Deferred[ResultT]:
        threads = self._threads or self._reactor.getThreadPool()
        return call_in_pool(self._reactor, threads, call, *args, **kwargs)


def _check_edit_key(edit_key: str | None) -> None:
    """Raise :exc:`ValueError`, without the key, if it cannot be sent."""
    if edit_key is not None:
        check_token(edit_key)


def _hash(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        message = f"{text!r} is not a SHA-256 (64 hex digits)"
        raise ValueError(message)
    return text.lower()
