"""
Request heads: the request line and the fields up to the empty line.

llhttp checks the grammar.  What it leaves open is decided here: the version,
the form of the target, Host, and how the body is framed (RFC 9112 3 and 6).
A head is parsed whole and kept as bytes; a field is found by searching for its
line, so one that nobody asks for costs nothing.  The fields of a client rarely
change from request to request: those that were found good are remembered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from ._authority import is_valid_authority

if TYPE_CHECKING:
    from ._limits import Limits

__all__ = ["CHUNKED", "FieldBlock", "HeadParser", "Probe", "RefusedError"]

CHUNKED = -1
"""The length of a body whose end is marked by its last chunk."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_TARGET = re.compile(rb"[!-\"$-~]+")  # visible ASCII without "#"
_USUAL_LINE = re.compile(rb"([A-Z-]+) (/[!-\"$-~]*) HTTP/1\.1")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)")
_MAX_LENGTH_DIGITS = 18  # below 2**63
_MAX_KEPT = 512
_MAX_KEPT_SIZE = 1024


class RefusedError(Exception):
    """
    The front answers this request itself, and then closes the connection.

    :ivar status: the status code of the answer.
    :ivar detail: a sentence for the client's developer.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class FieldBlock:
    """
    The fields of a request, and what they say about how to read it.

    Clients send the same fields again and again, so blocks are shared between
    requests; nothing in one may be changed.

    :ivar raw: the field lines, from the CR LF before the first to the empty line.
    :ivar folded: the same bytes in lower case.
    :ivar modern: whether the version is 1.1.
    :ivar keep_alive: whether the client wants the connection kept (RFC 9112 9.3).
    :ivar length: bytes of body, or :data:`CHUNKED`.
    :ivar expects: whether the client waits for ``100 Continue``.
    """

    __slots__ = ("expects", "folded", "keep_alive", "length", "modern", "raw")

    def __init__(self, raw: bytes, *, modern: bool) -> None:
        """:raises RefusedError: when a request with these must not be served."""
        self.raw = raw
        self.folded = folded = raw.lower()
        self.modern = modern
        _check_host(folded, modern=modern)
        self.length = _body_length(folded, modern=modern)
        self.keep_alive = _keeps_alive(folded, modern=modern)
        self.expects = modern and _expects_continue(folded)

    def last(self, name: bytes) -> bytes | None:
        """
        Return the last value of a field.

        :param name: in lower case.
        """
        mark = b"\r\n%b:" % name
        start = self.folded.rfind(mark)
        if start < 0:
            return None
        start += len(mark)
        return self.raw[start : self.raw.find(b"\r\n", start)].strip(b" \t")


class Probe:
    """
    Finds out early that a head which is not complete yet can never be valid.

    Waiting for its empty line alone would keep a client that ends its lines in
    LF, or speaks another protocol, waiting for a timeout.
    """

    __slots__ = ("_fed", "_line_seen", "_parser")

    def __init__(self) -> None:
        self._parser = HttpRequestParser(None)
        self._fed = 0
        self._line_seen = False

    def feed(self, head: bytes) -> None:
        """
        Look at the head so far.

        :param head: what has come of it; it grows from call to call.
        :raises RefusedError: as :meth:`HeadParser.parse` does.
        """
        if not self._line_seen:
            line, end, _ = head.partition(b"\r\n")
            if end:
                _split(line)
                self._line_seen = True
        try:
            self._parser.feed_data(head[self._fed :])
        except HttpParserInvalidMethodError:
            method, space, _ = head.partition(b" ")
            if space or _TOKEN.fullmatch(method) is None:
                raise _bad_method(method) from None
        except HttpParserError as error:
            raise _malformed(error) from None
        self._fed = len(head)


class HeadParser:
    """Turns the bytes of heads into their parts; one serves all connections."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._complete = False
        # What came before, and was found to be good.
        self._methods: set[bytes] = set()
        self._blocks: dict[bytes, FieldBlock] = {}

    def on_headers_complete(self) -> None:
        """llhttp agrees that the head ends here (called by the parser)."""
        self._complete = True

    def parse(self, raw: bytes, *, secure: bool) -> tuple[bytes, bytes, FieldBlock]:
        """
        Parse one head.

        :param raw: the head; the first empty line is its end.
        :param secure: whether the connection is encrypted.
        :return: the method, the target in origin-form (or ``b"*"``), the fields.
        :raises RefusedError: when the request must not be served.
        """
        line_end = raw.find(b"\r\n")
        block = self._blocks.get(raw[line_end:])
        if block is not None and line_end <= self._limits.request_line:
            # Only the request line is new, and it can be checked in one go.
            line = _USUAL_LINE.fullmatch(raw, 0, line_end)
            if line is not None and line[1] in self._methods:
                return line[1], line[2], block
        return self._parse(raw, line_end, secure=secure)

    def _parse(
        self, raw: bytes, line_end: int, *, secure: bool
    ) -> tuple[bytes, bytes, FieldBlock]:
        limits = self._limits
        if line_end > limits.request_line:
            raise RefusedError(414, "The request line is too long.")
        if len(raw) > limits.header_block:
            raise RefusedError(431, "The header block is too long.")
        if raw.count(b"\r\n") - 2 > limits.header_fields:
            raise RefusedError(431, "The request has too many header fields.")
        method, target, version = _split(raw[:line_end])
        self._check_grammar(raw, method)
        fields = raw[line_end:]
        modern = version == b"HTTP/1.1"
        usual = target[:1] == b"/" and b"#" not in target
        if not usual:
            target, fields = _unusual_target(
                method, target, fields, modern=modern, secure=secure
            )
        block = FieldBlock(fields, modern=modern)
        self._methods.add(method)
        if usual and modern and len(fields) <= _MAX_KEPT_SIZE:
            if len(self._blocks) >= _MAX_KEPT:
                self._blocks.clear()
            self._blocks[fields] = block
        return method, target, block

    def _check_grammar(self, raw: bytes, method: bytes) -> None:
        # A parser for each head: one that is used again would carry the body
        # that it still expects, or the close it has seen, to another request.
        self._complete = False
        parser = HttpRequestParser(self)
        try:
            parser.feed_data(raw)
        except HttpParserInvalidMethodError:
            raise _bad_method(method) from None
        except HttpParserError as error:
            raise _malformed(error) from None
        except HttpParserUpgrade:
            # RFC 9110 7.8: a server may ignore Upgrade; CONNECT is told apart
            # by its target.
            pass
        if not self._complete:
            raise RefusedError(400, "The header block is malformed.")


