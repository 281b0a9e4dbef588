"""The library: a client of one server."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from twisted.internet.defer import Deferred, succeed

from asciid.client._calls import Calls, chunk_body
from asciid.client._download import Download
from asciid.client._patience import Patience, nothing
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
    from asciid.client._progress import OnProgress
    from asciid.client._upload import Uploaded
    from asciid.client.source import Uploadable
    from asciid.model import UploadStatus

__all__ = ["CONCURRENCY", "CONNECTIONS", "RETRIES", "Client"]

RETRIES = 10
"""Failures in a row that a request survives, unless said otherwise."""

CONCURRENCY = 8
"""Chunks of one image that are on their way at a time, unless said otherwise."""

CONNECTIONS = 64
"""Connections that are kept open at a time, for the next request."""

_CLOSED_WITHIN = 2.0
"""Seconds for connections to close."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")


class Client:
    """
    A client of the server at `base_url`, such as ``http://localhost:4444``.

    Requests go through `agent`; without one, connections are kept open and
    used again until `close`.  `token` goes with what writes (RFC 6750).
    What fails for a reason that may pass (no connection, 429, 502 to 504, 408)
    is tried again up to `retries` times in a row, after pauses that grow, or
    that the server asks for by Retry-After (RFC 9110, section 10.2.3);
    `on_retry` is called with the :exc:`ClientError` before each pause.

    Files are read and hashed in `threads`, by default the pool of `reactor`;
    that is the global one, unless given.

    Every method returns a Deferred.  Cancelling it stops the work at once, with
    its timers and its connections; `on_progress` and `on_retry`, which are a part
    of the work, cannot do that but in a later turn of the reactor.

    It fails with a :exc:`ClientError`: :exc:`NotFoundError`, :exc:`RefusedError`
    or :exc:`ServerFailedError` with the problem document, or :exc:`LostError`; or
    with :exc:`OSError` from a file.

    Raises :exc:`ValueError` if `base_url` is not the URL of a server or `token` is
    not a token, and :exc:`NoTLSError` if it is one of https and the packages for that
    are missing.
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

        def patience(on_one_retry: Callable[[], None]) -> Patience:
            return Patience(reactor, retries, rng, on_one_retry, on_retry)

        self._calls = Calls(
            Transport(reactor, agent, url, token=token, patience=patience)
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
        """Close it."""
        await self.close()

    def close(self) -> Deferred[None]:
        """
        Close the connections that are idle; fire when they are closed.

        It does not fail, and a server that does not take part (TLS asks it to) does
        not keep it waiting: what was to be done is done.
        """
        if self._pool is None:
            return succeed(None)
        closed: Deferred[None] = self._pool.closeCachedConnections()
        closed.addTimeout(_CLOSED_WITHIN, self._reactor)
        return closed.addErrback(lambda _: None)

    def url(self, sha256: str) -> str:
        """Return where an image can be downloaded."""
        return self._calls.url(_hash(sha256))

    def register(self, sha256: str, size: int, chunk_size: int) -> Deferred[None]:
        """Register an image of `size` bytes; one that is known is refused."""
        spec = ImageSpec(_hash(sha256), size, chunk_size)
        return Deferred.fromCoroutine(self._calls.register(spec))

    def upload_chunk(self, sha256: str, chunk_id: int, data: bytes) -> Deferred[None]:
        """
        Upload a chunk; one that is already stored, with the same bytes, is fine.

        Raises :exc:`ValueError` if `data` is not UTF-8.
        """
        body = chunk_body(chunk_id, data)
        return Deferred.fromCoroutine(self._calls.add_chunk(_hash(sha256), body))

    def status(self, sha256: str) -> Deferred[UploadStatus]:
        """Ask what is stored of an image, and what is missing."""
        return Deferred.fromCoroutine(self._calls.status(_hash(sha256)))

    def delete(self, sha256: str) -> Deferred[None]:
        """Remove an image; that takes a token."""
        return Deferred.fromCoroutine(self._calls.delete(_hash(sha256)))

    def put(
        self, source: Uploadable, *, on_progress: OnProgress | None = None
    ) -> Deferred[Uploaded]:
        """
        Upload an image in one request, whatever its size.

        For the rest it is like `upload`.
        """

        async def put(upload: Upload) -> Uploaded:
            return await upload.whole()

        return Deferred.fromCoroutine(self._with(source, put, 1, on_progress))

    def upload(
        self,
        source: Uploadable,
        chunk_size: int | None = None,
        concurrency: int = CONCURRENCY,
        on_progress: OnProgress | None = None,
    ) -> Deferred[Uploaded]:
        """
        Upload an image, or what is missing of it.

        `source` is its bytes, the path of its file, or a file open for reading.
        Up to `concurrency` chunks of `chunk_size` bytes are sent at a time.
        Without a chunk size the image is sent whole if it is small, or if its
        characters would be cut in two.  `on_progress` is called with each step.

        It also fails with :exc:`NotTextError` if the image is not UTF-8,
        :exc:`SplitCharacterError` if it cannot be cut so, and
        :exc:`ChangedError` if it changes meanwhile.
        """
        if concurrency < 1 or (chunk_size is not None and chunk_size < 1):
            message = "a chunk has one byte at least, and so many are sent at a time"
            raise ValueError(message)

        async def send(upload: Upload) -> Uploaded:
            return await upload.run(chunk_size)

        uploaded = self._with(source, send, concurrency, on_progress)
        return Deferred.fromCoroutine(uploaded)

    async def _with(
        self,
        what: Uploadable,
        send: Callable[[Upload], Coroutine[Deferred[Any], Any, Uploaded]],
        concurrency: int,
        on_progress: OnProgress | None,
    ) -> Uploaded:
        if isinstance(what, bytes) and len(what) <= SMALL:
            # A turn in a thread would cost more than this does.
            source, content = open_source(what)
        else:
            source, content = await self._in_thread(open_source, what)
        try:
            if content is None:
                # Closing the source also ends this, should it be cancelled.
                content = await self._in_thread(source.examine)
            upload = Upload(
                self._calls,
                source,
                content,
                Meter(on_progress),
                in_thread=self._in_thread,
                concurrency=concurrency,
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
        Download an image and check its hash; a part of it is asked for once.

        It is written to the path `to`, or where that links to, when all of it is there
        and right; without one, the Deferred fires with its bytes.  Until then it grows
        in a hidden file beside, which stays if the download fails, and spares a later
        one with `resume` that part.

        Where no answer tells how long the image is, its status is asked for that;
        without one, 1 GiB of it is taken at the most.

        It also fails with :exc:`DamagedError` if the bytes are wrong, and
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


def _hash(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        message = f"{text!r} is not a SHA-256 in 64 hex digits"
        raise ValueError(message)
    return text.lower()
