"""The owner's side of the commands, with simulated processes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.admin.control import Request
from asciid.admin.owner_commands import MAX_READERS, Maintenance, MaintenanceError
from asciid.admin.reader import ANSWERS, DESTINATION, FOUND, PRINTED, STORAGE
from asciid.engines.lmdb._copying import Copied
from asciid.errors import StoreBusyError
from tests._played_process import PlayedProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.protocol import ProcessProtocol

DIGEST = bytes(range(32))


@define
class Lock:
    """A lock that is held."""

    held: int = 17


@define
class Store:
    """An engine whose operations the test completes."""

    lock: Lock = field(factory=Lock)
    identity: tuple[int, int] = (1, 2)
    aside: list[tuple[bytes, bytes, int]] = field(factory=list)
    mended: list[tuple[str, bytes]] = field(factory=list)
    answer: Deferred[Any] = field(factory=Deferred)

    def put_aside(self, digest: bytes, record: bytes, completed: int) -> Deferred[bool]:
        """See `IMaintained.put_aside`."""
        self.aside.append((digest, record, completed))
        return self.answer

    def mend(self, name: str, key: bytes) -> Deferred[bool]:
        """See `IMaintained.mend`."""
        self.mended.append((name, key))
        return self.answer

    def purge_quarantine(self) -> Deferred[int]:
        """See `IMaintained.purge_quarantine`."""
        return succeed(3)

    def restore_quarantine(self) -> Deferred[int]:
        """See `IMaintained.restore_quarantine`."""
        return succeed(4)

    def compact(self) -> Deferred[Copied]:
        """See `IMaintained.compact`."""
        return self.answer


class Process(PlayedProcess):
    """A process that reads, as far as its owner sees it."""

    @property
    def answers(self) -> bytes:
        """What its owner answered."""
        return self.received[ANSWERS]

    def find(self, document: object) -> None:
        """Have it find something; it arrives in pieces."""
        line = json.dumps(document).encode() + b"\n"
        self.write(FOUND, line[:5])
        self.write(FOUND, line[5:])


class MaintenanceTests(SynchronousTestCase):
    """The commands."""

    def setUp(self) -> None:
        """Make a store, and a reactor that plays processes."""
        self.store = Store()
        self.processes: list[Process] = []
        self.maintenance = Maintenance(self.store, self)  # type: ignore[arg-type]
        self.progress: list[Mapping[str, object]] = []

    def spawnProcess(
        self,
        protocol: ProcessProtocol,
        executable: str,
        arguments: list[str],
        *,
        env: object,
        childFDs: Mapping[int, int | str],
    ) -> None:
        """Start a process; see `IReactorProcess`."""
        self.assertEqual(executable, arguments[0])
        self.assertIs(env, os.environ)
        process = Process(protocol, arguments, os.environ, childFDs)
        protocol.transport = process  # type: ignore[assignment] # as far as it is used
        self.processes.append(process)

    def request(self, descriptor: int | None = None, **arguments: Any) -> Request:  # noqa: ANN401 - JSON
        """Return a request."""
        return Request(arguments, self.progress.append, descriptor)

    def verify(self, **arguments: Any) -> tuple[Deferred[Any], Process]:  # noqa: ANN401 - JSON
        """Begin to verify."""
        verifying = self.maintenance.verify(self.request(**arguments))
        return verifying, self.processes[-1]

    def assert_refused(self, asked: Deferred[Any], *words: str) -> None:
        """Check the error of a command."""
        failure = self.failureResultOf(asked, MaintenanceError)
        for word in words:
            self.assertIn(word, str(failure.value))

    def test_verify(self) -> None:
        """A reader process reads; the owner quarantines and reports damaged images."""
        verifying, process = self.verify(rate=7, quarantine=True)
        self.assertEqual(process.arguments[1:4], ["-P", "-m", "asciid.admin.reader"])
        self.assertEqual(
            json.loads(process.arguments[4]),
            {"task": "verify", "rate": 7, "quarantine": True, "identity": [1, 2]},
        )
        self.assertEqual(
            process.descriptors, {ANSWERS: "w", FOUND: "r", PRINTED: "r", STORAGE: 17}
        )
        process.find({"put_aside": [DIGEST.hex(), "0102", 5]})
        self.assertEqual(self.store.aside, [(DIGEST, b"\x01\x02", 5)])
        self.assertEqual(process.answers, b"")
        self.store.answer.callback(True)  # noqa: FBT003 - the result
        self.assertEqual(process.answers, b"1")
        process.find({"damaged": {"sha256": "a", "reason": "b"}})
        self.assertEqual(self.progress, [{"damaged": {"sha256": "a", "reason": "b"}}])
        process.find({"done": {"images": 5, "bytes": 6}})
        self.assertNoResult(verifying)
        process.end()
        self.assertEqual(self.successResultOf(verifying), {"images": 5, "bytes": 6})

    def test_mends(self) -> None:
        """The process has records mended, and reports those that were."""
        verifying, process = self.verify(quarantine=True)
        process.find({"mend": ["listing", "0102"]})
        self.assertEqual(self.store.mended, [("listing", b"\x01\x02")])
        self.store.answer.callback(True)  # noqa: FBT003 - the result
        self.assertEqual(process.answers, b"1")
        document = {"inconsistent": {"sha256": "a", "reason": "b"}}
        process.find(document)
        self.assertEqual(self.progress, [document])
        process.find({"done": {"images": 5, "bytes": 6}})
        process.end()
        self.assertEqual(self.successResultOf(verifying), {"images": 5, "bytes": 6})

    def test_image_removed_meanwhile(self) -> None:
        """The process learns that an image that it found damaged has been removed."""
        _, process = self.verify(quarantine=True)
        self.store.answer.callback(False)  # noqa: FBT003 - the result
        process.find({"put_aside": [DIGEST.hex(), "00", 5]})
        self.assertEqual(process.answers, b"0")

    def test_quarantine_that_fails(self) -> None:
        """If an image cannot be quarantined, the verification fails."""
        verifying, process = self.verify(quarantine=True)
        self.store.answer.errback(StoreBusyError())
        process.find({"put_aside": [DIGEST.hex(), "00", 5]})
        self.assertTrue(process.killed)
        process.end(ProcessTerminated(signal=9))
        self.assert_refused(verifying, "change the storage", str(StoreBusyError()))

    def test_answer_after_the_end(self) -> None:
        """A process that is killed while it waits for an answer fails its command."""
        verifying, process = self.verify(quarantine=True)
        process.find({"put_aside": [DIGEST.hex(), "0102", 5]})
        process.lost.add(ANSWERS)
        self.store.answer.callback(True)  # noqa: FBT003 - the result
        self.successResultOf(self.store.answer)
        process.end(ProcessTerminated(signal=9))
        self.assert_refused(verifying, "signal 9")

    def test_purge(self) -> None:
        """The quarantine is deleted after the verification."""
        verifying, process = self.verify(purge=True)
        process.find({"done": {"images": 5, "bytes": 6}})
        process.end()
        report = {"images": 5, "bytes": 6, "purged": 3}
        self.assertEqual(self.successResultOf(verifying), report)

    def test_restore(self) -> None:
        """Images are taken out of quarantine, and nothing is read."""
        restoring = self.maintenance.verify(self.request(restore=True))
        self.assertEqual(self.successResultOf(restoring), {"restored": 4})
        self.assertEqual(self.processes, [])

    def test_wrong_rate(self) -> None:
        """A rate that is no number of bytes is refused."""
        for rate in (-1, "fast", None, 1.5):
            asked = self.maintenance.verify(self.request(rate=rate))
            self.assert_refused(asked, "rate")

    def test_backup(self) -> None:
        """The other process writes to the descriptor of the command."""
        backing_up = self.maintenance.backup(self.request(descriptor=19))
        (process,) = self.processes
        self.assertEqual(process.descriptors[DESTINATION], 19)
        process.find({"done": {}})
        process.end()
        self.assertEqual(self.successResultOf(backing_up), {})
        self.assert_refused(self.maintenance.backup(self.request()), "descriptor")

    def test_error(self) -> None:
        """The result of the reader process is the result."""
        verifying, process = self.verify()
        process.find({"error": "No space left on device"})
        process.end()
        self.assert_refused(verifying, "No space left on device")

    def test_crash(self) -> None:
        """One that ends by a signal harms nothing here; its last words are logged."""
        verifying, process = self.verify()
        process.write(PRINTED, b"Fatal Python error\n")
        process.write(PRINTED, b"x" * 100_000)
        process.write(PRINTED, b"x")
        with capturedLogs() as events:
            process.end(ProcessTerminated(signal=11))
        self.assertIn("Fatal Python error", str(formatEvent(events[0])))
        self.assertLess(len(str(formatEvent(events[0]))), 20_000)
        self.assert_refused(verifying, "signal 11")

    def test_command_that_leaves(self) -> None:
        """The process is killed; later output is ignored."""
        verifying, process = self.verify()
        verifying.cancel()
        self.failureResultOf(verifying, CancelledError)
        self.assertTrue(process.killed)
        process.end(ProcessTerminated(signal=9))

    def test_stop(self) -> None:
        """When the owner stops, commands that read get that error."""
        verifying, process = self.verify()
        self.maintenance.stop()
        self.maintenance.stop()
        process.end(ProcessTerminated(signal=9))
        self.assert_refused(verifying, "the daemon is stopping")
        self.maintenance.stop()

    def test_too_many(self) -> None:
        """The number of concurrent readers is limited."""
        begun = [self.verify() for _ in range(MAX_READERS)]
        asked = self.maintenance.verify(self.request())
        self.assert_refused(asked, str(MAX_READERS))
        begun[0][1].find({"done": {}})
        begun[0][1].end()
        self.assertNoResult(self.verify()[0])

    def test_compact(self) -> None:
        """Nothing reads the file that is exchanged."""
        verifying, process = self.verify()
        self.assert_refused(self.maintenance.compact(self.request()), "asciid verify")
        process.end()
        self.failureResultOf(verifying, MaintenanceError)
        compacting = self.maintenance.compact(self.request())
        self.assert_refused(self.maintenance.verify(self.request()), "asciid compact")
        self.store.answer.callback(Copied(images=1, before=3, after=2))
        report = {"images": 1, "bytes_before": 3, "bytes_after": 2}
        self.assertEqual(self.successResultOf(compacting), report)
        self.verify()

    def test_compaction_whose_command_leaves(self) -> None:
        """The compaction continues, and until its end no reader starts."""
        compacting = self.maintenance.compact(self.request())
        compacting.cancel()
        self.failureResultOf(compacting, CancelledError)
        self.assert_refused(self.maintenance.verify(self.request()), "asciid compact")
        self.store.answer.errback(OSError("No space left on device"))
        self.verify()
