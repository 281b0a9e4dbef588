"""Resumable, verified downloads."""

from __future__ import annotations

import io
import os
import re
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from asciid.client._exceptions import ClientError, DamagedError, LostError, RefusedError
from asciid.client._part import PartFile, hash_of
from asciid.model import ImageState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asciid.client._calls import Calls
    from asciid.client._progress import Meter
    from asciid.client.exchange import Reply

__all__ = ["LARGEST_UNKNOWN", "Download"]

LARGEST_UNKNOWN = 1024**3
"""Maximum bytes of an image of unknown size."""

# RFC 9110, section 14.4; more digits exceed the offsets of files.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class Download:
    """
    Downloads the image `sha256` through `calls`, with progress to `meter`.

    `in_thread` calls a function in a thread.
    """

    def __init__(
        self,
        calls: Calls,
        sha256: str,
        meter: Meter,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._calls = calls
        self._sha256 = sha256
        self._meter = meter
        self._in_thread = in_thread
        self._total: int | None = None
        """Size of the image in bytes, once a response had it."""

    async def to_memory(self) -> bytes:
        """
        Return the image.

        Raises :exc:`DamagedError` and the errors of requests.
        """
        file = io.BytesIO()
        await self._fill(file)
        return file.getvalue()

    async def to_file(self, target: Path, *, resume: bool) -> None:
        """
        Write the image to `target` atomically.

        With `resume`, the partial file of an earlier download is used, and that of this
        one is kept if it fails.

        Raises the errors of `to_memory` and :meth:`PartFile.open`.
        """
        part = PartFile(target, self._sha256, resume=resume)
        try:
            await self._in_thread(part.open)
            await self._fill(part.file)
            await self._in_thread(part.finish)
        except BaseException:
            part.leave()
            raise

    async def _fill(self, file: IO[bytes]) -> None:
        """Download the missing rest of `file`, and check all of it."""
        while True:
            began_at = file.seek(0, os.SEEK_END)
            await self._get_rest(file)
            if await self._in_thread(hash_of, file) == self._sha256:
                return
            file.truncate(0)
            if not began_at:
                message = "hash mismatch: received bytes are not the requested image"
                raise DamagedError(message)

    async def _get_rest(self, file: IO[bytes]) -> None:
        backoff = self._calls.backoff(self._meter.retry)
        most = 0
        while True:
            begin = file.seek(0, os.SEEK_END)
            # A server without ranges sends the start again each time, which is no
            # progress.
            most = max(most, begin)
            try:
                await self._get_once(file, begin)
            except ClientError as error:
                if _nothing_left(error):
                    return  # verified by the hash
                if file.tell() > most:
                    backoff.reset()
                await backoff.after(error)
            else:
                return

    async def _get_once(self, file: IO[bytes], begin: int) -> None:
        end: int | None = None
        asking: Deferred[None] | None = None

        def sink(head: Reply) -> Callable[[bytes], object]:
            nonlocal end, asking
            start, end, total = _extent(head)
            if start not in {0, begin}:
                message = "invalid response: not the requested range"
                raise LostError(message)
            file.truncate(start)
            file.seek(start)
            if total is not None:
                self._total = total
            elif self._total is None:
                # During the download would fail with servers that accept one
                # connection.
                asking = Deferred.fromCoroutine(self._ask_total())
            return take

        def take(data: bytes) -> None:
            done = file.tell() + len(data)
            most = LARGEST_UNKNOWN if self._total is None else self._total
            if done > most or (end is not None and done > end):
                message = "invalid response: more bytes than the image has"
                raise DamagedError(message)
            file.write(data)
            self._meter.reached(done, done if self._total is None else self._total)

        try:
            await self._calls.get(self._sha256, begin, sink)
            # A body that ends with the connection may be incomplete.
            if asking is not None:
                await asking
        finally:
            if asking is not None:
                asking.addErrback(lambda _: None)
                asking.cancel()
        expected = end if self._total is None else self._total
        if expected is not None and file.tell() < expected:
            message = "incomplete response"
            raise LostError(message)

    async def _ask_total(self) -> None:
        """Request the size of the image from the status, if the server has one."""
        try:
            status = await self._calls.status_if_any(self._sha256)
        except ClientError:
            return
        # That of a pending image is only a claim.
        if status.state is ImageState.COMPLETE:
            self._total = status.spec.size


def _nothing_left(error: ClientError) -> bool:
    """Return whether the requested range is at the end of the image."""
    unsatisfiable = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return isinstance(error, RefusedError) and error.status == unsatisfiable


def _extent(head: Reply) -> tuple[int, int | None, int | None]:
    """Return start and end of the body in the image, and the size of the image."""
    if head.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, head.length, head.length
    match = _CONTENT_RANGE.fullmatch(head.header("Content-Range"))
    if match is None:
        message = "invalid response: partial content without Content-Range"
        raise LostError(message)
    start, end = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if start >= end or (total is not None and end > total):
        message = "invalid response: impossible Content-Range"
        raise LostError(message)
    return start, end, total