def _values(folded: bytes, name: bytes) -> list[bytes]:
    # The values of all lines of one field, in lower case.
    mark = b"\r\n%b:" % name
    values = []
    start = folded.find(mark)
    while start >= 0:
        start += len(mark)
        end = folded.find(b"\r\n", start)
        values.append(folded[start:end].strip(b" \t"))
        start = folded.find(mark, end)
    return values


def _bad_method(method: bytes) -> RefusedError:
    if _TOKEN.fullmatch(method):
        return RefusedError(501, "The method is not known here.")
    return RefusedError(400, "The method is malformed.")


def _malformed(error: HttpParserError) -> RefusedError:
    return RefusedError(400, f"The request is malformed: {error}.")


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[1]:  # noqa: PLR2004  # method, target, version
        raise RefusedError(400, "The request line is malformed.")
    version = parts[2]
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if _VERSION.fullmatch(version):
            raise RefusedError(505, "Only HTTP/1.1 and HTTP/1.0 are served here.")
        raise RefusedError(400, "The HTTP version is malformed.")
    return parts[0], parts[1], version


def _unusual_target(
    method: bytes, target: bytes, fields: bytes, *, modern: bool, secure: bool
) -> tuple[bytes, bytes]:
    # Anything but plain origin-form (RFC 9112 3.2); returns target and fields.
    if method == b"CONNECT":
        raise RefusedError(501, "CONNECT is not served here.")
    if target == b"*" and method == b"OPTIONS":
        return target, fields
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or b"#" in target:
        raise RefusedError(400, "The request target is malformed.")
    scheme, authority, path = absolute.groups()
    scheme = scheme.lower()
    if not is_valid_authority(authority.lower()):
        raise RefusedError(400, "The authority of the request target is malformed.")
    if scheme not in (b"http", b"https"):
        raise RefusedError(400, "The scheme of the request target is not served here.")
    if scheme == b"https" and not secure:
        raise RefusedError(421, "This connection is not secure.")  # RFC 9110 7.4
    if path[:1] != b"/":
        # RFC 9112 3.2.4: OPTIONS without a path means the server itself.
        path = b"*" if method == b"OPTIONS" and not path else b"/" + path
    return path, _with_host(fields, authority, modern=modern)


