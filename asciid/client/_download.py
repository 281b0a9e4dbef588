"""A download that goes on where it was cut off, and is checked at its end."""

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
"""Bytes that are taken of an image at the most if no answer tells how many it has."""

# RFC 9110, section 14.4; with more digits it is no place in a file.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class Download:
    """
    Downloads the image `sha256` by `calls`; `meter` follows.

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
        """Bytes of the image, once an answer has told."""

    async def to_memory(self) -> bytes:
        """
        Return the image.

        Raises :exc:`DamagedError` and what requests raise.
        """
        file = io.BytesIO()
        await self._fill(file)
        return file.getvalue()

    async def to_file(self, target: Path, *, resume: bool) -> None:
        """
        Write the image to `target`, which never holds a part of it.

        With `resume`, what an earlier download left beside it is not asked for
        again, and what this one may have to leave is kept.

        Raises what `to_memory` and :meth:`PartFile.open` do.
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
        """Get what `file` lacks, and check all of it."""
        while True:
            began_at = file.seek(0, os.SEEK_END)
            await self._get_rest(file)
            if await self._in_thread(hash_of, file) == self._sha256:
                return
            file.truncate(0)
            if not began_at:
                message = "what was received does not have the hash asked for"
                raise DamagedError(message)

    async def _get_rest(self, file: IO[bytes]) -> None:
        patience = self._calls.patience(self._meter.retry)
        most = 0
        while True:
            begin = file.seek(0, os.SEEK_END)
            # A server without ranges begins again each time; to get as far as
            # before is nothing new then.
            most = max(most, begin)
            try:
                await self._get_once(file, begin)
            except ClientError as error:
                if _nothing_left(error):
                    return  # the hash will show whether that is right
                if file.tell() > most:
                    patience.reset()
                await patience.after(error)
            else:
                return

    async def _get_once(self, file: IO[bytes], begin: int) -> None:
        end: int | None = None
        asking: Deferred[None] | None = None

        def sink(head: Reply) -> Callable[[bytes], object]:
            nonlocal end, asking
            start, end, total = _extent(head)
            if start not in {0, begin}:
                message = "the server sent another range than it was asked for"
                raise LostError(message)
            file.truncate(start)
            file.seek(start)
            if total is not None:
                self._total = total
            elif self._total is None:
                # Meanwhile, for a server may have one connection at a time.
                asking = Deferred.fromCoroutine(self._ask_total())
            return take

        def take(data: bytes) -> None:
            done = file.tell() + len(data)
            most = LARGEST_UNKNOWN if self._total is None else self._total
            if done > most or (end is not None and done > end):
                message = "the server sends more than there can be of the image"
                raise DamagedError(message)
            file.write(data)
            self._meter.reached(done, done if self._total is None else self._total)

        try:
            await self._calls.get(self._sha256, begin, sink)
            # One that ends with the connection may be all there is, or not.
            if asking is not None:
                await asking
        finally:
            if asking is not None:
                asking.addErrback(lambda _: None)
                asking.cancel()
        expected = end if self._total is None else self._total
        if expected is not None and file.tell() < expected:
            message = "the answer ended too early"
            raise LostError(message)

    async def _ask_total(self) -> None:
        """Have the status tell how long the image is, if the server has one."""
        try:
            status = await self._calls.status_if_any(self._sha256)
        except ClientError:
            return
        # Of a pending one it is what somebody has claimed.
        if status.state is ImageState.COMPLETE:
            self._total = status.spec.size


def _nothing_left(error: ClientError) -> bool:
    """Tell whether there is nothing at the range that was asked for."""
    unsatisfiable = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return isinstance(error, RefusedError) and error.status == unsatisfiable


def _extent(head: Reply) -> tuple[int, int | None, int | None]:
    """Return where the body begins and ends in the image, and the image's length."""
    if head.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, head.length, head.length
    match = _CONTENT_RANGE.fullmatch(head.header("Content-Range"))
    if match is None:
        message = "the server sent a part and did not say which"
        raise LostError(message)
    start, end = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if start >= end or (total is not None and end > total):
        message = "the server sent a part that no image can have"
        raise LostError(message)
    return start, end, total
