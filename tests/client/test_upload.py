"""Uploads by the library: requests and failures."""

from __future__ import annotations

import io
import json
import os
import random
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.client import (
    ChangedError,
    LostError,
    NotFoundError,
    NotTextError,
    Progress,
    RefusedError,
    ServerFailedError,
    SplitCharacterError,
    Uploaded,
    _upload,
)
from tests.client.worlds import Answered, Lost, LostAfter, World

if TYPE_CHECKING:
    from collections.abc import Callable

ART = bytes(random.Random(7).choices(b"/\\_|-(). o\n", k=1_000))
SHA256 = sha256(ART).hexdigest()
CHUNKS = f"/image/{SHA256}/chunks"


class UploadTests(SynchronousTestCase):
    """`Client.upload` and `Client.put`."""

    def setUp(self) -> None:
        """Make a world."""
        self.world = World()
        self.progress: list[Progress] = []

    def upload(self, art: bytes = ART, chunk_size: int | None = 100) -> Uploaded:
        """Upload an image."""
        uploading = self.world.client.upload(
            art, chunk_size, on_progress=self.progress.append
        )
        return self.world.finish(uploading)

    def assert_stored(self, art: bytes = ART) -> None:
        """Check that the image can be downloaded, and that nothing is left over."""
        downloading = self.world.client.download(sha256(art).hexdigest())
        self.assertEqual(self.world.finish(downloading), art)
        self.assertEqual(self.world.reactor.getDelayedCalls(), [])

    def test_small(self) -> None:
        """A small image is sent whole, in one request."""
        uploaded = self.upload(chunk_size=None)
        url = f"http://asciid.test/image/{SHA256}"
        link = f"http://asciid.test/i/{SHA256[:12]}"
        self.assertEqual(uploaded, Uploaded(SHA256, len(ART), url, link, new=True))
        self.assertEqual(self.world.network.asked, [("PUT", f"/image/{SHA256}")])
        self.assertFalse(self.upload(chunk_size=None).new)
        self.assertEqual(self.progress[-1], Progress(1_000, 1_000, 0))
        self.assert_stored()

    def test_empty(self) -> None:
        """The image of no bytes can be uploaded, either way."""
        self.assertTrue(self.upload(b"", None).new)
        self.assertFalse(self.upload(b"", 10).new)
        self.assert_stored(b"")

    def test_chunks(self) -> None:
        """Each chunk is sent once, then the status is requested."""
        self.assertTrue(self.upload().new)
        self.assertEqual(sorted(self.world.store.sent), list(range(10)))
        self.assertEqual(self.world.network.asked[0], ("POST", "/image"))
        self.assertEqual(self.world.network.asked[-1], ("GET", CHUNKS))
        self.assertEqual(len(self.world.network.asked), 12)
        self.assertEqual([step.done for step in self.progress][-1], 1_000)
        self.assert_stored()

    def test_concurrency(self) -> None:
        """The number of chunks in flight is limited."""
        sent: list[Deferred[None]] = []
        calls = self.world.client._calls
        most = 0

        async def send_chunk(sha256: str, body: bytes) -> None:
            nonlocal most
            sent.append(Deferred())
            most = max(most, len(sent))
            await sent[-1]
            await send(sha256, body)

        send = calls.send_chunk
        self.patch(calls, "send_chunk", send_chunk)
        uploading = self.world.client.upload(ART, 100, concurrency=3)
        self.world.settle()
        while sent:
            sent.pop().callback(None)
            self.world.settle()
        self.assertTrue(self.world.finish(uploading).new)
        self.assertEqual(most, 3)
        for chunk_size, concurrency in ((100, 0), (0, 1)):
            with self.assertRaises(ValueError):
                self.world.client.upload(ART, chunk_size, concurrency)

    def test_resumes(self) -> None:
        """An earlier upload is resumed with its chunk size."""
        client, finish = self.world.client, self.world.finish
        finish(client.register(SHA256.upper(), 1_000, 300))
        finish(client.upload_chunk(SHA256, 2, ART[600:900]))
        status = finish(client.status(SHA256))
        self.assertEqual((status.received, status.missing), (300, ((0, 1), (3, 3))))
        self.assertIsNot(status.expires, 0)
        self.assertTrue(self.upload().new)
        self.assertEqual(sorted(self.world.store.sent), [0, 1, 2, 3])
        self.assertEqual(self.progress[1].done, 300)
        self.assert_stored()

    def test_known(self) -> None:
        """Of an image that the server has, nothing is sent."""
        self.upload()
        self.world.store.sent.clear()
        self.assertFalse(self.upload().new)
        self.assertEqual(self.world.store.sent, [])

    def test_many_gaps(self) -> None:
        """A truncated status is requested again."""
        client, finish = self.world.client, self.world.finish
        art = ART * 5
        digest = sha256(art).hexdigest()
        finish(client.register(digest, 5_000, 2))
        for chunk_id in range(1, 2_500, 2):
            data = art[2 * chunk_id : 2 * chunk_id + 2]
            finish(self.world.store.add_chunk(digest, chunk_id, data))
        self.assertTrue(finish(client.status(digest)).missing_cut)
        self.upload(art)
        self.assertEqual(sorted(self.world.store.sent), list(range(2_500)))
        self.assert_stored(art)

    def test_not_text(self) -> None:
        """Invalid or truncated UTF-8 is not sent; the error says where it is."""
        first = 2**20 - 1  # the piece that is read first ends within a character
        for wrong, offset in (
            (b"\xff", 0),
            ("aö".encode()[:2], 1),
            (b"a" * first + "▀".encode() + b"\xff", first + 3),
            (b"a" * first + "▀".encode()[:2] + b"\xff", first),
            (b"a" * first + "▀".encode()[:2], first),
        ):
            error = self.assertRaises(NotTextError, self.upload, wrong)
            self.assertEqual(error.offset, offset)
        self.assertEqual(self.world.network.asked, [])

    def test_split(self) -> None:
        """A chunk size that splits a character is refused."""
        self.assertRaises(SplitCharacterError, self.upload, "öö".encode(), 1)
        self.upload("öö".encode(), 2)
        self.assert_stored("öö".encode())

    def test_chosen_size(self) -> None:
        """Without a chunk size, one is found that cuts between characters."""
        self.patch(_upload, "WHOLE_SIZE", 10)
        self.patch(_upload, "CHUNK_SIZE", 100)
        art = "█".encode() * 100
        self.upload(art, None)
        self.assertEqual(sorted(self.world.store.sent), [0, 1, 2, 3])
        self.assert_stored(art)

    def test_no_size(self) -> None:
        """Without a suitable size the image is sent whole, read in pieces."""
        self.patch(_upload, "WHOLE_SIZE", 10)
        self.patch(_upload, "CHUNK_SIZE", 4)
        art = ("ö█" * 60_000).encode()
        self.upload(art, None)
        self.assertEqual(self.world.store.sent, [])
        self.assertGreater(len(self.progress), 3)
        self.assert_stored(art)

    def test_limit(self) -> None:
        """If the default chunk size is too large, the image is sent whole."""
        self.patch(_upload, "CHUNK_SIZE", 1024 * 1024 + 1)
        art = b"/" * (1024 * 1024 + 2)
        self.upload(art, None)
        self.assertEqual(self.world.store.sent, [])
        self.assert_stored(art)
        with self.assertRaises(RefusedError) as raised:
            self.upload(art + b"/", 1024 * 1024 + 1)
        self.assertEqual(raised.exception.name, "chunk-too-large")

    def test_registered_otherwise(self) -> None:
        """A pending upload that cannot be finished in chunks is sent whole."""
        art = ("ö" * 500).encode()
        digest = sha256(art).hexdigest()
        self.world.finish(self.world.client.register(digest, 1_000, 333))
        self.upload(art)
        self.assert_stored(art)
        self.world.finish(self.world.client.register(SHA256, 77, 10))
        self.upload()
        self.assert_stored()

    def test_wrong_chunk(self) -> None:
        """Wrong chunks of another client do not prevent the upload."""
        client, finish = self.world.client, self.world.finish
        finish(client.register(SHA256, 1_000, 100))
        finish(client.upload_chunk(SHA256, 3, b"x" * 100))
        self.upload()
        self.assert_stored()
        with self.assertRaises(RefusedError) as raised:
            finish(client.upload_chunk(SHA256, 3, b"x" * 100))
        self.assertEqual(raised.exception.name, "chunk-exists")
        finish(client.upload_chunk(SHA256, 3, ART[300:400]))

    def test_thrown_away(self) -> None:
        """A discarded upload is started again."""
        vanish = {5, 9, 20}
        known = Answered(404, b'{"type": "/problems/image-not-found"}')

        def faults(_method: str, path: str) -> Answered | None:
            asked = len(self.world.network.asked)
            gone = asked in vanish and path == CHUNKS
            return known if gone else None

        self.world.network.faults = faults
        self.upload()
        self.assert_stored()

    def test_thrown_away_again(self) -> None:
        """Too often, and it is sent whole."""
        mismatch = Answered(422, b'{"type": "/problems/hash-mismatch"}')
        for method, answer in (("POST", mismatch), ("GET", Answered(404))):
            self.world = World()
            self.world.network.always(answer, (method, CHUNKS))
            self.upload()
            asked = self.world.network.asked
            self.assertEqual(asked.count(("POST", "/image")), 3)
            self.assertEqual(asked[-1], ("PUT", f"/image/{SHA256}"))
            self.assert_stored()

    def test_file(self) -> None:
        """A path, an open file and a pipe are as good as bytes."""
        path = Path(self.mktemp())
        path.write_bytes(ART)
        reader, writer = os.pipe()
        feeder = Thread(target=lambda: os.fdopen(writer, "wb").write(ART))
        feeder.start()
        self.addCleanup(feeder.join)
        for source in (path, str(path), io.BytesIO(ART), os.fdopen(reader, "rb")):
            self.world = World()
            uploading = self.world.client.upload(source, 100)
            self.assertTrue(self.world.finish(uploading).new)
            self.assert_stored()
        fifo = Path(self.mktemp())
        os.mkfifo(fifo)
        feeder = Thread(target=lambda: fifo.write_bytes(ART))
        feeder.start()
        self.addCleanup(feeder.join)
        self.assertFalse(self.world.finish(self.world.client.put(fifo)).new)

    def test_no_file(self) -> None:
        """An unreadable file is an error."""
        for path in (Path(self.mktemp()), "/"):
            with self.assertRaises(OSError):
                self.world.finish(self.world.client.upload(path))

    def test_changing_file(self) -> None:
        """A file that changes during the upload is an error."""
        for change in (b"", b"\xff" * 100_000):
            path = Path(self.mktemp())
            path.write_bytes(ART * 100)

            def faults(method: str, asked: str) -> None:
                if (method, asked) == ("POST", "/image"):
                    path.write_bytes(change)  # noqa: B023 - it runs in this turn

            world = World()
            world.network.faults = faults
            with self.assertRaises(ChangedError):
                world.finish(world.client.upload(path, 10_000))
        # Also a part of it, with the same length, or to invalid UTF-8.
        for changed in (ART * 99, ART[::-1] * 100, b"\xff" * 100_000):
            path.write_bytes(ART * 100)

            def change_it(_method: str, _path: str) -> None:
                path.write_bytes(changed)  # noqa: B023 - it runs in this turn

            self.world.network.faults = change_it
            with self.assertRaises(ChangedError):
                self.world.finish(self.world.client.put(path))

    def test_refused_as_malformed(self) -> None:
        """A refusal of an unchanged file is reported as such."""
        self.world.network.always(Answered(400))
        for size in (1, 100):
            with self.assertRaises(RefusedError):
                self.world.finish(self.world.client.put(ART * size))

    def test_refused(self) -> None:
        """A refusal is not retried, and has its reason."""
        world = World(max_image_size=999)
        for chunk_size in (None, 100):
            with self.assertRaises(RefusedError) as raised:
                world.finish(world.client.upload(ART, chunk_size))
            self.assertEqual(raised.exception.status, 413)
            self.assertEqual(str(raised.exception), raised.exception.detail)
        self.assertEqual(raised.exception.name, "image-too-large")
        self.assertEqual(len(world.network.asked), 2)

    def test_cancel(self) -> None:
        """Cancelled at any moment, it leaves no timer and sends no request."""
        for steps in range(9):
            world = World()
            uploading = world.client.upload(ART, 100)
            for _ in range(steps):
                world.threads.step()
                world.network.flush()
                world.reactor.advance(0)
            uploading.cancel()
            asked = len(world.network.asked)
            self.failureResultOf(uploading, CancelledError)
            world.settle()
            self.assertEqual(world.reactor.getDelayedCalls(), [])
            self.assertEqual(len(world.network.asked), asked)

    def test_token(self) -> None:
        """A token is sent with writes only."""
        self.world = World(token="secret")
        self.upload()
        sent = {
            (method, fields.getRawHeaders("Authorization", [None])[0])
            for (method, _), fields in zip(
                self.world.network.asked, self.world.network.fields, strict=True
            )
        }
        self.assertEqual(sent, {("POST", "Bearer secret"), ("GET", None)})


