"""
The fields of a request, and those that control it: Host, framing, persistence.

A block of fields is kept as bytes; a field is found by searching for its line, so
one that is not used costs nothing.  llhttp has checked the grammar.
"""

from __future__ import annotations

from typing import Any

from asciid.http._authority import is_valid_authority
from asciid.http._ids import given_id
from asciid.http._problem import RefusedError

__all__ = ["CHUNKED", "VOLATILE", "FieldBlock", "check_host"]

CHUNKED = -1
"""The length of a body whose end is marked by its last chunk."""

VOLATILE = frozenset(
    {b"content-length", b"if-none-match", b"traceparent", b"x-request-id"}
)
"""Fields that a client, or a proxy, changes from request to request."""

_ID_NAMES = frozenset({b"traceparent", b"x-request-id"})
_VOLATILE_MARKS = [(name, b"\r\n%b:" % name) for name in sorted(VOLATILE)]

_MAX_LENGTH_DIGITS = 18  # below 2**63


class FieldBlock:
    """
    The fields of a request, and what they say about its connection and body.

    Clients repeat the same fields, so blocks are cached and shared between requests.

    :ivar raw: the field lines, from the CR LF before the first to the empty line.
    :ivar folded: the same bytes in lower case.
    :ivar is_http11: whether the version is 1.1.
    :ivar keep_alive: whether the client wants the connection kept (RFC 9112 9.3).
    :ivar persistent: whether that is so, and the version is 1.1, which implies it.
    :ivar length: bytes of body, or :data:`CHUNKED`.
    :ivar expects: whether the client waits for ``100 Continue``.
    :ivar cache: results of :meth:`last`.
    :ivar findings: results of functions; see :func:`asciid.http.cached_by_fields`.
    :ivar request_id: the id that the client gives the request, ``None`` without one.
    :ivar volatile: those of `VOLATILE` that are among the fields.
    """

    __slots__ = (
        "cache",
        "expects",
        "findings",
        "folded",
        "is_http11",
        "keep_alive",
        "length",
        "persistent",
        "raw",
        "request_id",
        "volatile",
    )

    def __init__(self, raw: bytes, *, is_http11: bool) -> None:
        """
        Parse the fields that control the request.

        :raises RefusedError: when a request with these must not be served.
        """
        self.raw = raw
        self.folded = folded = raw.lower()
        self.is_http11 = is_http11
        check_host(folded, is_http11=is_http11)
        self.length = _body_length(folded, is_http11=is_http11)
        self.keep_alive = _keeps_alive(folded, is_http11=is_http11)
        self.persistent = is_http11 and self.keep_alive
        self.expects = is_http11 and _expects_continue(folded)
        self.cache: dict[bytes, bytes | None] = {}
        self.findings: dict[object, Any] = {}
        self.volatile = [
            name for name, mark in _VOLATILE_MARKS if folded.find(mark) >= 0
        ]
        self.request_id = given_id(
            self.last(b"x-request-id"), self.last(b"traceparent")
        )

    def with_values(self, raw: bytes) -> FieldBlock:
        """
        Return the block that differs from this one in values of `VOLATILE` alone.

        :param raw: its bytes; the caller has checked that the others are the same.
        :raises RefusedError: when its Content-Length is malformed.
        """
        block = FieldBlock.__new__(FieldBlock)
        block.raw = raw
        block.folded = folded = raw.lower()
        block.is_http11 = is_http11 = self.is_http11
        block.length = _body_length(folded, is_http11=is_http11) if self.length else 0
        block.keep_alive = self.keep_alive
        block.persistent = self.persistent
        block.expects = self.expects
        block.cache = cache = self.cache.copy()
        block.findings = self.findings
        block.volatile = volatile = self.volatile
        for name in volatile:
            cache.pop(name, None)
        block.request_id = None
        if not _ID_NAMES.isdisjoint(volatile):
            block.request_id = given_id(
                block.last(b"x-request-id"), block.last(b"traceparent")
            )
        return block

    def last(self, name: bytes) -> bytes | None:
        """
        Return the last value of a field.

        :param name: in lower case.
        """
        # Blocks are shared, and handlers use the same few fields.
        cache = self.cache
        if name in cache:
            return cache[name]
        value = None
        # Most fields that handlers look up are absent.  The operator "in" costs several
        # times as much: it tries a number first.
        if self.folded.find(name) >= 0:
            mark = b"\r\n%b:" % name
            start = self.folded.rfind(mark)
            if start >= 0:
                start += len(mark)
                value = self.raw[start : self.raw.find(b"\r\n", start)].strip(b" \t")
        cache[name] = value
        return value

    def names(self) -> frozenset[bytes]:
        """Return the names of all fields, in lower case."""
        lines = self.folded.split(b"\r\n")[1:-2]
        return frozenset([line[: line.find(b":")] for line in lines])

    def all(self, name: bytes) -> list[bytes]:
        """
        Return the values of all lines of a field.

        :param name: in lower case.
        """
        return _values(self.folded, name, self.raw)


