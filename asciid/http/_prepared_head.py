"""The parts of a response head that are the same in many responses, encoded once."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from asciid.http._response_head import (
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DEFAULT_TYPE,
    FRAMING_FIELDS,
    NO_BODY,
    field_lines,
    line_start,
    status_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PreparedHead", "decode_fields", "encode_fields"]

# Klein's handlers get a request of either stack; they have no common type.
AnyRequest = Any


class PreparedHead:
    """
    A status and header fields, encoded once for all responses that have them.

    A handler calls :meth:`apply` in place of ``setResponseCode`` and ``setHeader``, and
    returns the body as usual.  Date, X-Request-Id, Connection and, unless it is among
    the fields, Content-Length are added to each response.  A field that the handler
    sets itself, before or after, takes precedence.

    Immutable, and so may be kept and shared; it holds no reference to a request.

    :ivar status: the status code.
    :ivar bodiless: whether responses with this status have no body.
    :ivar lines: the status line and the lines of the fields but Content-Length.
    :ivar fields: the values of all fields, by the starts of their lines.
    :ivar length: the Content-Length, in bytes; ``None`` if it is that of the body.
    :ivar typed_lines: the same, with the default Content-Type if a body would need it.
    """

    __slots__ = (
        "_pairs",
        "bodiless",
        "fields",
        "length",
        "lines",
        "status",
        "typed_lines",
    )

    def __init__(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Encode the head.

        :param fields: names and values; control characters in values become spaces.
        :raises ValueError: when a name is not a token, or the field is one that only
            the server sends (Connection, Date, Transfer-Encoding).
        """
        self.status = status
        self.bodiless = status in NO_BODY
        self._pairs = tuple(fields)
        self.fields = {line_start(name): value for name, value in self._pairs}
        if not FRAMING_FIELDS.isdisjoint(self.fields):
            message = "Connection, Date and Transfer-Encoding cannot be prepared"
            raise ValueError(message)
        rest = dict(self.fields)
        length = rest.pop(CONTENT_LENGTH, None)
        self.length = None if length is None else int(length)
        start, lines = status_line(status), field_lines(rest.items())
        needs_type = not (self.bodiless or CONTENT_TYPE in rest)
        self.lines = start + lines
        self.typed_lines = start + DEFAULT_TYPE + lines if needs_type else self.lines

    def apply(
        self,
        request: AnyRequest,
        own: bytes = b"",
        length: int | None = None,
        *,
        replaces: bool = False,
    ) -> None:
        """
        Give a response this status and these fields; also on stock twisted.web.

        :param own: the lines of fields that not all responses with this head have, from
            :func:`encode_fields`; none of them may be among the fields of the head.
        :param length: the Content-Length of this response, in bytes; ``None`` if it is
            that of the head or of the body.
        :param replaces: whether it replaces such fields that the handler has set
            before, as the response to an error does.
        """
        if hasattr(request, "prepared_head"):
            if replaces:
                # Not a list: usually there are none.
                own_starts = (line_start(name) for name, _ in decode_fields(own))
                request.drop_fields(chain(self.fields, own_starts, (CONTENT_LENGTH,)))
            request.code = self.status
            request.prepared_head = self
            request.prepared_lines = own
            request.prepared_length = length
            return
        request.setResponseCode(self.status)
        fields = [*self._pairs, *decode_fields(own)]
        if length is not None:
            fields.append((b"Content-Length", b"%d" % length))
        for name, value in fields:
            if replaces or not request.responseHeaders.hasHeader(name):
                request.setHeader(name, value)


def encode_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """
    Return the lines of fields, which may be kept.

    :param fields: names and values; control characters in values become spaces.
    :raises ValueError: when a name is not a token.
    """
    return field_lines([(line_start(name), value) for name, value in fields])


def decode_fields(lines: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and values of fields that were encoded."""
    for line in lines.split(b"\r\n")[1:]:
        name, _, value = line.partition(b": ")
        yield name, value
