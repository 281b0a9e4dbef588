"""The response half of a request: its fields, its framing, its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http_headers import Headers

from asciid.http._ids import request_id
from asciid.http._prepared_head import decode_fields
from asciid.http._response_head import (
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DATE,
    DEFAULT_TYPE,
    FRAMING_FIELDS,
    ID_LINE_START,
    LINE_STARTS,
    NO_BODY,
    field_lines,
    length_line,
    line_start,
    status_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from twisted.internet.interfaces import IAddress, IProducer
    from twisted.python.failure import Failure

    from asciid.http._field_block import FieldBlock
    from asciid.http._prepared_head import PreparedHead
    from asciid.http._response_head import ResponseHeads
    from asciid.http._route_table import RouteTable

__all__ = ["IChannel", "Response"]

_log = Logger()
_ignoring_failures = _log.failureHandler("The app failed when a client left")

_CONNECTION = line_start(b"connection")


class IChannel(Protocol):
    """
    The connection of a request.

    :ivar client: the key of the client, by its address.
    :ivar secure: whether the connection is encrypted.
    :ivar routes: the routes of the app.
    :ivar heads: encodes the heads of responses.
    :ivar request_ids: ids for requests, ``None`` if they have none.
    """

    client: str
    secure: bool
    routes: RouteTable
    heads: ResponseHeads
    request_ids: Iterator[bytes] | None

    @property
    def host(self) -> IAddress:
        """The local address."""

    @property
    def peer(self) -> IAddress:
        """The client's address."""

    @property
    def blocked(self) -> bool:
        """Whether the client reads more slowly than the handler writes."""

    def can_persist(self) -> bool:
        """Return whether another request may follow this one."""

    def send(self, data: bytes) -> None:
        """Send after what was sent before."""

    def send_all(self, pieces: Sequence[bytes]) -> None:
        """Send what would take long to join."""

    def produced(self) -> None:
        """Pause a producer that has written, or ask it for more."""

    def complete(self, last: bytes, keep: bool) -> None:  # noqa: FBT001  # called for each response
        """Send the last bytes of the response; continue with the next, or close."""

    def abort(self) -> None:
        """Reset the connection."""

    def read_body(
        self, receive: Callable[[bytes], Deferred[None] | None]
    ) -> Deferred[None]:
        """Stream the body of the request."""


class _Headers(Headers):
    # Twisted's fields of a response, with the methods of a dict that are used here.

    def __setitem__(self, start: bytes, value: bytes) -> None:
        self.setRawHeaders(_name(start), [value])

    def __iter__(self) -> Iterator[bytes]:
        return (start for start, _ in self.items())

    def items(self) -> list[tuple[bytes, bytes]]:
        headers = self.getAllRawHeaders()
        return [
            (line_start(name), value) for name, values in headers for value in values
        ]

    def pop(self, start: bytes, default: bytes) -> bytes:
        values = self.getRawHeaders(_name(start))
        self.removeHeader(_name(start))
        return values[-1] if values else default


def _name(start: bytes) -> bytes:
    return start[2:-2]


