"""The owner's side of the commands block, unblock and blocked."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from asciid.errors import AsciidError
from asciid.store import check_reason
from asciid.store.background import Background
from asciid.store.operations import (
    BlockHash,
    DeleteDiscarded,
    UnblockHash,
    single_outcome,
)
from asciid.store.queries import ListBlocked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asciid.admin.control import Request
    from asciid.model import BlockedHash
    from asciid.store.engine import IEngine

__all__ = ["PAGE", "Moderation", "ModerationError", "as_documents"]

PAGE = 100
"""How many blocked hashes one command returns at the most."""

_SHA256 = re.compile("[0-9a-f]{64}")

_log = Logger()


class ModerationError(AsciidError):
    """A command has invalid arguments."""


def as_documents(blocked: Sequence[BlockedHash]) -> list[dict[str, Any]]:
    """Return blocked hashes as the members of JSON objects."""
    return [
        {"sha256": each.sha256, "reason": each.reason, "since": each.since}
        for each in blocked
    ]


@define(eq=False)
class Moderation:
    """The commands on the images of `engine`, which must be started."""

    engine: IEngine
    _background: Background = field(init=False, factory=Background)

    def block(self, request: Request) -> Deferred[Mapping[str, object]]:
        """
        Remove an image, and refuse its ``sha256`` for the ``reason``.

        The result has ``removed``: whether there was an image or a pending upload.

        Errors: `ModerationError`, those of a commit.
        """
        sha256, reason = (
            request.arguments.get("sha256"),
            request.arguments.get("reason"),
        )
        if not _is_sha256(sha256) or not isinstance(reason, str):
            return fail(ModerationError("block requires a SHA-256 and a reason"))
        try:
            check_reason(reason)
        except ValueError as error:
            return fail(ModerationError(str(error)))
        # A client that disconnects cancels the Deferred, not the work.
        return self._background.run(self._block(str(sha256), reason))

    def unblock(self, request: Request) -> Deferred[Mapping[str, object]]:
        """
        Accept a ``sha256`` again.

        The result has ``unblocked``: whether it was blocked.

        Errors: `ModerationError`, those of a commit.
        """
        sha256 = request.arguments.get("sha256")
        if not _is_sha256(sha256):
            return fail(ModerationError("unblock requires a SHA-256"))
        return self._background.run(self._unblock(str(sha256)))

    def blocked(self, request: Request) -> Deferred[Mapping[str, object]]:
        """
        Send the next `PAGE` blocked hashes above ``after``, as progress.

        The result has ``hashes``: how many these are.

        Errors: `ModerationError`, those of a query.
        """
        after = request.arguments.get("after", "")
        if after and not _is_sha256(after):
            return fail(ModerationError("blocked requires a SHA-256 to begin after"))

        def found(hashes: Sequence[BlockedHash]) -> Mapping[str, object]:
            request.progress({"blocked": as_documents(hashes)})
            return {"hashes": len(hashes)}

        return self.engine.ask(ListBlocked(str(after), PAGE)).addCallback(found)

    async def _block(self, sha256: str, reason: str) -> Mapping[str, object]:
        blocking = BlockHash(sha256, reason)
        removed = await self.engine.apply((blocking,), single_outcome)
        _log.warn("blocked {sha256}: {reason}", sha256=sha256, reason=reason)
        # A download that is under way finds chunks until they are deleted.
        with suppress(AsciidError):
            while await self.engine.apply((DeleteDiscarded(),), single_outcome):
                pass
        return {"removed": removed}

    async def _unblock(self, sha256: str) -> Mapping[str, object]:
        unblocked = await self.engine.apply((UnblockHash(sha256),), single_outcome)
        if unblocked:
            _log.warn("unblocked {sha256}", sha256=sha256)
        return {"unblocked": unblocked}


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
