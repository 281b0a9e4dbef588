"""Bytes on the wire, in one read and one by one, and the responses to them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import Limits
from asciid.http._problem import RefusedError
from asciid.http._request_head import HeadParser
from tests._thoroughness import examples
from tests.http._app import App
from tests.http._support import HOST, Site, get, post

A = get(b"/a")
TE = b"Transfer-Encoding: chunked"


def chunked(body: bytes) -> bytes:
    """Return a request with this body, framed already, and another behind it."""
    return get(b"/echo", TE, method=b"POST") + body + A


def coded(value: bytes) -> bytes:
    """Return a chunked request with this Transfer-Encoding, and one behind it."""
    head = get(b"/echo", b"Transfer-Encoding:" + value, method=b"POST")
    return head + b"5\r\nhello\r\n0\r\n\r\n" + A


def sized(value: bytes) -> bytes:
    """Return a request for five bytes with this Content-Length."""
    return get(b"/echo", b"Content-Length:" + value, method=b"POST") + b"hello"


def lined(line: bytes) -> bytes:
    """Return a request with this request line, and another behind it."""
    return line + b"\r\n" + HOST + b"\r\n" + A


# What is sent, and the status codes of the answers.  The last one ends the
# connection if it is an error of the framing or of the head.
CASES: list[tuple[bytes, list[int]]] = [
    # Content-Length (RFC 9110 8.6)
    (sized(b"\t5 "), [200]),
    (sized(b"00000000000000000005"), [200]),
    *[
        (sized(value), [400])
        for value in (b"0x5", b"5.0", b"-5", b"5e0", b"1_0", b'"5"', b"5;a", b"\xb2")
    ],
    (get(b"/echo", b"Content-Length:\r\n 5", method=b"POST") + b"hello", [400]),
    (get(b"/echo", b"Content-Length: 5\r\n 6", method=b"POST") + b"hello", [400]),
    # Transfer-Encoding (RFC 9112 6.1)
    (coded(b" Chunked "), [200, 200]),
    *[
        (coded(value), [400])
        for value in (
            b"chunked,",
            b",chunked",
            b"chunked;q=1",
            b"chunked\x0b",
            b"xchunked",
            b"chun ked",
            b'"chunked"',
            b"\r\n chunked",
        )
    ],
    # Chunks (RFC 9112 7.1)
    (chunked(b'05;a=b;c="d;\\""\r\nhello\r\n000\r\n\r\n'), [200, 200]),
    (chunked(b"0\r\nContent-Length: 4\r\nHost: x\r\n\r\n"), [200, 200]),
    *[
        (chunked(body), [400])
        for body in (
            b"5\nhello\n0\n\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"5_0\r\nhello",
            b"5\rhello\r0\r\r",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\r\n\r\n0\r\n\r\n",
            b"\r\n5\r\nhello\r\n0\r\n\r\n",
            b"0\r\nA: b\r\n c\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\n: b\r\n\r\n",
            b"0\r\n\r\r\n",
        )
    ],
    (chunked(b"ffffffffffffffff\r\n"), [413]),
    (chunked(b"0\r\n" + b"a: b\r\n" * 1000 + b"\r\n"), [413]),
    # The request line (RFC 9112 3)
    *[
        (lined(line), [400])
        for line in (
            b"GET /a",
            b"GET /a HTTP/1.1 ",
            b"GET  /a HTTP/1.1",
            b" GET /a HTTP/1.1",
            b"GET\t/a HTTP/1.1",
            b"GET /a HTTP/1.10",
            b"GET /a http/1.1",
            b"GET /a#b HTTP/1.1",
            b"GET /\xc3\xa4 HTTP/1.1",
            b"GET /\x7f HTTP/1.1",
            b"GET /\na:b HTTP/1.1",
            b"GET * HTTP/1.1",
            b"GET a HTTP/1.1",
            b"SSH-2.0-OpenSSH_9",
        )
    ],
    (lined(b"GET /a HTTP/0.9"), [505]),
    (lined(b"GET /a HTTP/1.2"), [505]),
    (lined(b"PRI * HTTP/2.0"), [505]),
    (lined(b"get /a HTTP/1.1"), [501]),
    (lined(b"CONNECT localhost:443 HTTP/1.1"), [501]),
    (lined(b"OPTIONS * HTTP/1.1"), [204, 200]),
    (lined(b"GET HTTP://LOCALHOST/a HTTP/1.1"), [200, 200]),
    (b"GET /a\n", [400]),
    (b"GET /a HTTP/1.1\n" + HOST[:-2] + b"\n\n", [400]),
    (b"\n" + A, [400]),
    (b"\r\n" * 20 + A, [200]),
    ((b"\r\n" * 40 + A) * 2, [200, 200]),
    (b"\r\n" * 65 + A, [400]),
    # Fields (RFC 9112 5)
    *[
        (get(b"/a", line) + A, [400])
        for line in (
            b"X",
            b": y",
            b"X : y",
            b"X\x00: y",
            b"X: a\x00b",
            b"X: a\rb",
            b"X: a\nb",
            b"X: a\x7fb",
            b"X: a\r\n b",
        )
    ],
    (b"GET /a HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n", [400]),
    # Persistence (RFC 9112 9.3) and order
    (get(b"/a", b"Connection: keep-alive, Close") + A, [200]),
    (get(b"/a", b"Connection: closed") + A, [200, 200]),
    (A + b"BAD\r\n\r\n" + A, [200, 400]),
    (post(b"/echo", b"hello") + b"\r\n\r\n" + A, [200, 200]),
    (get(b"/echo", TE, b"Upgrade: h2c") + b"1\r\nx\r\n0\r\n\r\n" + A, [200, 200]),
]


class WireTests(SynchronousTestCase):
    """The HTTP server, seen from the other end of a connection."""

    def test_cases(self) -> None:
        """The answers are the same however the bytes are split."""
        site = Site(App().app, Limits(body=2000))
        for data, statuses in CASES:
            for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
                wire = site.connect().send(*pieces)
                site.advance(1)
                found = [answer.status for answer in wire.answers()]
                self.assertEqual(found, statuses, data)
                if statuses[-1] >= 400:
                    self.assertTrue(wire.over, data)
        self.assertGreater(len(CASES), 60)


_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_STRICT = re.compile(
    rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]\r\n(?:" + _TOKEN + rb":[\t -~\x80-\xff]*\r\n)*\r\n"
)
_SEEDS = (
    A,
    b"POST /echo HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"PUT http://a:80/ HTTP/1.1\r\nHost: [::1]:8\r\nTransfer-Encoding: chunked\r\n\r\n",
)
_BITS = (
    *(b"\r \n \r\n \0 \t \x0b \x7f \x80 \xff : , # \\ _ + 0 a".split(b" ")),
    b" ",
    b"\r\n ",
    b"Host: b\r\n",
    b"Content-Length: 6\r\n",
    b"Transfer-Encoding: chunked\r\n",
)


class GrammarTests(SynchronousTestCase):
    """Heads that are nearly good."""

    @examples(400)
    @given(
        st.sampled_from(_SEEDS),
        st.lists(
            st.tuples(st.integers(0, 80), st.integers(0, 2), st.sampled_from(_BITS)),
            min_size=1,
            max_size=3,
        ),
    )
    def test_accepted(self, head: bytes, changes: list[tuple[int, int, bytes]]) -> None:
        """Accepted requests have the grammar of RFC 9112, one Host and one framing."""
        for place, removed, added in changes:
            head = head[:place] + added + head[place + removed :]
        head = head[: (head + b"\r\n\r\n").index(b"\r\n\r\n")] + b"\r\n\r\n"
        try:
            HeadParser(Limits()).parse(head, secure=False)
        except RefusedError:
            return
        self.assertRegex(head, _STRICT)
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]]
        self.assertLessEqual(names.count(b"host"), 1)
        framings = (b"content-length", b"transfer-encoding")
        self.assertLessEqual(sum(map(names.count, framings)), 1)
