"""Where bodies end."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import Limits
from asciid.http._body import ChunkedBody, SizedBody
from asciid.http._problem import RefusedError
from tests._thoroughness import examples

HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def decode(
    data: bytes, limit: int = 1000, step: int | None = None
) -> tuple[bytes, bytes]:
    """Decode a chunked body; return the content and what follows it."""
    body = ChunkedBody(limit, Limits(chunk_overhead=100))
    out: list[bytes] = []
    step = step or len(data) or 1
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        end = 0
        while end < len(piece) and not body.done:
            end = body.feed(piece, end, out)
        if body.done:
            return b"".join(out), piece[end:] + data[start + step :]
    message = "the body has no end"
    raise EOFError(message)


class LlhttpOracle:
    """What llhttp makes of a chunked body."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.complete = self.failed = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(HEAD)
        try:
            parser.feed_data(data)
        except httptools.HttpParserError:
            self.failed = True

    def on_body(self, data: bytes) -> None:
        """Collect."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = True


class ChunkedTests(SynchronousTestCase):
    """The chunked coding (RFC 9112 7.1)."""

    def refused(self, status: int, data: bytes) -> None:
        """See to it that a body is refused, in one piece and byte by byte."""
        for step in (None, 1):
            with self.assertRaises(RefusedError) as caught:
                decode(data, step=step)
            self.assertEqual(caught.exception.status, status, data)

    def test_chunks(self) -> None:
        """The content is that of the chunks; what follows is left alone."""
        data = b"5\r\nhello\r\n06\r\n world\r\n0\r\n\r\nGET"
        for step in (None, 1, 2, 3, 7):
            self.assertEqual(decode(data, step=step), (b"hello world", b"GET"))
        self.assertEqual(decode(b"0\r\n\r\n"), (b"", b""))
        self.assertEqual(decode(b"A\r\n0123456789\r\n0\r\n\r\n")[0], b"0123456789")

    def test_extensions(self) -> None:
        """Extensions are checked and ignored."""
        for extension in (b";a", b";a=b", b' ; a = "x;\\" y"', b';a;b=c;d=""'):
            data = b"1%b\r\nx\r\n0%b\r\n\r\n" % (extension, extension)
            self.assertEqual(decode(data), (b"x", b""))
        for extension in (
            b";",
            b";a=",
            b";a\x00b",
            b";a b",
            b";=b",
            b" ",
            b';a="',
            b",a",
        ):
            self.refused(400, b"1%b\r\nx\r\n0\r\n\r\n" % extension)

    def test_sizes(self) -> None:
        """A size is hexadecimal digits, and nothing else."""
        for size in (b"", b" 1", b"+1", b"-1", b"0x1", b"g", b"1_0", b"\xb2", b"1 1"):
            self.refused(400, size + b"\r\nx\r\n0\r\n\r\n")

    def test_huge_sizes(self) -> None:
        """A size never wraps around."""
        for size in (b"10000000000000001", b"fffffffffffffffff", b"7fffffffffffffff"):
            self.refused(413, size + b"\r\nx")
        self.refused(413, b"3e9\r\n")
        self.refused(413, b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n")

    def test_line_ends(self) -> None:
        """All lines of the coding end in CR LF."""
        for data in (
            b"1\nx\r\n0\r\n\r\n",
            b"1\r\nx\n0\r\n\r\n",
            b"1\r\nx\r\n0\n\r\n",
            b"1\r\nx\r\n0\r\n\n",
            b"1\r\nx\r\n0\r\nA: b\n\r\n",
            b"1\r\nxx\r\n0\r\n\r\n",
            b"1\rx\r\n",
        ):
            self.refused(400, data)

    def test_early_refusal(self) -> None:
        """A broken line is refused before its end."""
        for data in (b"x", b"1\r\nxy", b"0\r\n "):
            with self.assertRaises(RefusedError):
                decode(data)

    def test_trailers(self) -> None:
        """Trailer fields are checked and dropped."""
        data = b"0\r\nA: b\r\nContent-Length: 5\r\n\r\nrest"
        self.assertEqual(decode(data), (b"", b"rest"))
        for line in (b"bad", b": x", b"A : b", b" A: b", b"A: \x00", b"A: b\rc"):
            self.refused(400, b"0\r\n%b\r\n\r\n" % line)

    def test_overhead(self) -> None:
        """Extensions, padding and trailers are bounded together."""
        self.refused(413, b"1;%b\r\n" % (b"a" * 200))
        self.refused(413, b"0" * 200)
        self.refused(413, b"0\r\n" + b"A: b\r\n" * 20)
        self.refused(413, b"1;abcdefghij\r\nx\r\n" * 20)
        self.assertEqual(decode(b"1\r\nx\r\n" * 500 + b"0\r\n\r\n")[0], b"x" * 500)

    def test_steps(self) -> None:
        """One call decodes a bounded number of chunks, however small they are."""
        for chunk in (b"1\r\nx\r\n", b"01;a\r\nx\r\n"):
            body = ChunkedBody(10_000, Limits(chunk_overhead=10_000))
            end = body.feed(chunk * 1_000, 0, [])
            self.assertGreater(end, 0)
            self.assertLess(end, 200 * len(chunk))
        body = ChunkedBody(10_000, Limits(chunk_overhead=10_000))
        end = body.feed(b"0\r\n" + b"A:\r\n" * 1_000, 0, [])
        self.assertLess(end, 1_000)

    def test_pieces(self) -> None:
        """A chunk is read the same way, all at once or piece by piece."""
        for size in (1, 9, 10, 15, 16, 255, 256):
            for line in (b"%x" % size, b"%X" % size, b"00%x" % size):
                data = b"%b\r\n%b\r\n0\r\n\r\nrest" % (line, b"y" * size)
                for step in (None, 1, 3):
                    content, _ = decode(data, 256, step)
                    self.assertEqual(content, b"y" * size)
                with self.assertRaises(RefusedError) as caught:
                    decode(data, size - 1)
                self.assertEqual(caught.exception.status, 413)
            self.refused(400, b"%x\r\n%b0\r\n\r\n" % (size, b"y" * size))

    @examples(60)
    @given(
        st.lists(st.binary(min_size=1, max_size=20), max_size=5),
        st.integers(1, 12),
        st.binary(max_size=5),
    )
    def test_round_trip(self, chunks: list[bytes], step: int, rest: bytes) -> None:
        """Content is the same wherever the pieces are split."""
        data = b"".join(b"%X\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        self.assertEqual(decode(data + rest, step=step), (b"".join(chunks), rest))

    @examples(300)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"0",
                    b"1",
                    b"5",
                    b"x",
                    b"\r\n",
                    b"\r",
                    b"\n",
                    b";a",
                    b"A: b",
                    b" ",
                    b"=",
                ]
            ),
            max_size=12,
        )
    )
    def test_no_laxer_than_llhttp(self, parts: list[bytes]) -> None:
        """Whatever is taken for a complete body, llhttp takes for the same one."""
        data = b"".join(parts)
        try:
            content, rest = decode(data)
        except (RefusedError, EOFError):
            return
        oracle = LlhttpOracle(data[: len(data) - len(rest)])
        self.assertEqual((oracle.complete, oracle.failed), (True, False), data)
        self.assertEqual(oracle.body, content)


class SizedTests(SynchronousTestCase):
    """Bodies of known length."""

    def test_pieces(self) -> None:
        """A body ends after as many bytes as it should."""
        body = SizedBody(5)
        out: list[bytes] = []
        self.assertEqual(body.feed(b"..he", 2, out), 4)
        self.assertFalse(body.done)
        self.assertEqual(body.feed(b"", 0, out), 0)
        self.assertEqual(body.feed(b"lloGET", 0, out), 3)
        self.assertEqual((b"".join(out), body.done), (b"hello", True))
