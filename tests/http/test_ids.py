"""Names of requests."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import request_id, unique_ids
from asciid.http._ids import given_id
from tests._thoroughness import examples
from tests.http._app import App
from tests.http._support import HOST, Site, get, post

if TYPE_CHECKING:
    from asciid.http import Refusal, Request

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = b"00f067aa0ba902b7"


class GivenTests(SynchronousTestCase):
    """What clients call their requests."""

    def test_sane(self) -> None:
        """Up to 128 visible characters of ASCII are a name."""
        for name in (b"a", b"!~", b"x" * 128):
            self.assertEqual(given_id(name, None), name)

    def test_insane(self) -> None:
        """Anything else is none."""
        for name in (b"", b"x" * 129, b"a b", b"a\tb", b"\xe4", b"a\x1b[0m", b"a\n"):
            self.assertIsNone(given_id(name, None))

    def test_traceparent(self) -> None:
        """A trace has a name, in this version of traceparent and in later ones."""
        for value in (
            b"00-%b-%b-01" % (TRACE, PARENT),
            b"01-%b-%b-01" % (TRACE, PARENT),
            b"fe-%b-%b-01-more" % (TRACE, PARENT),
        ):
            self.assertEqual(given_id(None, value), TRACE)
            self.assertEqual(given_id(b"not sane", value), TRACE)
            self.assertEqual(given_id(b"mine", value), b"mine")

    def test_bad_traceparent(self) -> None:
        """A malformed traceparent gives no id."""
        for value in (
            b"",
            b"00-%b-%b" % (TRACE, PARENT),
            b"00-%b-%b-01-more" % (TRACE, PARENT),
            b"01-%b-%b-01more" % (TRACE, PARENT),
            b"ff-%b-%b-01" % (TRACE, PARENT),
            b"00-%b-%b-01" % (TRACE.upper(), PARENT),
            b"00-%b-%b-01" % (b"0" * 32, PARENT),
            b"00-%b-%b-01" % (TRACE, b"0" * 16),
            b"00-%b-%b-01" % (TRACE[1:], PARENT),
        ):
            self.assertIsNone(given_id(None, value), value)

    @examples(100)
    @given(st.none() | st.binary(max_size=150), st.none() | st.binary(max_size=80))
    def test_any(self, name: bytes | None, traceparent: bytes | None) -> None:
        """Whatever is given, a name is short and can be shown anywhere."""
        found = given_id(name, traceparent)
        if found is not None:
            self.assertLessEqual(len(found), 128)
            self.assertTrue(all(0x21 <= byte <= 0x7E for byte in found))


class UniqueTests(SynchronousTestCase):
    """Names that are made."""

    def test_unique(self) -> None:
        """No two are the same, of one process or of two."""
        names = [*islice(unique_ids(), 100), *islice(unique_ids(), 100)]
        self.assertEqual(len(set(names)), 200)
        for name in names:
            self.assertEqual(given_id(name, None), name)


class Names:
    """An observer that keeps the names."""

    def __init__(self) -> None:
        self.seen: list[bytes | None] = []

    def answered(self, request: Request, seconds: float) -> None:  # noqa: ARG002 - an Observer's
        """Keep that of an answer."""
        self.seen.append(request.id)

    def refused(self, refusal: Refusal) -> None:
        """Keep that of a refusal."""
        self.seen.append(refusal.id)

    def abandoned(self, request: Request) -> None:
        """Keep that of a request whose client has disconnected."""
        self.seen.append(request.id)


class ResponseTests(SynchronousTestCase):
    """The ids in responses."""

    def setUp(self) -> None:
        """Serve the app, with names that are easy to know."""
        self.names = Names()
        self.site = Site(
            App().app,
            request_ids=map(b"made-%d".__mod__, count(1)),
            observer=self.names,
        )

    def ids_of(self, data: bytes, *methods: bytes) -> list[str]:
        """Return the names in the answers, having compared them to the observer's."""
        answers = self.site.ask(data, *methods)
        names = [answer.fields["x-request-id"] for answer in answers]
        self.assertEqual([name.encode() for name in names], self.names.seen)
        self.names.seen.clear()
        return names

    def test_made(self) -> None:
        """Each answer has a name of its own, however it is sent."""
        self.assertEqual(
            self.ids_of(get(b"/a") + get(b"/chunks") + post(b"/echo", b"cat")),
            ["made-1", "made-2", "made-3"],
        )
        self.assertEqual(self.ids_of(get(b"/a", method=b"HEAD"), b"HEAD"), ["made-4"])
        self.assertEqual(self.ids_of(get(b"/status/204")), ["made-5"])
        self.assertEqual(self.ids_of(get(b"/a", b"Connection: close")), ["made-6"])
        self.assertEqual(self.ids_of(get(b"/nowhere")), ["made-7"])

    def test_given(self) -> None:
        """The client's own id is sent back, each time anew."""
        requests = [
            get(b"/a", b"X-Request-Id: one"),
            get(b"/a", b"x-request-id:  two "),
            get(b"/a", b"TraceParent: 00-%b-%b-01" % (TRACE, PARENT)),
            get(b"/a", b"X-Request-Id: not one"),
            get(b"/a", b"X-Request-Id: one"),
        ]
        self.assertEqual(
            self.ids_of(b"".join(requests)),
            ["one", "two", TRACE.decode(), "made-1", "one"],
        )

    def test_not_remembered(self) -> None:
        """Blocks of fields with a name do not push out those that come again."""
        parser = self.site.factory.head_parser
        for n in range(10):
            self.site.ask(get(b"/a", b"X-Request-Id: %d" % n))
        self.assertEqual(parser._blocks, {})
        self.site.ask(get(b"/a"))
        self.assertEqual(len(parser._blocks), 1)

    def test_refused(self) -> None:
        """What the HTTP server refuses has a name, too."""
        self.assertEqual(self.ids_of(b"nonsense\r\n\r\n"), ["made-1"])
        too_large = b"X-Request-Id: mine", b"Content-Length: 99999999"
        self.assertEqual(
            self.ids_of(get(b"/echo", *too_large, method=b"POST")), ["mine"]
        )

    def test_abandoned(self) -> None:
        """One that is not answered has one for the log."""
        self.site.connect().send(get(b"/wait", b"X-Request-Id: mine")).leave()
        self.assertEqual(self.names.seen, [b"mine"])

    def test_logged(self) -> None:
        """A handler's failure is logged with the id in the response."""
        (name,) = self.ids_of(b"GET /raise/value HTTP/1.1\r\n" + HOST + b"\r\n")
        (error,) = self.flushLoggedErrors(ValueError)
        self.assertEqual((name, error.type), ("made-1", ValueError))

    def test_no_names(self) -> None:
        """Without generated ids, responses have none."""
        site = Site(App().app)
        for request in (
            get(b"/a", b"X-Request-Id: one"),
            get(b"/chunks"),
            b"?\r\n\r\n",
        ):
            (answer,) = site.ask(request)
            self.assertNotIn("x-request-id", answer.fields)

    def test_as_text(self) -> None:
        """For the log, it is text, or a dash."""
        stands_for: Any = Names()
        self.assertEqual(request_id(stands_for), "-")
        stands_for.id = None
        self.assertEqual(request_id(stands_for), "-")
        stands_for.id = b"mine"
        self.assertEqual(request_id(stands_for), "mine")
