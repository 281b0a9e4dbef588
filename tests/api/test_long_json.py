"""Tests of asciid.api._long_json: large chunks are decoded in steps."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from asciid.api import _long_json
from asciid.api._refusals import MalformedRequestError
from asciid.api._schema import parse_chunk, parse_long_chunk
from asciid.errors import AsciidError
from asciid.model import ImageSpec, ImageState
from asciid.net.body_limits import InputLimits
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import Offload, run_steps
from asciid.testing import ManualReactor, ManualThreadPool, MemoryStore
from tests._thoroughness import examples
from tests.api._raw import parse_response
from tests.api._support import make_api, make_server

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = InputLimits(max_image_size=2**26, max_chunk_size=2**20)
LONG = 100_000


def body_of(text: str, **others: object) -> bytes:
    """Return the body of a chunk."""
    members = {"id": 3, "size": len(text.encode()), "data": text, **others}
    return json.dumps(members, ensure_ascii=False).encode()


def outcome_of(parse: Callable[[], object]) -> object:
    """Return the result, or the text of the exception."""
    try:
        return parse()
    except AsciidError as error:
        return type(error), str(error)


class StepTests(SynchronousTestCase):
    """Strings that are decoded a piece at a time."""

    def setUp(self) -> None:
        """Make pieces short, for each place of a cut."""
        self.patch(_long_json, "_PIECE", 32)
        self.patch(_long_json, "MAX_REST", 40)

    @examples(300)
    @given(
        st.text(st.sampled_from('a\\"\n\x1b/uéd8█\U0001f63a\ufffd'), min_size=90),
        st.booleans(),
    )
    @example("\\" * 200, True)  # noqa: FBT003 - hypothesis has no names here
    @example("\U0001f63a" * 60, True)  # noqa: FBT003 - likewise
    @example("\\ud83d" * 60, False)  # noqa: FBT003 - likewise
    def test_any_text(self, text: str, escaped: bool) -> None:  # noqa: FBT001 - likewise
        """Whatever characters a string has, and however spelled, it is decoded."""
        for shift in range(3):
            body = b'{"x":"%b","y":' % (b"-" * shift)
            start = len(body)
            body += json.dumps(text, ensure_ascii=escaped).encode() + b"}"
            long = run_steps(_long_json.take_long_string(body))
            assert long is not None
            self.assertEqual(long.content.decode(), text)
            self.assertEqual((long.start, len(body)), (start, self.whole(long)))
            rest = json.loads(long.rest)
            self.assertEqual(rest, {"x": "-" * shift, "y": long.mark})

    def whole(self, long: _long_json.LongString) -> int:
        """Return how long the body was."""
        return len(long.rest) + long.removed

    @examples(300)
    @given(st.binary(max_size=200).map(lambda junk: b'{"a":"' + b"-" * 40 + junk))
    @example(b'{"a":"' + b"\x80" * 100)
    def test_junk(self, body: bytes) -> None:
        """Whatever a client sends, it is decoded, or refused with a reason."""
        try:
            run_steps(_long_json.take_long_string(body))
        except UnicodeDecodeError as error:
            self.assertLess(error.start, len(body))
        except _long_json.MalformedPieceError as error:
            self.assertTrue(str(error))


class ChunkTests(SynchronousTestCase):
    """Chunks are the same whichever way they are decoded."""

    def assert_same(self, body: bytes) -> object:
        """Compare with the decoder of whole bodies; return the outcome."""
        expected = outcome_of(lambda: parse_chunk(body, LIMITS))
        actual = outcome_of(lambda: run_steps(parse_long_chunk(body, LIMITS)))
        self.assertEqual(actual, expected)
        return actual

    def test_right(self) -> None:
        """Members may be in any order; unknown ones are ignored."""
        text = "".join(random.Random(1).choices('/\\_ "é█\n', k=LONG))
        self.assert_same(body_of(text))
        self.assert_same(body_of(text, more="x" * 1_000, most=[1, {"a": "b"}]))
        data = json.dumps(text).encode()
        body = b' { "data" : %b , "size":%d, "id" : 7 } '
        self.assert_same(body % (data, len(text.encode())))

    def test_wrong(self) -> None:
        """A mistake is reported in the same words, with the same offset."""
        text = "a" * LONG
        right = body_of(text)
        for wrong in (
            right[:-1],
            right[:-2],
            right[:50_000],
            right[:-1] + b",}",
            right + b"x",
            right.replace(b'"id"', b'"it"'),
            right.replace(b'"id": 3', b'"id": "3"'),
            right.replace(b'"id": 3', b'"id" 3'),
            body_of(text, size=5),
            body_of("\ufffd" + text, size=5),
            body_of(text + "\ufffd", size=5),
            body_of(text, id=True),
            body_of("a" * (2**20 + 1)),
            right.replace(b"a" * 60_000, b"a" * 59_999 + b"\x01"),
            right.replace(b"a" * 60_000, b"a" * 59_999 + b"\\x"),
            right.replace(b"a" * 60_000, b"a" * 59_999 + b"\\ud83d"),
            right.replace(b"a" * 60_000, b"a" * 59_999 + b"\\ude00\\n"),
            right.replace(b"a" * 60_000, b"a" * 59_999 + b"\xff"),
            right.replace(b"a" * 60_000, b"a\\n" * 9_000 + b"\xe2\x96"),
            right.replace(b'"size"', b'"s\xff"'),
            right.replace(b'"size"', b'"s\xff"').replace(b"a" * 60_000, b"\xff"),
            right[:-2] + b"\xff",
            right[:-1] + b',"a":"\xff"}',
            right[:-1] + b',"a":b}',
        ):
            self.assertIsInstance(self.assert_same(wrong), tuple, wrong[-40:])

    def test_much_else(self) -> None:
        """Beside `data` there may be 16 KiB, of whatever it is."""
        much = 16 * 1024
        for body in (
            body_of("a" * LONG, more="x" * much),
            body_of("a", more="x" * LONG),
            body_of("a" * LONG, more=[0] * much),
            b" " * LONG + body_of("a"),
            body_of("a" * LONG) + b" " * much,
            b'{"data":"%b","data":"x","id":3,"size":1}' % (b"a" * LONG),
            b"[" * LONG,
        ):
            with self.assertRaisesRegex(MalformedRequestError, "beside `data`"):
                run_steps(parse_long_chunk(body, LIMITS))

    def test_short_steps(self) -> None:
        """The work of one step does not grow with the body."""
        text = "a" * 2**20
        steps = sum(1 for _ in parse_long_chunk(body_of(text), LIMITS))
        self.assertGreaterEqual(steps, 64)
        much = sum(1 for _ in _long_json.take_long_string(b" " * 2**20))
        self.assertEqual(much, 0)


class RouteTests(SynchronousTestCase):
    """Large chunks that are posted."""

    def setUp(self) -> None:
        """Register an image of two chunks."""
        self.reactor = ManualReactor()
        self.pool = ManualThreadPool()
        self.now = 0.0
        self.store = MemoryStore()
        api = make_api(
            self.store,
            max_image_size=2**22,
            max_chunk_size=2**20,
            offload=Offload(
                self.reactor,
                self.pool,
                scheduler=ClientScheduler(self.reactor, self.clock),
                clock=self.clock,
            ),
        )
        self.server = make_server(api, self.reactor)
        self.art = "é█" * 60_000
        data = self.art.encode() * 2
        self.spec = ImageSpec(sha256(data).hexdigest(), len(data), len(data) // 2)
        self.successResultOf(self.store.register(self.spec))
        self.body = body_of(self.art, id=0)

    def clock(self) -> float:
        """Make each call of the clock take 0.1 ms."""
        self.now += 0.0001
        return self.now

    def begin(self, *lines: str) -> Any:  # noqa: ANN401 - a transport
        """Post the first chunk."""
        protocol: Any = self.server.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        head = [
            f"POST /image/{self.spec.sha256}/chunks HTTP/1.1",
            "Host: a",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
            *lines,
        ]
        protocol.dataReceived("\r\n".join([*head, "", ""]).encode())
        for start in range(0, len(self.body), 65536):
            protocol.dataReceived(self.body[start : start + 65536])
        return transport

    def settle(self) -> None:
        """Let the thread and the reactor work."""
        self.pool.step()
        self.reactor.advance(0)

    @property
    def received(self) -> int:
        """How many bytes of the image are stored."""
        status = self.successResultOf(self.store.status(self.spec.sha256))
        self.assertIs(status.state, ImageState.PENDING)
        return status.received

    def test_stored(self) -> None:
        """The reactor neither hashes such a chunk nor decodes it at once."""
        turns = []
        call_later = self.reactor.callLater

        def note(delay: float, *call: Any) -> object:  # noqa: ANN401 - any call
            turns.append(delay)
            return call_later(delay, *call)

        self.patch(self.reactor, "callLater", note)
        digest = b64encode(sha256(self.body).digest()).decode()
        transport = self.begin(f"Content-Digest: sha-256=:{digest}:")
        self.assertEqual((transport.value(), len(self.pool.work)), (b"", 1))
        self.settle()
        self.assertEqual(parse_response(transport.value()).status, 201)
        self.assertEqual(self.received, self.spec.chunk_size)
        self.assertGreater(len(turns), 5)

    def test_without_digest(self) -> None:
        """Without a digest to check, no thread has to be waited for."""
        transport = self.begin()
        self.assertEqual(len(self.pool.work), 0)
        self.reactor.advance(0)
        self.assertEqual(parse_response(transport.value()).status, 201)

    def test_refused(self) -> None:
        """A wrong digest and malformed JSON are 400."""
        digest = b64encode(sha256(b"").digest()).decode()
        transport = self.begin(f"Content-Digest: sha-256=:{digest}:")
        self.settle()
        self.assertIn(b"/problems/digest-mismatch", transport.value())
        self.body = self.body.replace(b'"id"', b'"it"')
        transport = self.begin()
        self.settle()
        self.assertIn(b"/problems/malformed-request", transport.value())
        self.assertEqual(self.received, 0)

    def test_client_leaves(self) -> None:
        """A received chunk is stored even if its client disconnects."""
        for lines in ((), ("Content-Digest: x=1",)):
            self.begin(*lines).loseConnection()
            self.settle()
        self.assertEqual(self.received, self.spec.chunk_size)
        self.assertEqual(self.flushLoggedErrors(), [])
