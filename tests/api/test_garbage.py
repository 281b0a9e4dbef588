"""Requests leave no reference cycles, refused or not."""

from __future__ import annotations

import gc
import json
from hashlib import sha256
from types import FrameType
from typing import Any

from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._forms import Form
from asciid.api._text_upload import TextUpload
from asciid.store import PendingLimits
from asciid.store._receiving import WHOLE
from tests.api._raw import parse_response
from tests.api._support import make_api, make_server
from tests.store._support import DrivenStore

UNKNOWN = sha256(b"unknown").hexdigest()
KNOWN = sha256(b"known").hexdigest()


class GarbageTests(SynchronousTestCase):
    """Errors from the store, whose frames a cycle would keep until a collection."""

    def setUp(self) -> None:
        """Serve a store whose limit of one pending upload is reached."""
        limits = PendingLimits(total=9, per_client=1)
        self.driven = DrivenStore(self.mktemp(), pending=limits)
        self.driven.start()
        self.addCleanup(self.driven.stop)
        api = make_api(self.driven.store, max_image_size=1_000_000, max_chunk_size=100)
        self.server = make_server(api, self.driven.reactor)
        self.assertEqual(self.register(KNOWN), 201)

    def ask(self, method: str, path: str, members: object = None) -> int:
        """Send a request; return the status of the answer."""
        body = "" if members is None else json.dumps(members)
        return self.send(method, path, "application/json", body)

    def send(self, method: str, path: str, media_type: str, body: str) -> int:
        """Send a request with that body; return the status of the answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
        transport: Any = StringTransportWithDisconnection()
        protocol = self.server.buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        kind = f"Content-Type: {media_type}\r\n\r\n"
        protocol.dataReceived(f"{head}{kind}{body}".encode(errors="surrogateescape"))
        self.driven.settle()
        status: int = parse_response(transport.value()).status
        transport.loseConnection()
        return status

    def register(self, digest: str) -> int:
        """Register an image; return the status of the answer."""
        members = {"sha256": digest, "size": 10, "chunk_size": 5}
        return self.ask("POST", "/image", members)

    def test_refusals(self) -> None:
        """No frame of a refused request is part of a cycle."""
        chunk = {"id": 9, "size": 1, "data": "x"}
        requests: list[tuple[int, str, str, object]] = [
            (404, "GET", f"/image/{UNKNOWN}", None),
            (404, "GET", f"/image/{KNOWN}", None),
            (404, "GET", f"/image/{UNKNOWN}/chunks", None),
            (404, "POST", f"/image/{UNKNOWN}/chunks", chunk),
            (400, "POST", f"/image/{KNOWN}/chunks", chunk),
            (400, "POST", "/image", {}),
        ]
        self.save_garbage()
        for status, method, path, members in requests:
            self.assertEqual(self.ask(method, path, members), status, (method, path))
        self.assertEqual(self.register(KNOWN), 409)
        self.assertEqual(self.register(UNKNOWN), 429)
        self.assert_no_frames()

    def test_files(self) -> None:
        """Nor is one of a refused file or form."""
        form = "multipart/form-data; boundary=x"
        self.save_garbage()
        for status, media_type, body in (
            (422, "text/plain", "a \udcff"),
            (400, "text/plain; charset=utf-8", "\udcff"),
            (413, "text/plain", "x" * 1_000_001),
            (400, form, "nonsense"),
            (400, form, "--x--"),
            (415, "text/plain; charset=klingon", "x"),
            (415, "multipart/mixed; boundary=x", "x"),
        ):
            answer = self.send("POST", "/", media_type, body)
            self.assertEqual(answer, status, media_type)
            self.assert_no_frames()

    def test_stored_files(self) -> None:
        """A file that is stored, or a form, leaves no cycle behind."""
        form = (
            '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            "bee\r\n--x--\r\n"
        )
        self.save_garbage()
        for status, media_type, body in (
            (201, "text/plain", "fish"),
            (201, "text/plain; charset=cp437", "\udcdb"),
            (201, "text/plain; charset=utf-8", "bird"),
            (201, "multipart/form-data; boundary=x", form),
            (400, "multipart/form-data; boundary=x", "nonsense"),
            (422, "text/plain", "a \udcff"),
        ):
            answer = self.send("POST", "/", media_type, body)
            self.assertEqual(answer, status, media_type)
            gc.collect()
            kinds = [type(each) for each in gc.garbage]
            self.assertNotIn(TextUpload, kinds, media_type)
            self.assertNotIn(Form, kinds, media_type)
        self.assert_no_frames()

    def test_uploads(self) -> None:
        """Nor is one of a refused PUT, which may refer to the body."""
        path = f"/image/{UNKNOWN}"
        self.save_garbage()
        for size in (10, WHOLE + 1):
            body = "#" * size
            self.assertEqual(self.send("PUT", path, "text/plain", body), 422)
            self.assert_no_frames()
            no_text = "\udcff" * size
            self.assertEqual(self.send("PUT", path, "text/plain", no_text), 400)
            self.assert_no_frames()
        self.driven.engine._writer.queue.max_operations = 0
        for size in (10, WHOLE + 1):
            body = "#" * size
            right = f"/image/{sha256(body.encode()).hexdigest()}"
            self.assertEqual(self.send("PUT", right, "text/plain", body), 503)
            self.assert_no_frames()

    def save_garbage(self) -> None:
        """Keep what the garbage collector finds, from now on."""
        gc.collect()
        # Of what is there already, that of other tests included, nothing is collected.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.garbage.clear)
        self.addCleanup(gc.set_debug, gc.get_debug())
        gc.set_debug(gc.DEBUG_SAVEALL)

    def assert_no_frames(self) -> None:
        """Check that it has found no frame."""
        gc.collect()
        frames = [each for each in gc.garbage if isinstance(each, FrameType)]
        self.assertEqual([frame.f_code.co_qualname for frame in frames], [])
