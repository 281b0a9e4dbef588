"""Request heads: what is served, and how the rest is refused."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from asciid.http import Limits
from asciid.http._field_block import CHUNKED, VOLATILE, FieldBlock
from asciid.http._problem import RefusedError
from asciid.http._request_head import HeadParser, PartialHead
from tests.http._support import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable


class HeadTestCase(SynchronousTestCase):
    """Parses heads with the default limits."""

    def setUp(self) -> None:
        """Make a parser."""
        self.parser = HeadParser(Limits())

    def parse(
        self, line: bytes, fields: bytes = HOST, *, secure: bool = False
    ) -> tuple[bytes, bytes, FieldBlock]:
        """Parse a head; three times, as caching must not change anything."""
        raw = b"%b\r\n%b\r\n" % (line, fields)
        found = []
        for _ in range(3):
            parsed, block = self.parser.parse(raw, secure=secure)
            self.assertEqual(parsed.path, parsed.target.partition(b"?")[0])
            found.append((parsed.method, parsed.target, block))
        first, again, last = found
        self.assertEqual(first[:2], again[:2])
        self.assertEqual(first[:2], last[:2])
        self.assertEqual(first[2].raw, last[2].raw)
        return last

    def refused(
        self, status: int, line: bytes, fields: bytes = HOST, *, secure: bool = False
    ) -> str:
        """See to it that a head is refused; return the detail."""
        raw = b"%b\r\n%b\r\n" % (line, fields)
        for _ in range(2):
            with self.assertRaises(RefusedError) as caught:
                self.parser.parse(raw, secure=secure)
            self.assertEqual(caught.exception.status, status, raw)
        detail: str = caught.exception.detail
        return detail


def fields_of(lines: Iterable[bytes]) -> bytes:
    """Return Host and these lines."""
    return HOST + b"".join(line + b"\r\n" for line in lines)


class RequestLineTests(HeadTestCase):
    """The request line (RFC 9112 3)."""

    def test_parts(self) -> None:
        """Method and target are taken as they are."""
        method, target, block = self.parse(b"DELETE /a%20b?c=d&e HTTP/1.1")
        self.assertEqual((method, target), (b"DELETE", b"/a%20b?c=d&e"))
        self.assertTrue(block.is_http11)
        self.assertTrue(block.keep_alive)

    def test_remembered_fields(self) -> None:
        """Cached fields do not make another request line acceptable."""
        self.parse(b"GET /a HTTP/1.1")
        block = self.parse(b"GET /b HTTP/1.1")[2]
        self.assertIs(block, self.parse(b"GET /c HTTP/1.1")[2])
        self.refused(400, b"GET /a#b HTTP/1.1")
        self.refused(400, b"GET /a b HTTP/1.1")
        self.refused(501, b"FROB /a HTTP/1.1")
        self.refused(505, b"GET /a HTTP/1.2")
        self.refused(400, b"GET /\xc3\xa9 HTTP/1.1")
        self.refused(414, b"GET /%b HTTP/1.1" % (b"a" * 8192))
        self.assertEqual(self.parse(b"GET http://x.org/ HTTP/1.1")[1], b"/")
        self.assertFalse(self.parse(b"GET /a HTTP/1.0")[2].is_http11)

    def test_many_blocks(self) -> None:
        """Only so many blocks of fields are remembered, and no large ones."""
        for number in range(1500):
            self.parse(b"GET / HTTP/1.1", HOST + b"X: %d\r\n" % number)
        self.parse(b"GET / HTTP/1.1", HOST + b"X: %b\r\n" % (b"x" * 2000))
        kept = self.parser._blocks
        self.assertLessEqual(len(kept), 512)
        self.assertLessEqual(max(map(len, kept)), 1024)

    def test_many_lines(self) -> None:
        """Only so many request lines are remembered, and no long ones."""
        for number in range(3000):
            self.parse(b"GET /%d HTTP/1.1" % number)
        self.parse(b"GET /%b HTTP/1.1" % (b"x" * 300))
        kept = self.parser._lines
        self.assertLessEqual(len(kept), 1024)
        self.assertLessEqual(max(map(len, kept)), 256)

    def test_queries(self) -> None:
        """The path ends at the first question mark."""
        for target, path in (
            (b"/?", b"/"),
            (b"/a?b?c", b"/a"),
            (b"/a/?b=/c", b"/a/"),
            (b"/a:b@c%3F?d", b"/a:b@c%3F"),
        ):
            raw = b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST)
            for _ in range(3):
                line, _block = self.parser.parse(raw, secure=False)
                self.assertEqual((line.target, line.path), (target, path))

    def test_versions(self) -> None:
        """Only 1.1 and 1.0 are served; other versions are 505, the rest is 400."""
        self.assertFalse(self.parse(b"GET / HTTP/1.0", b"")[2].keep_alive)
        for version in (b"1.2", b"2.0", b"0.9", b"3.1"):
            self.refused(505, b"GET / HTTP/" + version)
        for version in (b"HTTP/1", b"http/1.1", b"HTTP/1.1x", b"HTTP/11.1", b"ICE/1.0"):
            self.refused(400, b"GET / " + version)
        self.refused(400, b"GET /")
        self.refused(400, b"GET  / HTTP/1.1")
        self.refused(400, b"GET / HTTP/1.1 ")
        self.refused(400, b"GET\t/\tHTTP/1.1")
        self.refused(505, b"PRI * HTTP/2.0", b"")

    def test_methods(self) -> None:
        """Unknown methods are 501; malformed ones are 400."""
        for method in (b"FROB", b"get", b"GETX", b"M" * 100, b"G~T"):
            self.refused(501, method + b" / HTTP/1.1")
        for method in (
            b"G@T",
            b"",
            b"\nGET",
            b"\rGET",
            b"G\x00T",
            b"G\xc3\xa9T",
            b"(GET)",
        ):
            self.refused(400, method + b" / HTTP/1.1")

    def test_targets(self) -> None:
        """Origin-form starts with a slash and has no fragment."""
        for target in (b"a", b"?a", b"*", b"/a#b", b"#", b"/\x7f", b"/\xff", b"/\x01"):
            self.refused(400, b"GET %b HTTP/1.1" % target)
        self.assertEqual(self.parse(b"OPTIONS * HTTP/1.1")[1], b"*")
        self.assertEqual(self.parse(b"GET //x HTTP/1.1")[1], b"//x")
        self.assertEqual(self.parse(b'GET /"<>{}|\\^` HTTP/1.1')[1], b'/"<>{}|\\^`')

    def test_line_end_in_target(self) -> None:
        """A lone LF does not end a request line of HTTP/0.9 either."""
        self.refused(400, b"GET /\na:b HTTP/1.1")
        self.refused(400, b"GET /a\nb: c HTTP/1.1")

    def test_connect(self) -> None:
        """CONNECT is not served, whatever its target."""
        self.refused(501, b"CONNECT localhost:80 HTTP/1.1")
        self.refused(501, b"CONNECT / HTTP/1.1")

    def test_absolute_form(self) -> None:
        """The target's authority takes the place of Host (RFC 9112 3.2.2)."""
        for target, path, host in (
            (b"http://example.org/a?b", b"/a?b", b"example.org"),
            (b"HTTP://Example.org:8080", b"/", b"Example.org:8080"),
            (b"http://[::1]:80?x", b"/?x", b"[::1]:80"),
        ):
            fields = b"X: 1\r\nhost: other\r\nY: 2\r\n"
            _, found, block = self.parse(b"GET %b HTTP/1.1" % target, fields)
            self.assertEqual(found, path)
            self.assertEqual(block.last(b"host"), host)
            self.assertEqual(block.last(b"x"), b"1")
            self.assertEqual(block.last(b"y"), b"2")
        block = self.parse(b"GET http://a/ HTTP/1.0", b"")[2]
        self.assertEqual(block.last(b"host"), b"a")
        self.assertEqual(self.parse(b"OPTIONS http://a HTTP/1.1")[1], b"*")
        self.assertEqual(self.parse(b"OPTIONS http://a/ HTTP/1.1")[1], b"/")

    def test_bad_absolute_form(self) -> None:
        """Its authority must be valid, its scheme ours, and Host good as well."""
        for target in (
            b"http://u@h/",
            b"http://u:p@h/",
            b"http:///a",
            b"http://h:x/",
            b"http://h/#f",
            b"ftp://h/",
            b"http:/a",
            b"://h/",
        ):
            self.refused(400, b"GET %b HTTP/1.1" % target)
        line = b"GET http://h/ HTTP/1.1"
        self.refused(400, line, b"")
        self.refused(400, line, HOST + HOST)
        self.refused(400, line, b"Host: u@h\r\n")

    def test_https_target(self) -> None:
        """A target of https needs a secure connection (RFC 9110 7.4)."""
        line = b"GET https://h/a HTTP/1.1"
        self.refused(421, line)
        self.assertEqual(self.parse(line, secure=True)[1], b"/a")