class Response:
    """
    What a handler needs to respond, by the names of ``IRequest``.

    :ivar id: the id of the request, ``None`` where the server gives none.
    :ivar method: such as ``b"GET"``.
    :ivar code: the status code.
    :ivar code_message: a reason phrase other than that of the status.
    :ivar prepared_head: see :meth:`PreparedHead.apply`.
    :ivar prepared_lines: the lines of further fields, for this response.
    :ivar prepared_length: the Content-Length of this response, in bytes.
    :ivar started: whether the head was sent.
    :ivar finished: whether the response is complete.
    :ivar gone: whether the client has disconnected.
    :ivar size: bytes of body that were sent so far.
    :ivar awaited: what the response waits for; cancelled if the client disconnects.
    """

    # What few responses read before it is set; the rest is set by Request.
    code = 200
    prepared_head: PreparedHead | None = None
    size = 0
    awaited: Deferred[Any] | None = None
    code_message: bytes | None = None
    prepared_lines = b""
    prepared_length: int | None = None
    _producer: Any = None
    _producer_paused = False
    _push = False
    _chunked = False
    # Bytes of body that the head has announced and that are not sent yet.
    _left: int | None = None

    # Set by Request, as a call for each request would cost more than it explains.
    id: bytes | None
    method: bytes
    started: bool
    finished: bool
    gone: bool
    _block: FieldBlock
    _channel: IChannel
    # By the starts of their lines.  Twisted's class is slow: only if needed.
    _fields: dict[bytes, bytes] | _Headers
    _keep: bool
    _notices: list[Deferred[None]] | None

    @property
    def startedWriting(self) -> bool:
        """Whether the head was sent, by the name that Twisted uses."""
        return self.started

    @property
    def responseHeaders(self) -> Headers:
        """All fields, to be changed before the response starts."""
        self._unpack_head()
        if isinstance(self._fields, dict):
            self._fields = _Headers({_name(at): [v] for at, v in self._fields.items()})
        return self._fields

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Set the status code, and a reason phrase other than that of the status."""
        self.code = int(code)
        if message is not None:
            self._unpack_head()
            self.code_message = message

    def setHeader(self, name: bytes | str, value: bytes | str) -> None:
        """
        Set a field, in place of earlier values.

        :raises ValueError: when the name is not a token.
        """
        start = LINE_STARTS.get(name) or line_start(name)
        if isinstance(value, str):
            value = value.encode("utf-8")
        self._fields[start] = value

    def drop_fields(self, starts: Iterable[bytes]) -> None:
        """Remove fields that were set, by the starts of their lines."""
        if self._fields:
            for start in starts:
                self._fields.pop(start, b"")

    def redirect(self, url: bytes) -> None:
        """Respond with 302 Found."""
        self.setResponseCode(302)
        self.setHeader(b"location", url)

    def respond(self, body: bytes) -> None:
        """Respond with all of the body that is not written yet."""
        if self.started:
            self.write(body)
            self.finish()
            return
        size = len(body)
        head, length = self.prepared_head, self.prepared_length
        if length is None and head is not None:
            length = head.length
        channel = self._channel
        if (
            head is None
            or self._fields
            or self.code != head.status
            or (length is not None and length != size)
            or (size and head.bodiless)
            or self.method == b"HEAD"
            or not self._block.persistent
            or not channel.can_persist()
        ):
            self._respond(body)
            return
        # Nearly every response: its head was prepared, and its framing is the usual.
        self.started = self.finished = True
        self.size = size
        self.awaited = None
        heads = channel.heads
        if heads.clock() >= heads.date_until:
            heads.renew_date()
        name = self.id
        channel.complete(
            b"".join(
                (
                    head.typed_lines if size else head.lines,
                    self.prepared_lines,
                    heads.date,
                    b"" if name is None else ID_LINE_START,
                    name or b"",
                    b"" if head.bodiless else length_line(size),
                    b"\r\n\r\n",
                    body,
                )
            ),
            True,  # noqa: FBT003  # called for each response
        )
        if self._notices is not None:
            self._notify()

    def _respond(self, body: bytes) -> None:
        # Send any head and all of the body.
        # An empty body in a response to HEAD says nothing of the one that GET has.
        size = len(body)
        length = size if body or self.method != b"HEAD" else None
        parts = self._start(length, not body)
        if self._left == size:
            self.size = size
        else:
            body = self._cut(body)
            if self._left:
                self._log_wrong_length()
        parts.append(body)
        self.finished = True
        self.awaited = None
        self._channel.complete(b"".join(parts), self._keep)
        if self._notices is not None:
            self._notify()

    def write(self, data: bytes) -> None:
        """
        Send a part of the body.

        :raises RuntimeError: after :meth:`finish`.
        """
        self.writeSequence((data,))

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        """
        Send a part of the body that consists of several pieces.

        :raises RuntimeError: after :meth:`finish`.
        """
        if self.finished:
            message = "write() was called after finish()"
            raise RuntimeError(message)
        if self.gone:
            return
        sent = [] if self.started else [b"".join(self._start(None, typed=False))]
        for piece in pieces:
            data = self._cut(piece)
            if self._chunked and data:
                sent += (b"%x\r\n" % len(data), data, b"\r\n")
            elif data:
                sent.append(data)
        if sent:
            self._channel.send_all(sent)
            if self._producer is not None:
                self._channel.produced()

    def finish(self) -> None:
        """
        End the response.

        :raises RuntimeError: when the client has disconnected.
        """
        if self.gone:
            message = "finish() was called after the connection was lost"
            raise RuntimeError(message)
        if self.finished:
            return
        last = b""
        if not self.started:
            last = b"".join(self._start(0, typed=True))
        elif self._chunked:
            last = b"0\r\n\r\n"
        if self._left:
            self._log_wrong_length()
        self.finished = True
        self._producer = self.awaited = None
        self._channel.complete(last, self._keep)
        if self._notices is not None:
            self._notify()

    def loseConnection(self) -> None:
        """Reset the connection: the response cannot be completed."""
        self._channel.abort()

    def notifyFinish(self) -> Deferred[None]:
        """
        Return a Deferred for the end of the response.

        It fires with ``None`` once the response is complete, and fails with the reason
        once the client has disconnected.
        """
        notice: Deferred[None] = Deferred()
        if self._notices is None:
            self._notices = []
        self._notices.append(notice)
        return notice

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:  # noqa: FBT001  # IConsumer's signature
        """
        Let a producer write the body as fast as the client reads it.

        :param streaming: true for a push producer, false for a pull producer.
        :raises RuntimeError: when there is a producer already.
        """
        if self._producer is not None:
            message = "there is a producer already"
            raise RuntimeError(message)
        if self.gone:
            producer.stopProducing()
            return
        self._producer = producer
        self._producer_paused = False
        self._push = streaming
        if not streaming:
            self._producer.resumeProducing()
        elif self._channel.blocked:
            self.pause_producer()

    def unregisterProducer(self) -> None:
        """Remove the producer."""
        self._producer = None

    def pause_producer(self) -> None:
        """Pause a push producer, for a slow client (called by the channel)."""
        if self._producer is not None and self._push and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def resume_producer(self) -> None:
        """Resume a producer: the client has caught up (called by the channel)."""
        if self._producer is not None and (self._producer_paused or not self._push):
            self._producer_paused = False
            with _log.failuresHandled(
                "A producer failed: {request_id}", request_id=request_id(self)
            ) as resumed:
                self._producer.resumeProducing()
            if resumed.failed:
                # It will not continue: no client must wait for half a response.
                self.loseConnection()

    @property
    def pulls(self) -> bool:
        """Whether there is a pull producer."""
        return self._producer is not None and not self._push

    def connection_lost(self, reason: Failure) -> None:
        """Notify the producer and the handler that the client has disconnected."""
        self.gone = True
        producer, self._producer = self._producer, None
        notices, self._notices = self._notices, None
        if producer is not None:
            with _ignoring_failures:
                producer.stopProducing()
        for notice in notices or ():
            notice.errback(reason)
        if self.awaited is not None:
            with _ignoring_failures:
                self.awaited.cancel()

    def _start(self, length: int | None, typed: bool) -> list[bytes]:  # noqa: FBT001  # called for each response
        # Returns the parts of the head (RFC 9112 6).  The length is None when it is
        # not known yet; a body that is typed, or empty, needs no type.
        self.started = True
        channel, prepared = self._channel, self.prepared_head
        heads = channel.heads
        if heads.clock() >= heads.date_until:
            heads.renew_date()
        date = heads.date
        keep = self._block.keep_alive and channel.can_persist()
        if prepared is not None and not self._fields and self.code == prepared.status:
            # Nothing changes or adds to what was prepared.
            lines = prepared.lines if typed else prepared.typed_lines
            own = self.prepared_lines
            if self.prepared_length is not None:
                length = self.prepared_length
            elif prepared.length is not None:
                length = prepared.length
        else:
            lines, own, length, keep, date = self._encode(length, typed, keep, date)
        framing = self._frame(length, keep)
        if self.id is None:
            return [lines, own, date, framing, b"\r\n\r\n"]
        return [lines, own, date, ID_LINE_START, self.id, framing, b"\r\n\r\n"]

    def _encode(
        self,
        length: int | None,
        typed: bool,  # noqa: FBT001  # called for each response
        keep: bool,  # noqa: FBT001  # likewise
        date: bytes,
    ) -> tuple[bytes, bytes, int | None, bool, bytes]:
        # Returns the status line, the lines of fields, and what these change.
        self._unpack_head()
        fields = self._fields
        declared = fields.pop(CONTENT_LENGTH, b"")
        if declared.isdigit():
            length = int(declared)
        pairs: Collection[tuple[bytes, bytes]] = fields.items()
        if not FRAMING_FIELDS.isdisjoint(fields):
            for start, value in pairs:
                if start == _CONNECTION:
                    keep = keep and b"close" not in value.lower()
                elif start == DATE:
                    date = DATE + value
            pairs = [pair for pair in pairs if pair[0] not in FRAMING_FIELDS]
        lines = status_line(self.code, self.code_message)
        if not (typed or self.code in NO_BODY or CONTENT_TYPE in fields):
            lines += DEFAULT_TYPE
        return lines, field_lines(pairs), length, keep, date

    def _unpack_head(self) -> None:
        # Make what was prepared fields like any others; what is set takes precedence.
        prepared, self.prepared_head = self.prepared_head, None
        if prepared is None:
            return
        fields = dict(prepared.fields)
        for name, value in decode_fields(self.prepared_lines):
            fields[line_start(name)] = value
        if self.prepared_length is not None:
            fields[CONTENT_LENGTH] = b"%d" % self.prepared_length
        for start, value in fields.items():
            if start not in self._fields:
                self._fields[start] = value

    def _frame(self, length: int | None, keep: bool) -> bytes:  # noqa: FBT001  # called for each response
        # Returns the lines of the fields that say where the response ends.
        framing = b""
        is_http11 = self._block.is_http11
        if self.code in NO_BODY:
            self._left = 0
        elif length is not None:
            framing = length_line(length)
            self._left = 0 if self.method == b"HEAD" else length
        elif self.method == b"HEAD":
            self._left = 0
            keep = keep and is_http11
        elif is_http11:
            framing = b"\r\nTransfer-Encoding: chunked"
            self._chunked = True
        else:
            keep = False
        self._keep = keep
        if not keep:
            return framing + b"\r\nConnection: close"
        return framing if is_http11 else framing + b"\r\nConnection: keep-alive"

    def _cut(self, data: bytes) -> bytes:
        # Never more than was announced: the client would take it for a response.
        left = self._left
        if left is None:
            self.size += len(data)
            return data
        if len(data) > left:
            if self.method != b"HEAD" and self.code not in NO_BODY:
                self._log_wrong_length()
            data = data[:left]
        self._left = left - len(data)
        self.size += len(data)
        return data

    def _log_wrong_length(self) -> None:
        _log.error(
            "body of the response to {method} request {request_id} is not as long as "
            "its Content-Length",
            method=self.method.decode("ascii"),
            request_id=request_id(self),
        )
        self._keep = False

    def _notify(self) -> None:
        # The response is complete.
        notices, self._notices = self._notices, None
        for notice in notices or ():
            notice.callback(None)
