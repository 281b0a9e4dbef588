"""Tests of asciid.admin.moderation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.admin import moderation
from asciid.admin.control import Request
from asciid.admin.moderation import Moderation, ModerationError
from asciid.errors import ImageBlockedError, ImageNotFoundError, StoreClosedError
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.engines.lmdb._databases import Snapshot

CAT = b"/\\_/\\\n( o.o )\n >^<\n"


class ModerationTests(SynchronousTestCase):
    """Commands on the store of a daemon."""

    def setUp(self) -> None:
        """Start a store with an image."""
        self.driven = DrivenStore(self.mktemp())
        self.driven.start()
        self.addCleanup(self.driven.stop)
        self.sha256 = self.driven.upload(CAT, 1).sha256
        self.moderation = Moderation(self.driven.engine)
        self.progress: list[Any] = []

    def request(self, **arguments: object) -> Request:
        """Return a request with these arguments."""
        return Request(arguments, self.progress.append)

    def refused(self, deferred: Deferred[Any]) -> str:
        """Check that a command is refused; return why."""
        return str(self.failureResultOf(deferred, ModerationError).value)

    def test_block(self) -> None:
        """The image is removed, its chunks, too, and the reason is logged."""
        request = self.request(sha256=self.sha256, reason="spam")
        with capturedLogs() as logs:
            outcome = self.driven.run(self.moderation.block(request))
        self.assertEqual(outcome, {"removed": True})
        texts = [formatEvent(event) for event in logs]
        self.assertEqual(texts, [f"blocked {self.sha256}: spam"])
        opening = self.driven.store.open(self.sha256)
        self.assertRaises(ImageBlockedError, self.driven.run, opening)
        self.assertEqual(self.chunks(), 0)

    def chunks(self) -> int:
        """Return how many chunks are stored."""

        def entries(snapshot: Snapshot) -> int:
            stat = snapshot.transaction.stat(snapshot.databases.chunks)
            return int(stat["entries"])

        return self.driven.engine._environment.read(entries)

    def test_chunks_of_many(self) -> None:
        """The command waits until the last of many chunks is deleted."""
        reader = self.driven.run(self.driven.store.open(self.upload_many()))
        request = self.request(sha256=reader.spec.sha256, reason="spam")
        self.driven.run(self.moderation.block(request))
        reading = reader.read(100_000, 100_001)
        self.assertRaises(ImageNotFoundError, self.driven.run, reading)

    def upload_many(self) -> str:
        """Store an image of 3,000 chunks, which is not cached; return its hash."""
        return self.driven.upload(bytes(range(256)) * 1_200, 100).sha256

    def test_unblock(self) -> None:
        """The result is whether it was blocked."""
        request = self.request(sha256=self.sha256, reason="spam")
        self.driven.run(self.moderation.block(request))
        with capturedLogs() as logs:
            for expected in (True, False):
                outcome = self.driven.run(self.moderation.unblock(request))
                self.assertEqual(outcome, {"unblocked": expected})
        texts = [formatEvent(event) for event in logs]
        self.assertEqual(texts, [f"unblocked {self.sha256}"])

    def test_blocked(self) -> None:
        """Hashes are sent page by page."""
        self.patch(moderation, "PAGE", 2)
        hashes = [f"{number:064x}" for number in (1, 2, 3)]
        for sha256 in hashes:
            self.driven.run(self.driven.store.block(sha256, "Käse"))
        blocked = self.moderation.blocked(self.request())
        self.assertEqual(self.driven.run(blocked), {"hashes": 2})
        blocked = self.moderation.blocked(self.request(after=hashes[1]))
        self.assertEqual(self.driven.run(blocked), {"hashes": 1})
        found = [one for page in self.progress for one in page["blocked"]]
        since = 1_000_000_000
        self.assertEqual(
            found,
            [{"sha256": one, "reason": "Käse", "since": since} for one in hashes],
        )

    def test_arguments(self) -> None:
        """Arguments of other types and forms are refused."""
        block, unblock = self.moderation.block, self.moderation.unblock
        for sha256 in (None, 7, "", "A" * 64, "a" * 65, "a" * 64 + "\n"):
            request = self.request(sha256=sha256, reason="spam", after=sha256)
            self.assertIn("requires a SHA-256", self.refused(block(request)))
            self.assertIn("requires a SHA-256", self.refused(unblock(request)))
            if sha256:
                blocked = self.moderation.blocked(request)
                self.assertIn("requires a SHA-256", self.refused(blocked))
        for wrong in (None, 7):
            request = self.request(sha256=self.sha256, reason=wrong)
            self.assertIn("and a reason", self.refused(block(request)))
        for reason in ("", "a\nb", "x" * 501):
            request = self.request(sha256=self.sha256, reason=reason)
            self.assertIn("invalid reason: ", self.refused(block(request)))
        self.assertEqual(self.driven.download(self.sha256), CAT)

    def test_cancelled(self) -> None:
        """A client that disconnects does not end what it began."""
        request = self.request(sha256=self.sha256, reason="spam")
        blocking = self.moderation.block(request)
        blocking.cancel()
        self.failureResultOf(blocking, CancelledError)
        self.driven.settle()
        self.assertEqual(self.chunks(), 0)

    def test_stopping(self) -> None:
        """A daemon that stops refuses, or ends once the hash is blocked."""
        spec = spec_of(CAT)
        blocking = self.moderation.block(self.request(sha256=spec.sha256, reason="x"))
        self.driven.stop()
        self.assertEqual(self.successResultOf(blocking), {"removed": True})
        blocking = self.moderation.block(self.request(sha256=spec.sha256, reason="x"))
        self.failureResultOf(blocking, StoreClosedError)
        self.driven = DrivenStore(str(self.driven.path))
        self.driven.start()
        self.addCleanup(self.driven.stop)