def check_host(folded: bytes, *, is_http11: bool) -> None:
    """
    Check that there is exactly one Host, and a valid one (RFC 9112 3.2).

    :param folded: a block of fields in lower case.
    :param is_http11: whether the version is 1.1; HTTP/1.0 may leave Host out.
    :raises RefusedError: 400.
    """
    start = folded.find(b"\r\nhost:")
    if start < 0:
        if is_http11:
            raise RefusedError(400, "The Host field is missing.")
        return
    end = folded.find(b"\r\n", start + 7)
    value = folded[start + 7 : end].strip(b" \t")
    if folded.find(b"\r\nhost:", end) >= 0:
        raise RefusedError(400, "There is more than one Host field.")
    if value and not is_valid_authority(value):
        raise RefusedError(400, "The Host field is malformed.")


def _body_length(folded: bytes, *, is_http11: bool) -> int:
    # RFC 9112 6.3, in its strictest reading: what two parsers may understand
    # differently is refused.
    start = folded.find(b"\r\ncontent-length:")
    coded = folded.find(b"\r\ntransfer-encoding:") >= 0
    if start < 0 and not coded:
        return 0
    if coded:
        if start >= 0:
            raise RefusedError(
                400, "Content-Length and Transfer-Encoding exclude each other."
            )
        if not is_http11:
            raise RefusedError(400, "HTTP/1.0 has no Transfer-Encoding.")
        codings = _values(folded, b"transfer-encoding")
        if codings != [b"chunked"]:
            if b"chunked" in b",".join(codings):
                raise RefusedError(
                    400, "Only chunked is supported as Transfer-Encoding."
                )
            raise RefusedError(501, "The transfer coding is not supported.")
        return CHUNKED
    end = folded.find(b"\r\n", start + 17)
    value = folded[start + 17 : end].strip(b" \t")
    if folded.find(b"\r\ncontent-length:", end) >= 0 or not value.isdigit():
        raise RefusedError(400, "The Content-Length is malformed.")
    value = value.lstrip(b"0")
    if len(value) > _MAX_LENGTH_DIGITS:
        raise RefusedError(413, "The body is too large.")
    return int(value or b"0")


def _keeps_alive(folded: bytes, *, is_http11: bool) -> bool:
    if folded.find(b"\r\nconnection:") < 0:
        return is_http11
    # No option has white space in it.
    options = b",".join([b"", *_values(folded, b"connection"), b""])
    options = options.translate(None, b" \t")
    return b",close," not in options and (is_http11 or b",keep-alive," in options)


def _expects_continue(folded: bytes) -> bool:
    # RFC 9110 10.1.1
    if folded.find(b"\r\nexpect:") < 0:
        return False
    values = _values(folded, b"expect")
    if any(value != b"100-continue" for value in values):
        raise RefusedError(417, "Only the expectation 100-continue is supported.")
    return True


def _values(folded: bytes, name: bytes, raw: bytes | None = None) -> list[bytes]:
    # The values of all lines of one field: as they are in `raw`, or in lower case.
    source = folded if raw is None else raw
    mark = b"\r\n%b:" % name
    values = []
    start = folded.find(mark)
    while start >= 0:
        start += len(mark)
        end = folded.find(b"\r\n", start)
        values.append(source[start:end].strip(b" \t"))
        start = folded.find(mark, end)
    return values
