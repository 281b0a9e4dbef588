"""
Request heads: the request line and the fields up to the empty line.

llhttp checks the grammar; this module and :mod:`._field_block` check the rest: the
version, the form of the target, and the fields that control the message (RFC 9112 3
and 6).  The fields of a client rarely change from request to request, so valid ones
are cached.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from asciid.http._authority import is_valid_authority
from asciid.http._field_block import FieldBlock, check_host
from asciid.http._problem import RefusedError
from asciid.http._request_line import RequestLine

if TYPE_CHECKING:
    from asciid.http._limits import Limits

__all__ = ["HeadParser", "PartialHead"]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
# Visible ASCII without "#".  To delete these costs less than to match them.
_IN_TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)")
# Values of the fields in VOLATILE, in their usual form, do not decide whether a head is
# valid.
_strip_values = partial(
    re.compile(
        rb"(\r\ncontent-length: )[1-9][0-9]{0,8}(?=\r\n)"
        rb'|(\r\nif-none-match: )"[!#-~]{1,100}"(?=\r\n)'
        rb"|(\r\n(?:traceparent|x-request-id): )[ -~]*+(?=\r\n)",
        re.IGNORECASE,
    ).sub,
    rb"\1\2\3",
)
_MAX_CACHED_LINES = 1024
_MAX_CACHED_LINE = 256
_MAX_CACHED_BLOCKS = 512
_MAX_CACHED_BLOCK = 1024


class PartialHead:
    """
    Detects that an incomplete head can never be valid.

    Otherwise a client that ends its lines in LF, or uses another protocol, would wait
    for the header timeout.
    """

    __slots__ = ("_fed", "_line_seen", "_parser")

    def __init__(self) -> None:
        self._parser = HttpRequestParser(None)
        self._fed = 0
        self._line_seen = False

    def feed(self, head: bytes) -> None:
        """
        Check the head so far.

        :param head: what was received of it; it grows from call to call.
        :raises RefusedError: as :meth:`HeadParser.parse` does.
        """
        if not self._line_seen:
            line, end, _ = head.partition(b"\r\n")
            if end:
                _split(line)
                self._line_seen = True
            elif b"\n" in line:
                # To llhttp this could be a complete request of HTTP/0.9.
                raise RefusedError(400, "The request line does not end in CRLF.")
        try:
            self._parser.feed_data(head[self._fed :])
        except HttpParserInvalidMethodError:
            method, space, _ = head.partition(b" ")
            if space or _TOKEN.fullmatch(method) is None:
                raise _bad_method(method) from None
        except HttpParserError as error:
            if not self._line_seen:
                # llhttp does not wait for the end of the line to refuse a version.
                _refuse_version(head.rpartition(b" ")[2].rstrip(b"\r"))
            raise _malformed(error) from None
        self._fed = len(head)


class HeadParser:
    """Parses heads; one serves all connections of a server."""

    # What httptools could call: to find that an attribute is missing costs far more.
    on_url = on_status = on_header = on_body = None
    on_message_begin = on_message_complete = None
    on_chunk_header = on_chunk_complete = None

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._complete = False
        # Valid ones that were received before; lines in origin-form, of HTTP/1.1.
        self._methods: set[bytes] = set()
        self._lines: dict[bytes, RequestLine] = {}
        self._blocks: dict[bytes, FieldBlock] = {}
        # The latter without what clients change from request to request.
        self._templates: dict[bytes, FieldBlock] = {}

    def on_headers_complete(self) -> None:
        """Record that llhttp finds the end of the head (called by it)."""
        self._complete = True

    def parse(
        self,
        raw: bytes,
        secure: bool,  # noqa: FBT001  # called for each request
    ) -> tuple[RequestLine, FieldBlock]:
        """
        Parse one head.

        :param raw: the head; the first empty line is its end.
        :param secure: whether the connection is encrypted.
        :return: the request line and the fields.
        :raises RefusedError: when the request must not be served.
        """
        line_end = raw.find(b"\r\n")
        fields = raw[line_end:]
        block = self._blocks.get(fields) or self._of_template(raw, fields)
        if block is not None:
            line = self._lines.get(raw[:line_end]) or self._parse_line(raw, line_end)
            if line is not None:
                return line, block
        return self._parse(raw, line_end, secure=secure)

    def _parse_line(self, raw: bytes, end: int) -> RequestLine | None:
        # Returns an ordinary line: only it is new in this head.
        if end > self._limits.request_line:
            return None
        method, _, rest = raw[:end].partition(b" ")
        target, _, version = rest.partition(b" ")
        if (
            version != b"HTTP/1.1"
            or method not in self._methods
            or target[:1] != b"/"
            or target.translate(None, _IN_TARGET)
        ):
            return None
        line = RequestLine(method, target, target.partition(b"?")[0])
        if end <= _MAX_CACHED_LINE:
            if len(self._lines) >= _MAX_CACHED_LINES:
                self._lines.clear()
            self._lines[raw[:end]] = line
        return line

    def _of_template(self, raw: bytes, fields: bytes) -> FieldBlock | None:
        # Returns fields that were received before with other values of some of them.
        if len(fields) > _MAX_CACHED_BLOCK or len(raw) > self._limits.header_block:
            return None
        template = self._templates.get(_strip_values(fields))
        if template is None:
            return None
        try:
            block = template.with_values(fields)
        except RefusedError:
            return None  # refused like any other
        self._cache(fields, block)
        return block

    def _cache(self, fields: bytes, block: FieldBlock) -> None:
        # The id of a request is not repeated.
        if block.request_id is None:
            if len(self._blocks) >= _MAX_CACHED_BLOCKS:
                self._blocks.clear()
            self._blocks[fields] = block

    def _parse(
        self, raw: bytes, line_end: int, *, secure: bool
    ) -> tuple[RequestLine, FieldBlock]:
        limits = self._limits
        if line_end > limits.request_line:
            raise RefusedError(414, "The request line is too long.")
        if len(raw) > limits.header_block:
            raise RefusedError(431, "The header block is too long.")
        if raw.count(b"\r\n") - 2 > limits.header_fields:
            raise RefusedError(431, "The request has too many header fields.")
        method, target, version = _split(raw[:line_end])
        self._check_grammar(raw, method)
        if method == b"CONNECT":
            raise RefusedError(501, "CONNECT is not supported.")
        fields = raw[line_end:]
        is_http11 = version == b"HTTP/1.1"
        origin_form = target[:1] == b"/"
        if not origin_form:
            target, fields = _normalize_target(
                method, target, fields, is_http11=is_http11, secure=secure
            )
        block = FieldBlock(fields, is_http11=is_http11)
        self._methods.add(method)
        if origin_form and is_http11 and len(fields) <= _MAX_CACHED_BLOCK:
            self._cache(fields, block)
            if len(self._templates) >= _MAX_CACHED_BLOCKS:
                self._templates.clear()
            self._templates[_strip_values(fields)] = block
        return RequestLine(method, target, target.partition(b"?")[0]), block

    def _check_grammar(self, raw: bytes, method: bytes) -> None:
        # A parser for each head: one that is reused would apply the body that it
        # still expects, or a Connection: close, to another request.
        self._complete = False
        parser = HttpRequestParser(self)
        try:
            parser.feed_data(raw)
        except HttpParserInvalidMethodError:
            raise _bad_method(method) from None
        except HttpParserError as error:
            raise _malformed(error) from None
        except HttpParserUpgrade:
            # RFC 9110 7.8: a server may ignore Upgrade.  CONNECT is refused.
            pass
        if not self._complete:
            raise RefusedError(400, "The header block is malformed.")


def _bad_method(method: bytes) -> RefusedError:
    if _TOKEN.fullmatch(method):
        return RefusedError(501, "The method is not supported.")
    return RefusedError(400, "The method is malformed.")


def _malformed(error: HttpParserError) -> RefusedError:
    return RefusedError(400, f"The request is malformed: {error}.")


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise RefusedError(400, "The request line is malformed.") from None
    if _TOKEN.fullmatch(method) is None:
        # llhttp skips a lone CR or LF before it.
        raise RefusedError(400, "The method is malformed.")
    if not target or target.translate(None, _IN_TARGET):
        # To llhttp a lone LF in it is the end of a line of HTTP/0.9.
        raise RefusedError(400, "The request target is malformed.")
    if version not in _VERSIONS:
        _refuse_version(version)
        raise RefusedError(400, "The HTTP version is malformed.")
    return method, target, version


def _refuse_version(version: bytes) -> None:
    if version not in _VERSIONS and _VERSION.fullmatch(version):
        raise RefusedError(505, "Only HTTP/1.1 and HTTP/1.0 are supported.")


def _normalize_target(
    method: bytes, target: bytes, fields: bytes, *, is_http11: bool, secure: bool
) -> tuple[bytes, bytes]:
    # Anything but plain origin-form (RFC 9112 3.2); returns target and fields.
    if target == b"*" and method == b"OPTIONS":
        return target, fields
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise RefusedError(400, "The request target is malformed.")
    scheme, authority, path = absolute.groups()
    scheme = scheme.lower()
    if not is_valid_authority(authority.lower()):
        raise RefusedError(400, "The authority of the request target is malformed.")
    if scheme not in (b"http", b"https"):
        raise RefusedError(400, "The scheme of the request target is not supported.")
    if scheme == b"https" and not secure:
        raise RefusedError(421, "This connection is not secure.")  # RFC 9110 7.4
    if path[:1] != b"/":
        # RFC 9112 3.2.4: OPTIONS without a path means the server itself.
        path = b"*" if method == b"OPTIONS" and not path else b"/" + path
    return path, _with_host(fields, authority, is_http11=is_http11)


def _with_host(fields: bytes, authority: bytes, *, is_http11: bool) -> bytes:
    # RFC 9112 3.2.2: the authority of the target replaces Host, which must be valid
    # nevertheless.
    check_host(fields.lower(), is_http11=is_http11)
    lines = [line for line in fields.split(b"\r\n") if line[:5].lower() != b"host:"]
    lines.insert(1, b"Host: " + authority)
    return b"\r\n".join(lines)
