"""
Request heads: the request line and the fields up to the empty line.

llhttp checks the grammar; what it leaves open is decided here and in
:mod:`._fields`: the version, the form of the target, and what the fields say on
the message itself (RFC 9112 3 and 6).  The fields of a client rarely change from
request to request, so those that were found good are remembered.
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
from ._fields import FieldBlock, check_host
from ._problem import RefusedError

if TYPE_CHECKING:
    from ._limits import Limits

__all__ = ["HeadParser", "Probe"]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_TARGET = re.compile(rb"[!-\"$-~]+")  # visible ASCII without "#"
_USUAL_LINE = re.compile(rb"([A-Z-]+) (/[!-\"$-~]*) HTTP/1\.1")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)")
_MAX_KEPT = 512
_MAX_KEPT_SIZE = 1024


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
            elif b"\n" in line:
                # To llhttp this could be the whole of a request of HTTP/0.9.
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
    """Turns the bytes of heads into their parts; one serves all connections."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._complete = False
        # What came before, and was found to be good.
        self._methods: set[bytes] = set()
        self._blocks: dict[bytes, FieldBlock] = {}

    def on_headers_complete(self) -> None:
        """Note that llhttp sees the end of the head here too (called by it)."""
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
        if method == b"CONNECT":
            raise RefusedError(501, "CONNECT is not served here.")
        fields = raw[line_end:]
        modern = version == b"HTTP/1.1"
        usual = target[:1] == b"/"
        if not usual:
            target, fields = _unusual_target(
                method, target, fields, modern=modern, secure=secure
            )
        block = FieldBlock(fields, modern=modern)
        self._methods.add(method)
        if (
            usual
            and modern
            and len(fields) <= _MAX_KEPT_SIZE
            # The name of a request does not come again.
            and block.request_id is None
        ):
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
    if _TOKEN.fullmatch(parts[0]) is None:
        # llhttp skips a lone CR or LF before it.
        raise RefusedError(400, "The method is malformed.")
    if _TARGET.fullmatch(parts[1]) is None:
        # llhttp takes a lone LF in it for the end of a line of HTTP/0.9.
        raise RefusedError(400, "The request target is malformed.")
    if parts[2] not in _VERSIONS:
        _refuse_version(parts[2])
        raise RefusedError(400, "The HTTP version is malformed.")
    return parts[0], parts[1], parts[2]


def _refuse_version(version: bytes) -> None:
    if version not in _VERSIONS and _VERSION.fullmatch(version):
        raise RefusedError(505, "Only HTTP/1.1 and HTTP/1.0 are served here.")


def _unusual_target(
    method: bytes, target: bytes, fields: bytes, *, modern: bool, secure: bool
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
    check_host(fields.lower(), modern=modern)
    lines = [line for line in fields.split(b"\r\n") if line[:5].lower() != b"host:"]
    lines.insert(1, b"Host: " + authority)
    return b"\r\n".join(lines)
