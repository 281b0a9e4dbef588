"""Downloads with missing or wrong lengths."""

from __future__ import annotations

import random
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from asciid.client import DamagedError, LostError, Progress, _download
from tests.client.worlds import Answered, Lost, World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IProtocol, IReactorTime

ART = bytes(random.Random(9).choices(b"/\\_|-(). o\n", k=10_000))
SHA256 = sha256(ART).hexdigest()
IMAGE = ("GET", f"/image/{SHA256}")
STATUS = ("GET", f"/image/{SHA256}/chunks")
PIECE = 100


class Unmeasured(Answered):
    """
    A response without a length, which ends with the connection.

    It is sent in pieces, without an end if `endless`, until the client closes it; with
    a `clock`, in later iterations.
    """

    def __init__(
        self,
        code: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        endless: bool = False,
        clock: IReactorTime | None = None,
    ) -> None:
        super().__init__(code, body, headers)
        self.length: Any = UNKNOWN_LENGTH
        self.endless = endless
        self.clock = clock
        self.delivered = 0
        self.dropped = False

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver it, now or later."""
        protocol.makeConnection(cast("Any", self))
        if self.clock is None:
            self._deliver(protocol)
        else:
            self.clock.callLater(0.01, self._deliver, protocol)

    def _deliver(self, protocol: IProtocol) -> None:
        while not self.dropped:
            piece = self.body[self.delivered % len(self.body) :][:PIECE]
            protocol.dataReceived(piece)
            self.delivered += len(piece)
            if self.delivered == len(self.body) and not self.endless:
                break
        protocol.connectionLost(Failure(PotentialDataLoss()))

    def loseConnection(self) -> None:
        """Record the end of the connection."""
        self.dropped = True


class LengthTests(SynchronousTestCase):
    """`Client.download` with such responses."""

    def setUp(self) -> None:
        """Make a world with an image, and a directory."""
        self.world = World(retries=3)
        self.world.finish(self.world.client.put(ART))
        self.network = self.world.network
        self.network.asked.clear()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "art.txt"
        self.progress: list[Progress] = []

    def download(self) -> None:
        """Download the image to the path."""
        self.network.asked.clear()
        downloading = self.world.client.download(
            SHA256, self.path, on_progress=self.progress.append
        )
        try:
            self.world.finish(downloading)
        finally:
            self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def part_size(self) -> int:
        """Return the size of the partial file."""
        (part,) = self.directory.iterdir()
        self.assertEqual(part.suffix, ".part")
        return part.stat().st_size

    def test_unmeasured(self) -> None:
        """Without a length, the status is requested once."""
        self.network.always(Unmeasured(200, ART), IMAGE)
        self.download()
        self.assertEqual(self.path.read_bytes(), ART)
        self.assertEqual(self.network.asked, [IMAGE, STATUS])
        self.assertEqual(self.progress[-1], Progress(10_000, 10_000, 0))

    def test_measured(self) -> None:
        """With a length there is no other request."""
        self.download()
        self.assertEqual(self.network.asked, [IMAGE])

    def test_endless(self) -> None:
        """One that does not end is cut where the image ends, by its status."""
        answer = Unmeasured(200, ART, endless=True, clock=self.world.reactor)
        self.network.always(answer, IMAGE)
        self.assertRaises(DamagedError, self.download)
        self.assertTrue(answer.dropped)
        self.assertEqual(self.part_size(), len(ART))
        self.assertEqual(self.network.asked, [IMAGE, STATUS])

    def test_endless_of_known_length(self) -> None:
        """Once it is known how long the image is, nothing is written beyond that."""
        part = Answered(206, ART[:10], {"Content-Range": "bytes 0-9/10000"})
        self.network.first(part, Unmeasured(200, ART, endless=True))
        self.assertRaises(DamagedError, self.download)
        self.assertEqual(self.part_size(), len(ART))
        self.assertEqual(self.network.asked, [IMAGE, IMAGE])

    def test_endless_without_status(self) -> None:
        """Without any length there is a limit."""
        self.patch(_download, "LARGEST_UNKNOWN", 50_000)
        for status in (404, 405, 500):
            answer = Unmeasured(200, ART, endless=True)
            answers = {IMAGE: answer, STATUS: Answered(status)}
            self.network.faults = lambda *asked: answers[asked]  # noqa: B023 - at once
            self.assertRaises(DamagedError, self.download)
            self.assertEqual(self.part_size(), 50_000)

    def test_status_of_pending(self) -> None:
        """The size of a pending image is not used."""
        world = World()
        world.finish(world.client.register(SHA256, 5, 5))
        self.world = world
        self.network = world.network
        self.network.always(Unmeasured(200, ART), IMAGE)
        self.download()
        self.assertEqual(self.path.read_bytes(), ART)

    def test_ends_early(self) -> None:
        """A response that ends too early is resumed."""
        for resumes in (True, False):
            self.path.unlink(missing_ok=True)
            rest = () if resumes else (Unmeasured(200, ART),)
            answers = iter((Unmeasured(200, ART[:6_000]), *rest))
            self.network.faults = lambda *asked: (
                next(answers, None) if asked == IMAGE else None  # noqa: B023 - at once
            )
            self.network.fields.clear()
            self.download()
            self.assertEqual(self.path.read_bytes(), ART)
            # Its length is known by then.
            self.assertEqual(self.network.asked, [IMAGE, STATUS, IMAGE])
            ranges = [each.getRawHeaders("Range") for each in self.network.fields]
            self.assertEqual(ranges, [None, None, ["bytes=6000-"]])

    def test_part_ends_early(self) -> None:
        """So is a partial response that is too short."""
        fields = {"Content-Range": "bytes 0-9999/*"}
        part = Unmeasured(206, ART[:6_000], fields)
        self.network.first(part, Answered(404))
        self.download()
        self.assertEqual(self.path.read_bytes(), ART)
        self.assertEqual(self.network.asked, [IMAGE, STATUS, IMAGE])

    def test_ends_early_always(self) -> None:
        """After repeated early ends it fails, and the partial file is kept."""
        self.network.faults = lambda *asked: (
            Unmeasured(200, ART[:6_000]) if asked == IMAGE else None
        )
        self.assertRaises(LostError, self.download)
        self.assertEqual(self.part_size(), 6_000)

    def test_impossible_range(self) -> None:
        """A part that ends before it begins, or after the image, is not believed."""
        for content_range in ("bytes 0-9999/5000", "bytes 7-6/10"):
            self.network.always(Answered(206, ART, {"Content-Range": content_range}))
            self.assertRaises(LostError, self.download)
            self.assertEqual(list(self.directory.iterdir()), [])

    def test_longer_than_range(self) -> None:
        """A partial response is truncated at its announced end."""
        for content_range in ("bytes 0-4999/10000", "bytes 0-4999/*"):
            fields = {"Content-Range": content_range}
            answer = Unmeasured(206, ART, fields, endless=True)
            self.network.always(answer, IMAGE)
            self.assertRaises(DamagedError, self.download)
            self.assertTrue(answer.dropped)
            self.assertEqual(self.part_size(), 5_000)

    def test_parts(self) -> None:
        """Ranges shorter than requested add up to the image."""
        parts = iter(range(0, len(ART), 2_500))

        def faults(method: str, path: str) -> Answered | None:
            if (method, path) != IMAGE:
                return None
            begin = next(parts)
            fields = {"Content-Range": f"bytes {begin}-{begin + 2_499}/10000"}
            return Unmeasured(206, ART[begin : begin + 2_500], fields)

        self.network.faults = faults
        self.download()
        self.assertEqual(self.path.read_bytes(), ART)
        self.assertEqual(self.network.asked, [IMAGE] * 4)

    def test_cancel(self) -> None:
        """Cancelled during the status request, it leaves nothing running."""
        answer = Unmeasured(200, ART, clock=self.world.reactor)
        self.network.faults = lambda *asked: answer if asked == IMAGE else Lost()
        downloading = self.world.client.download(SHA256, self.path)
        self.world.settle()
        self.assertIn(STATUS, self.network.asked)
        downloading.cancel()
        self.failureResultOf(downloading, CancelledError)
        self.world.settle()
        # The remaining one is that of the response.
        self.assertEqual(len(self.world.reactor.getDelayedCalls()), 1)
