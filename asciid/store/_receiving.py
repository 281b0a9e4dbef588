"""Receives an image in one request and passes its bytes to the engine."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from asciid.errors import AsciidError, HashMismatchError
from asciid.store._about_rules import check_new
from asciid.store._interface import IImageWriter
from asciid.store.operations import (
    Abandon,
    AddPieces,
    Adopt,
    Begin,
    Put,
    single_outcome,
)
from asciid.store.rules import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.model import NewImage
    from asciid.store.background import InBackground
    from asciid.store.engine import ApplyOperations
    from asciid.store.operations import AnyOperation, Completed

__all__ = ["StagingWriter"]

WHOLE = 256 * 1024
"""Images up to so many bytes are handed to the writer in one operation."""


@implementer(IImageWriter)
class StagingWriter:
    """
    Takes an image's bytes and stores them under no name until they are verified.

    `apply` is the engine's, `in_background` the store's.  `finished` is called with the
    last outcome, `rejected` if the bytes do not have the hash.  An image that `exists`
    is only hashed.  A `sha256` of None is that of the bytes.  `new` and `listed` are
    those of `Put`.
    """

    def __init__(  # noqa: PLR0913 - each is the store's, and of its own
        self,
        sha256: str | None,
        apply: ApplyOperations,
        finished: Callable[[Completed | None], bool],
        in_background: InBackground,
        *,
        rejected: Callable[[], None],
        exists: bool,
        new: NewImage | None = None,
        listed: bool = True,
    ) -> None:
        self.exists = exists
        self.described = False
        self.sha256 = sha256 or ""
        self._new = new
        self._listed = listed
        self._apply = apply
        self._finished = finished
        self._rejected = rejected
        self._in_background = in_background
        self._digest = sha256_of()
        self._size = 0
        self._stored = 0
        self._buffer = bytearray()
        self._number: int | None = None
        self._abandoned = False

    def describe(self, new: NewImage) -> None:
        """See `IImageWriter.describe`."""
        check_new(new)
        self._new = new

    def write(self, data: bytes) -> Deferred[None]:
        """See `IImageWriter.write`."""
        self._digest.update(data)
        self._size += len(data)
        if self.exists:
            return succeed(None)
        self._buffer += data
        if self._size <= WHOLE:
            return succeed(None)
        return Deferred.fromCoroutine(self._stage())

    def finish(self) -> Deferred[bool]:
        """See `IImageWriter.finish`."""
        actual = self._digest.hexdigest()
        self.sha256 = self.sha256 or actual
        if actual != self.sha256:
            self._rejected()
            failure = Failure(HashMismatchError(self.sha256, actual))
            return self.abandon().addCallback(lambda _: failure)
        if self.exists:
            return succeed(False)  # noqa: FBT003 - the result
        if self._size > WHOLE:
            return self._in_background(self._adopt())
        content = bytes(self._buffer)
        # Until the write is committed there is one copy.
        self._buffer = bytearray()
        put = Put(actual, content, self._new, self._listed)
        return self._apply((put,), self._ended)

    def abandon(self) -> Deferred[None]:
        """See `IImageWriter.abandon`."""
        return self._in_background(self._abandon())

    def _ended(self, outcomes: Sequence[Any]) -> bool | Failure:
        """Process the outcome of `Put` or `Adopt`."""
        outcome = outcomes[0]
        if isinstance(outcome, Exception):
            return Failure(outcome)
        self.described = outcome is not None and not outcome.keeps_record
        return self._finished(outcome)

    async def _stage(self) -> None:
        await self._store(len(self._buffer) // PIECE)

    async def _adopt(self) -> bool:
        try:
            number = await self._store(-(-len(self._buffer) // PIECE))
            adopt = Adopt(number, self.sha256, self._size, self._new, self._listed)
            is_new: bool = await self._apply((adopt,), self._ended)
        except AsciidError:
            await self._abandon()
            raise
        else:
            return is_new

    async def _change(self, operation: AnyOperation) -> Any:  # noqa: ANN401 - its outcome
        return await self._apply((operation,), single_outcome)

    async def _abandon(self) -> None:
        self._abandoned = True
        self._buffer.clear()
        number, self._number = self._number, None
        if number is None:
            return
        # Bytes that cannot be discarded now expire later.
        with suppress(AsciidError):
            await self._change(Abandon(number))
            self._finished(None)

    async def _begin(self) -> int:
        number: int = await self._change(Begin())
        self._number = number
        if self._abandoned:
            # The client has disconnected meanwhile: the number is not awaited.
            await self._abandon()
        return number

    async def _store(self, pieces: int) -> int:
        """Hand the next pieces over; return the number of the staged image."""
        number = self._number
        if number is None:
            number = await self._in_background(self._begin())
        first = self._stored
        length = pieces * PIECE
        head, self._buffer = self._buffer[:length], self._buffer[length:]
        cut = [bytes(head[i : i + PIECE]) for i in range(0, len(head), PIECE)]
        self._stored += len(cut)
        await self._change(AddPieces(number, first, cut))
        return number