def _with_host(fields: bytes, authority: bytes, *, modern: bool) -> bytes:
    # RFC 9112 3.2.2: the target's authority takes the place of Host, which must
    # be good all the same.
    _check_host(fields.lower(), modern=modern)
    lines = [line for line in fields.split(b"\r\n") if line[:5].lower() != b"host:"]
    lines.insert(1, b"Host: " + authority)
    return b"\r\n".join(lines)


def _check_host(folded: bytes, *, modern: bool) -> None:
    # RFC 9112 3.2: exactly one, and valid; HTTP/1.0 may leave it out.
    start = folded.find(b"\r\nhost:")
    if start < 0:
        if modern:
            raise RefusedError(400, "The Host field is missing.")
        return
    end = folded.find(b"\r\n", start + 7)
    value = folded[start + 7 : end].strip(b" \t")
    if folded.find(b"\r\nhost:", end) >= 0:
        raise RefusedError(400, "There is more than one Host field.")
    if value and not is_valid_authority(value):
        raise RefusedError(400, "The Host field is malformed.")


def _body_length(folded: bytes, *, modern: bool) -> int:
    # RFC 9112 6.3, in its strictest reading: what two parsers may see
    # differently is refused.
    start = folded.find(b"\r\ncontent-length:")
    coded = folded.find(b"\r\ntransfer-encoding:") >= 0
    if start < 0 and not coded:
        return 0
    if coded:
        if start >= 0:
            raise RefusedError(400, "A body is framed in one way, not two.")
        if not modern:
            raise RefusedError(400, "HTTP/1.0 has no Transfer-Encoding.")
        codings = _values(folded, b"transfer-encoding")
        if codings != [b"chunked"]:
            if b"chunked" in b",".join(codings):
                raise RefusedError(400, "The Transfer-Encoding is not just chunked.")
            raise RefusedError(501, "The transfer coding is not known here.")
        return CHUNKED
    end = folded.find(b"\r\n", start + 17)
    value = folded[start + 17 : end].strip(b" \t")
    if folded.find(b"\r\ncontent-length:", end) >= 0 or not value.isdigit():
        raise RefusedError(400, "The Content-Length is malformed.")
    value = value.lstrip(b"0")
    if len(value) > _MAX_LENGTH_DIGITS:
        raise RefusedError(413, "The body is too large.")
    return int(value or b"0")


def _keeps_alive(folded: bytes, *, modern: bool) -> bool:
    if folded.find(b"\r\nconnection:") < 0:
        return modern
    options = {
        option.strip(b" \t")
        for value in _values(folded, b"connection")
        for option in value.split(b",")
    }
    return b"close" not in options and (modern or b"keep-alive" in options)


def _expects_continue(folded: bytes) -> bool:
    # RFC 9110 10.1.1
    if folded.find(b"\r\nexpect:") < 0:
        return False
    values = _values(folded, b"expect")
    if any(value != b"100-continue" for value in values):
        raise RefusedError(417, "Only the expectation 100-continue can be met.")
    return True
