"""The last chunks of images that are too large to be hashed in a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from asciid.errors import HashMismatchError
from asciid.store.operations import AddChunk, Finish, Unverified
from asciid.store.queries import HashWith

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.queries import Query

__all__ = ["LastChunks"]


class LastChunks:
    """
    Has the engine hash such an image, then stores its last chunk.

    Each image is hashed by one at a time.  `ask` is the engine's, `change` the store's;
    `discarded` is called when an upload was discarded.
    """

    def __init__(
        self,
        ask: Callable[[Query[str]], Deferred[str]],
        change: Callable[[AnyOperation], Deferred[Any]],
        discarded: Callable[[], object],
    ) -> None:
        self._ask = ask
        self._change = change
        self._discarded = discarded
        # Hash -> Deferreds that wait for the end of that image's verification.
        self._verifying: dict[str, list[Deferred[None]]] = {}

    @property
    def busy(self) -> Container[str]:
        """The hashes of the images that are being hashed."""
        return self._verifying

    async def finish(
        self, upload: Unverified, chunk_id: int, data: bytes
    ) -> Completed | None:
        """Store the last chunk of `upload`, as `AddChunk` would have."""
        outcome: Completed | Unverified | None = upload
        while isinstance(outcome, Unverified):
            waiting = self._verifying.get(upload.spec.sha256)
            if waiting is None:
                outcome = await self._verify(outcome, chunk_id, data)
            else:
                ended: Deferred[None] = Deferred()
                waiting.append(ended)
                await ended
                outcome = await self._change(
                    AddChunk(upload.spec.sha256, chunk_id, data)
                )
        return outcome

    async def _verify(
        self, upload: Unverified, chunk_id: int, data: bytes
    ) -> Completed | Unverified | None:
        waiting = self._verifying[upload.spec.sha256] = []
        try:
            actual = await self._ask(HashWith(upload, chunk_id, data))
            outcome: Completed | Unverified | None = await self._change(
                Finish(upload, chunk_id, data, actual)
            )
        except HashMismatchError:
            self._discarded()
            raise
        else:
            return outcome
        finally:
            del self._verifying[upload.spec.sha256]
            for ended in waiting:
                ended.callback(None)