class FailureTests(SynchronousTestCase):
    """Retries: which errors, when, and how often."""

    def setUp(self) -> None:
        """Make a world."""
        self.world = World()

    @settings(max_examples=25)
    @given(st.integers())
    def test_bad_network(self, seed: int) -> None:
        """Whatever requests are lost, the image arrives, and no chunk for nothing."""
        rng = random.Random(seed)
        world = World(retries=50)

        def faults(_method: str, _path: str) -> Lost | LostAfter | Answered | None:
            fate = rng.randrange(6)
            if fate == 0:
                return Lost()
            if fate == 1:
                return LostAfter()
            return Answered(503) if fate == 2 else None

        world.network.faults = faults
        progress: list[Progress] = []
        world.finish(world.client.upload(ART, 100, on_progress=progress.append))
        done = [step.done for step in progress]
        self.assertEqual(done, sorted(done))
        self.assertEqual(done[-1], len(ART))
        retries = [step.retries for step in progress]
        self.assertEqual(retries, sorted(retries))
        self.assertEqual(sorted(world.store.sent), list(range(10)))
        self.assertEqual(world.reactor.getDelayedCalls(), [])

    def test_gives_up(self) -> None:
        """Without a connection it ends after as many tries as it may make."""
        world = World(retries=3)
        world.network.always(Lost())
        client = world.client
        begin: list[Callable[[], Deferred[Any]]] = [
            lambda: client.upload(ART, 100),
            lambda: client.put(ART),
            lambda: client.upload_chunk(SHA256, 0, b"x"),
        ]
        for asking in begin:
            world.network.asked.clear()
            with self.assertRaises(LostError):
                world.finish(asking())
            self.assertEqual(len(world.network.asked), 4)
        self.assertEqual(world.reactor.getDelayedCalls(), [])

    def test_chunks_give_up(self) -> None:
        """The same if the chunks fail."""
        world = World(retries=3)
        world.network.always(Lost(), ("POST", CHUNKS))
        with self.assertRaises(LostError):
            world.finish(world.client.upload(ART, 100))

    def test_no_progress(self) -> None:
        """A server that stores nothing is detected."""
        world = World(retries=3)
        world.network.always(Answered(201), ("POST", CHUNKS))
        with self.assertRaises(LostError):
            world.finish(world.client.upload(ART, 100))

    def wait_after(self, answer: Answered) -> float:
        """Return the delay after such a response."""
        world = World()
        world.network.first(answer)
        world.finish(world.client.put(ART))
        return world.reactor.seconds()

    def test_retry_after(self) -> None:
        """It honours Retry-After, in seconds or as a date."""
        for status in (408, 429, 502, 503, 504):
            waited = self.wait_after(Answered(status, b"", {"Retry-After": "7"}))
            self.assertTrue(7 < waited < 8, waited)
        dates = {
            "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
            "Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT",
        }
        waited = self.wait_after(Answered(503, b"", dates))
        self.assertTrue(30 < waited < 31, waited)
        # Of old, and by the clock here, since the answer has no Date.
        del dates["Date"]
        for value in (dates["Retry-After"], "soon", "Sun, 06 Nov 1994 08:50:07 -0000"):
            waited = self.wait_after(Answered(503, b"", {"Retry-After": value}))
            self.assertTrue(0 < waited < 1, waited)

    def test_no_date(self) -> None:
        """An invalid date is ignored."""
        never = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
        for fields in (
            {"Retry-After": never},
            {"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT", "Date": never},
        ):
            waited = self.wait_after(Answered(503, b"", fields))
            self.assertTrue(0 < waited < 1, waited)

    def test_too_long(self) -> None:
        """It does not wait for hours."""
        answer = Answered(503, b'{"title": "Out"}', {"Retry-After": "3600"})
        self.world.network.always(answer)
        with self.assertRaises(ServerFailedError) as raised:
            self.world.finish(self.world.client.put(ART))
        self.assertEqual(raised.exception.retry_after, 3_600)
        self.assertEqual(str(raised.exception), "Out")
        self.assertEqual(len(self.world.network.asked), 1)

    def test_no_problem_document(self) -> None:
        """Errors of others than asciid, and redirections, are errors."""
        for status, body in ((500, b"<html>"), (507, b"[" * 10_000), (301, b"[]")):
            answer = Answered(status, body)
            self.world.network.always(answer)
            with self.assertRaises((ServerFailedError, RefusedError)) as raised:
                self.world.finish(self.world.client.upload(ART, 100))
            self.assertIn(str(status), str(raised.exception))
            self.assertEqual(raised.exception.name, "")

    def test_nonsense(self) -> None:
        """An answer that is no status, or never ends, is not understood."""
        world = World(retries=0)
        for answer in (Answered(200, b"{}"), Answered(200, b"x" * 2_000_000)):
            world.network.always(answer)
            with self.assertRaises(LostError):
                world.finish(world.client.status(SHA256))

    def test_impossible_status(self) -> None:
        """An impossible status is refused."""
        right = {
            "sha256": SHA256.upper(),
            "size": 1_000,
            "chunk_size": 100,
            "state": "pending",
            "received": 0,
            "created": "2024-01-02T15:04:05Z",
            "missing": [[0, 9]],
            "missing_cut": False,
            "expires": None,
        }
        for wrong in (
            {},
            {"sha256": "0" * 64},
            {"size": -1},
            {"chunk_size": 0},
            {"chunk_size": -100},
            {"missing": [[0, 10]]},
            {"missing": [[-1, 3]]},
            {"missing": [[3, 2]]},
            {"created": "0001-01-01T00:00:00+23:59"},
            {"expires": "0001-01-01T00:00:00"},
            {"completed": "0001-01-01T00:00:00+23:59"},
        ):
            answer = Answered(200, json.dumps({**right, **wrong}).encode())
            self.world.network.always(answer)
            asking = self.world.client.status(SHA256)
            if not wrong:
                self.assertEqual(self.world.finish(asking).missing, ((0, 9),))
                continue
            with self.assertRaises(LostError, msg=wrong):
                self.world.finish(asking)

    def test_complete_with_another_size(self) -> None:
        """A complete status with another size is refused."""
        self.world.finish(self.world.client.put(ART))
        status = {
            "sha256": SHA256,
            "size": 1,
            "chunk_size": 100,
            "state": "complete",
            "received": 1,
            "created": "2024-01-02T15:04:05Z",
            "missing": [],
            "missing_cut": False,
            "expires": None,
        }
        answer = Answered(200, json.dumps(status).encode())
        self.world.network.always(answer, ("GET", CHUNKS))
        with self.assertRaises(LostError) as raised:
            self.world.finish(self.world.client.upload(ART, 100))
        self.assertIn("wrong size", str(raised.exception))

    def test_another_server(self) -> None:
        """A server that is not asciid, such as a captive portal, is detected."""
        self.world.network.always(Answered(200, b"<html>Welcome"))
        client = self.world.client
        with self.assertRaises(LostError):
            self.world.finish(client.put(ART))
        with self.assertRaises(LostError):
            self.world.finish(client.upload(ART, 100))
        with self.assertRaises(LostError):
            self.world.finish(client.delete(SHA256))

    def test_failing_chunk(self) -> None:
        """A chunk that cannot be stored ends the upload; one that may be does not."""
        answers = [Answered(429), Answered(503), Answered(507)]
        self.world.network.first(*answers, request=("POST", CHUNKS))
        with self.assertRaises(ServerFailedError):
            self.world.finish(self.world.client.upload(ART, 100, concurrency=1))
        self.assertEqual(len(self.world.network.asked), 1 + len(answers))

    def test_other_chunk(self) -> None:
        """A chunk that another has just sent wrong is no reason to give up."""
        other = b'{"type": "/problems/chunk-exists", "identical": false}'
        self.world.network.always(Answered(409, other), ("POST", CHUNKS))
        self.world.finish(self.world.client.upload(ART, 100))
        self.assertEqual(self.world.network.asked[-1][0], "PUT")

    def test_refused_chunk(self) -> None:
        """A chunk that is refused ends the upload."""
        self.world.network.always(Answered(413), ("POST", CHUNKS))
        with self.assertRaises(RefusedError):
            self.world.finish(self.world.client.upload(ART, 100))

    def test_delete(self) -> None:
        """An image is removed by one request."""
        self.world.network.always(Answered(204))
        self.world.finish(self.world.client.delete(SHA256.upper()))
        self.assertEqual(self.world.network.asked, [("DELETE", f"/image/{SHA256}")])
        with self.assertRaises(ValueError):
            self.world.client.delete("cat")

    def test_delete_again(self) -> None:
        """A missing image counts as deleted only after a lost response."""
        self.world.network.first(Lost(), Answered(404))
        self.world.finish(self.world.client.delete(SHA256))
        self.world.network.first(Answered(404))
        with self.assertRaises(NotFoundError):
            self.world.finish(self.world.client.delete(SHA256))