class FieldTests(HeadTestCase):
    """The header fields (RFC 9112 5, RFC 9110 5)."""

    def field(self, *lines: bytes) -> FieldBlock:
        """Parse a request with Host and these."""
        fields = HOST + b"".join(line + b"\r\n" for line in lines)
        return self.parse(b"POST / HTTP/1.1", fields)[2]

    def bad(self, status: int, *lines: bytes, line: bytes = b"POST / HTTP/1.1") -> None:
        """See to it that a request with Host and these is refused."""
        fields = HOST + b"".join(text + b"\r\n" for text in lines)
        self.refused(status, line, fields)

    def test_grammar(self) -> None:
        """What is not a field line is refused."""
        for line in (
            b"X : 1",
            b" X: 1",
            b"X",
            b": 1",
            b"X\xe9: 1",
            b"X: a\x00b",
            b"X: a\x01b",
            b"X: a\x7fb",
            b"X: a\rb",
            b"X: a\nb",
            b"X: 1\r\n folded",
            b"X: 1\r\n\tfolded",
            b"X(: 1",
            b"X: 1\n",
            b"X: 1\r",
        ):
            self.bad(400, line)

    def test_last(self) -> None:
        """A field is found by its whole name; its value has no white space around."""
        block = self.field(b"X-A:1", b"A: \t 2 \t", b"x-a:  3", b"B: x-a: 4", b"E:")
        self.assertEqual(block.last(b"x-a"), b"3")
        self.assertEqual(block.last(b"a"), b"2")
        self.assertEqual(block.last(b"e"), b"")
        self.assertIsNone(block.last(b"x"))
        self.assertEqual(self.field(b"X: \xff").last(b"x"), b"\xff")

    def test_limits(self) -> None:
        """Long request lines are 414, long or many fields 431."""
        self.refused(414, b"GET /%b HTTP/1.1" % (b"a" * 8200))
        self.parse(b"GET /%b HTTP/1.1" % (b"a" * 8000))
        self.bad(431, b"X: %b" % (b"a" * 16400))
        self.field(*(b"X: %d" % n for n in range(99)))
        self.bad(431, *(b"X: %d" % n for n in range(100)))

    def test_host(self) -> None:
        """HTTP/1.1 needs one valid Host; HTTP/1.0 may go without (RFC 9112 3.2)."""
        line = b"GET / HTTP/1.1"
        for value in (
            b"localhost",
            b"localhost:",
            b"Example.ORG:8080",
            b"127.0.0.1:1",
            b"[::1]",
            b"[2001:db8::1]:443",
            b"[v1.a:b]",
            b"a%2Fb",
            b"",
        ):
            self.parse(line, b"Host: %b\r\n" % value)
        for value in (
            b"a b",
            b"a, b",
            b"a,b",
            b"u@h",
            b"h/x",
            b"h:80a",
            b"h:-1",
            b"h:65536",
            b"h:1:2",
            b"::1",
            b"[::1",
            b"[::1]x",
            b"[::g]",
            b"[fe80::1%25eth0]",
            b"[fe80::1%eth0]",
            b"[]",
            b"h?q",
            b"h#f",
            b"h%2",
            b"\xc3\xa9",
            b"http://h",
            b":80",
            b"h\\x",
            b'"h"',
        ):
            self.refused(400, line, b"Host: %b\r\n" % value)
        self.refused(400, line, b"")
        self.refused(400, line, HOST + HOST)
        self.refused(400, line, HOST + b"HOST:\r\n")
        self.refused(400, b"GET / HTTP/1.0", HOST + HOST)
        self.refused(400, b"GET / HTTP/1.0", b"Host: u@h\r\n")

    def test_content_length(self) -> None:
        """Content-Length is digits only, and occurs once (RFC 9110 8.6)."""
        for value, length in ((b"0", 0), (b"5", 5), (b"005", 5), (b" 7 ", 7)):
            self.assertEqual(self.field(b"content-length:" + value).length, length)
        self.assertEqual(self.field().length, 0)
        for value in (
            b"",
            b"+5",
            b"-5",
            b"5 6",
            b"5,5",
            b"0x5",
            b"5.0",
            b"1e3",
            b"\xb2",
            b"\xd9\xa5",
            b"5;a",
        ):
            self.bad(400, b"Content-Length: " + value)
        self.bad(400, b"Content-Length: 5", b"Content-Length: 5")
        self.bad(400, b"Content-Length: 5", b"content-length: 6")

    def test_other_values(self) -> None:
        """Fields that differ from earlier ones in some values are as if parsed."""
        trace = b"traceparent: 00-%b-00f067aa0ba902b7-01"
        for lines in (
            (b"Content-Length: 5", b"X: 1"),
            (b"Content-Length: 5", b"x-request-id: a"),
            (b"content-length: 123456789", b"X-Request-ID: b c"),
            (trace % (b"a" * 32), b'If-None-Match: "a"'),
            (b'If-None-Match: "a"', b'if-none-match: "b"'),
            (b"X-Request-Id: a", b"X-Request-Id: b"),
            (b"X: Content-Length: 5",),
        ):
            for change in (b"", b"7", b"0", b"c d", b'"e", "f"', trace % (b"b" * 32)):
                changed = [
                    re.sub(rb"(?<=: ).+", change, line, count=1) for line in lines
                ]
                with contextlib.suppress(RefusedError):
                    self.parse(b"GET / HTTP/1.1", fields_of(lines))
                    block = self.parse(b"GET / HTTP/1.1", fields_of(changed))[2]
                    other = FieldBlock(block.raw, is_http11=True)
                    for slot in {*FieldBlock.__slots__} - {"cache", "findings"}:
                        found, expected = getattr(block, slot), getattr(other, slot)
                        self.assertEqual(found, expected, slot)
                    for name in (*VOLATILE, b"x", b"host"):
                        self.assertEqual(block.last(name), other.last(name), name)

    def test_bad_content_length_of_known_fields(self) -> None:
        """Known fields do not make another length acceptable."""
        self.field(b"Content-Length: 5", b"X: 1")
        for value in (
            b"+7",
            b"7 7",
            b"7,7",
            b"0x7",
            b"",
            b"7;a",
            b"7\r\nContent-Length: 7",
        ):
            self.bad(400, b"Content-Length: " + value, b"X: 1")
        self.bad(413, b"Content-Length: 1%b" % (b"0" * 18), b"X: 1")
        self.bad(400, b"Content-Length: 5", b"Content-Length: 7")
        self.refused(501, b"FROB / HTTP/1.1", fields_of([b"Content-Length: ", b"X: 1"]))

    def test_checked_once(self) -> None:
        """Fields with other values are not checked by llhttp again."""
        self.field(b"Content-Length: 5", b"X: 1", b"X-Request-Id: a")
        self.field(b'If-None-Match: "a"')
        self.patch(self.parser, "_check_grammar", None)
        block = self.field(b"Content-Length: 1234", b"X: 1", b"X-Request-Id: b")
        self.assertEqual((block.length, block.request_id), (1234, b"b"))
        block = self.field(b'If-None-Match: "b"')
        self.assertEqual(block.last(b"if-none-match"), b'"b"')

    def test_bad_values_of_known_fields(self) -> None:
        """Known fields do not make other values acceptable."""
        self.field(b"X-Request-Id: a")
        for value in (b"a\x00", b"a\nb", b"a\r\n b", b"a\x7f", b"a\r\nb"):
            self.bad(400, b"X-Request-Id: " + value)
        self.bad(431, b"X-Request-Id: " + b"a" * 16400)

    def test_other_tag(self) -> None:
        """Fields with another tag in If-None-Match are not checked again."""
        first = self.field(b'If-None-Match: "a"', b"X: 1")
        self.assertEqual(first.last(b"if-none-match"), b'"a"')
        grammar = self.parser._check_grammar
        self.patch(self.parser, "_check_grammar", None)
        other = self.field(b'If-None-Match: "b-gzip"', b"X: 1")
        self.assertEqual(other.last(b"if-none-match"), b'"b-gzip"')
        self.assertEqual(other.all(b"if-none-match"), [b'"b-gzip"'])
        self.assertEqual((other.last(b"x"), other.length), (b"1", 0))
        self.patch(self.parser, "_check_grammar", grammar)
        self.assertEqual(self.field(b'If-None-Match: "b"', b"X: 2").last(b"x"), b"2")
        self.assertFalse(
            self.field(b'If-None-Match: "b"', b"Connection: close").keep_alive
        )

    def test_several_tags(self) -> None:
        """Where there are more lines, the last one counts, whatever varies."""
        for first in (b'"a"', b'"b"', b'"c"'):
            block = self.field(
                b"If-None-Match: " + first, b"X: 1", b'If-None-Match: "z"'
            )
            self.assertEqual(block.last(b"if-none-match"), b'"z"')
            self.assertEqual(block.all(b"if-none-match"), [first, b'"z"'])

    def test_bad_tag_of_known_fields(self) -> None:
        """Known fields do not make another value acceptable."""
        self.field(b'If-None-Match: "a"', b"X: 1")
        for value in (b'"\0"', b'"a\nb"', b'"a"\n', b'"\x7f"'):
            self.bad(400, b"If-None-Match: " + value, b"X: 1")

    def test_many_lengths(self) -> None:
        """Only so many of these are remembered."""
        for number in range(1, 1500):
            self.field(b"Content-Length: %d" % number, b"X: %d" % (number % 600))
        self.assertLessEqual(len(self.parser._templates), 512)
        self.assertLessEqual(len(self.parser._blocks), 512)

    def test_huge_content_length(self) -> None:
        """A length beyond all bounds never wraps around."""
        self.bad(413, b"Content-Length: 1%b" % (b"0" * 18))
        self.bad(400, b"Content-Length: 18446744073709551621")
        self.assertEqual(self.field(b"Content-Length: %b7" % (b"0" * 30)).length, 7)

    def test_transfer_encoding(self) -> None:
        """Only chunked is known, once, and not in HTTP/1.0 (RFC 9112 6.1)."""
        for value in (b"chunked", b"Chunked", b" CHUNKED "):
            block = self.field(b"transfer-encoding:" + value)
            self.assertEqual(block.length, CHUNKED)
        for value in (
            b"gzip",
            b"gzip, chunked",
            b"xchunked",
            b"identity",
            b"chunked;q=1",
        ):
            with self.assertRaises(RefusedError) as caught:
                self.field(b"Transfer-Encoding: " + value)
            self.assertIn(caught.exception.status, (400, 501), value)
        for value in (
            b"chunked, chunked",
            b"chunked, gzip",
            b"",
            b",chunked",
            b"chunked,",
            b'"chunked"',
            b"chunked\x0b",
            b"chunked\x00",
        ):
            self.bad(400, b"Transfer-Encoding: " + value)
        chunked = b"Transfer-Encoding: chunked"
        self.bad(400, chunked, chunked)
        self.bad(400, chunked, b"Content-Length: 5")
        self.bad(400, b"Content-Length: 5", chunked)
        self.bad(400, chunked, line=b"POST / HTTP/1.0")

    def test_transfer_encoding_beside_llhttp(self) -> None:
        """The rules hold by themselves, whatever llhttp lets pass."""
        host = b"\r\n" + HOST
        for fields in (
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked, gzip\r\n",
            b"Content-Length: 5\r\nContent-Length: 5\r\n",
            b"Content-Length: +5\r\n",
            b"Content-Length:\r\n",
        ):
            with self.assertRaises(RefusedError) as caught:
                FieldBlock(host + fields + b"\r\n", is_http11=True)
            self.assertEqual(caught.exception.status, 400)

    def test_persistence(self) -> None:
        """Connections persist in 1.1, and in 1.0 on request (RFC 9112 9.3)."""
        for version, lines, keeps in (
            (b"1.1", b"", True),
            (b"1.1", b"Connection: close\r\n", False),
            (b"1.1", b"Connection: Keep-Alive\r\n", True),
            (b"1.1", b"Connection: x, CLOSE\r\n", False),
            (b"1.1", b"Connection: x\r\nConnection: close\r\n", False),
            (b"1.1", b"Connection: closed\r\n", True),
            (b"1.1", b"Connection: ,\t,close ,\r\n", False),
            (b"1.0", b"Connection:\tkeep-alive\t,x\r\n", True),
            (b"1.1", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", True),
            (b"1.0", b"", False),
            (b"1.0", b"Connection: keep-alive\r\n", True),
            (b"1.0", b"Connection: keep-alive, close\r\n", False),
        ):
            block = self.parse(b"GET / HTTP/" + version, HOST + lines)[2]
            self.assertEqual(block.keep_alive, keeps, lines)

    def test_expectations(self) -> None:
        """100-continue can be met, in 1.1; nothing else can (RFC 9110 10.1.1)."""
        self.assertTrue(self.field(b"Expect: 100-Continue").expects)
        self.assertFalse(self.field().expects)
        self.bad(417, b"Expect: x")
        self.bad(417, b"Expect: 100-continue", b"Expect: x")
        self.bad(417, b"Expect:")
        old = self.parse(b"POST / HTTP/1.0", b"Expect: 100-continue\r\n")[2]
        self.assertFalse(old.expects)
        self.assertFalse(self.parse(b"POST / HTTP/1.0", b"Expect: x\r\n")[2].expects)


class PartialHeadTests(SynchronousTestCase):
    """Heads that are not complete yet."""

    def refused(self, status: int, *heads: bytes) -> None:
        """See to it that the last of these, each longer, is refused at once."""
        probe = PartialHead()
        for head in heads[:-1]:
            probe.feed(head)
        with self.assertRaises(RefusedError) as caught:
            probe.feed(heads[-1])
        self.assertEqual(caught.exception.status, status, heads)

    def test_valid(self) -> None:
        """A valid head is taken byte by byte."""
        head = b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 100
        probe = PartialHead()
        for end in range(1, len(head)):
            probe.feed(head[:end])

    def test_other_protocols(self) -> None:
        """A TLS hello, HTTP/0.9 and HTTP/2 are refused without waiting for more."""
        self.refused(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        self.refused(400, b"GET /\r\n")
        self.refused(505, b"PRI * HTTP/2.0\r\n")
        self.refused(400, b"\x00")

    def test_line_ends(self) -> None:
        """A line that ends in a lone LF or CR is refused at once."""
        self.refused(400, b"GET / HTTP/1.1\nHost: x\n\n")
        self.refused(400, b"GET", b"GET /\n")
        self.refused(400, b"GET / HTTP/1.1\r\nHost: x\n")
        self.refused(400, b"GET / HTTP/1.1\r\nHost: x\rX: y")

    def test_methods(self) -> None:
        """An unknown method is refused once it is whole."""
        self.refused(501, b"FR", b"FROB", b"FROB /")
        self.refused(400, b"G@T")
