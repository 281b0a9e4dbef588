"""The response half of a request: its fields, its framing, its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http_headers import Headers

from ._ids import request_id
from ._response import HTML, ID_LINE, KNOWN_NAMES, VARYING, field_name, varying_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProducer
    from twisted.python.failure import Failure

    from ._channel import Channel
    from ._fields import FieldBlock
    from ._response import Fields

__all__ = ["Reply"]

_log = Logger()

_NO_BODY = frozenset({204, 304})
_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date"})
"""Fields that the front sends itself; it hears what a handler wishes of them."""


class Reply:
    """
    What a handler does to answer, by the names of ``IRequest``.

    :ivar method: such as ``b"GET"``.
    :ivar code: the status code.
    :ivar code_message: a reason phrase other than the usual one.
    :ivar deferred: what the handler returned, if it was that.
    :ivar started: whether the head is on its way.
    :ivar finished: whether the response is complete.
    :ivar gone: whether the client has left.
    :ivar size: bytes of body that were sent so far.
    """

    __slots__ = (
        "_block",
        "_channel",
        "_chunked",
        "_fields",
        "_headers",
        "_id",
        "_keep",
        "_left",
        "_length",
        "_notices",
        "_producer",
        "_producer_paused",
        "_push",
        "_unusual",
        "_varying",
        "code",
        "code_message",
        "deferred",
        "finished",
        "gone",
        "method",
        "size",
        "started",
    )

    def __init__(self, channel: Channel, method: bytes, block: FieldBlock) -> None:
        self._channel = channel
        self._block = block
        self.method = method
        self.code = 200
        self.code_message: bytes | None = None
        self.deferred: Deferred[Any] | None = None
        self.started = self.finished = self.gone = False
        self.size = 0
        self._id: bytes | None = None
        self._fields: dict[bytes, bytes] = {}
        # Those that differ from one resource to the next; see VARYING.
        self._varying: dict[bytes, bytes] = {}
        self._length: int | None = None
        self._headers: Headers | None = None
        self._unusual = False
        self._notices: list[Deferred[None]] | None = None
        self._producer: Any = None
        self._producer_paused = False
        self._push = False
        self._chunked = False
        self._keep = False
        # Bytes of body that the head has promised and that are not sent yet.
        self._left: int | None = None

    @property
    def id(self) -> bytes | None:
        """The name of the request, ``None`` where the factory gives none."""
        if self._id is None:
            self._id_line()
        return self._id

    @property
    def startedWriting(self) -> bool:
        """Whether the head is on its way, by the name that Twisted uses."""
        return self.started

    @property
    def responseHeaders(self) -> Headers:
        """All fields, to be changed before the response starts."""
        if self._headers is None:
            self._unusual = True
            self._headers = headers = Headers()
            for name, value in (self._fields | self._varying).items():
                headers.setRawHeaders(name, [value])
            if self._length is not None:
                headers.setRawHeaders(b"content-length", [b"%d" % self._length])
        return self._headers

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Set the status code, and a reason phrase other than the usual one."""
        self.code = int(code)
        if message is not None:
            self.code_message = message
            self._unusual = True

    def setHeader(self, name: bytes | str, value: bytes | str) -> None:
        """
        Set a field, in place of earlier values.

        :raises ValueError: when the name is not a token.
        """
        name = KNOWN_NAMES.get(name) or field_name(name)
        if isinstance(value, str):
            value = value.encode("utf-8")
        if self._headers is not None:
            self._headers.setRawHeaders(name, [value])
            return
        if name in VARYING:
            self._varying[name] = value
        elif name == b"content-length" and value.isdigit():
            # The one of ours that handlers set all the time.
            self._length = int(value)
        else:
            self._fields[name] = value
            if name in _OURS:
                self._unusual = True

    def redirect(self, url: bytes) -> None:
        """Answer with 302 Found."""
        self.setResponseCode(302)
        self.setHeader(b"location", url)

    def respond(self, body: bytes) -> None:
        """Answer with the whole of the body that is not written yet."""
        if self.started:
            self.write(body)
            self.finish()
            return
        channel = self._channel
        length = len(body)
        if (
            self._block.usual
            and not self._unusual
            and (self._length is None or self._length == length)
            and self.method != b"HEAD"
            and self.code not in _NO_BODY
            and channel.can_persist
        ):
            # Nearly every response: there is nothing to decide.
            self.started = self._keep = True
            start = channel.heads.usual_start(
                self.code, tuple(self._fields.items()), typed=length > 0
            )
            varying = varying_lines(self._varying) if self._varying else b""
            self.size = length
            channel.send(
                b"%b%b%bContent-Length: %d\r\n\r\n%b"
                % (start, varying, self._id_line(), length, body)
            )
        else:
            # To HEAD an empty body says nothing of the one that GET would have.
            known = length if body or self.method != b"HEAD" else None
            start = self._start(known, typed=not body)
            channel.send(start + self._cut(body))
        self.finished = True
        self._end()

    def write(self, data: bytes) -> None:
        """
        Send a part of the body.

        :raises RuntimeError: after :meth:`finish`.
        """
        if self.finished:
            message = "write() was called after finish()"
            raise RuntimeError(message)
        if self.gone:
            return
        start = b"" if self.started else self._start(None, typed=False)
        data = self._cut(data)
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if start or data:
            self._channel.send(start + data)
            if self._producer is not None:
                self._channel.produced()

    def finish(self) -> None:
        """
        End the response.

        :raises RuntimeError: when the client has left.
        """
        if self.gone:
            message = "finish() was called after the connection was lost"
            raise RuntimeError(message)
        if self.finished:
            return
        if not self.started:
            self._channel.send(self._start(0, typed=True))
        elif self._chunked:
            self._channel.send(b"0\r\n\r\n")
        self.finished = True
        self._end()

    def loseConnection(self) -> None:
        """Break the connection off: the response cannot be completed."""
        self._channel.abort()

    def notifyFinish(self) -> Deferred[None]:
        """
        Return a Deferred for the end of the response.

        It fires with ``None`` once the response is complete, or fails with the
        reason once the client has left.
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
        """End what :meth:`registerProducer` began."""
        self._producer = None

    def pause_producer(self) -> None:
        """Stop a push producer, for a slow client (called by the channel)."""
        if self._producer is not None and self._push and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def resume_producer(self) -> None:
        """Ask for more: the client has caught up (called by the channel)."""
        if self._producer is not None and (self._producer_paused or not self._push):
            self._producer_paused = False
            try:
                self._producer.resumeProducing()
            except Exception:  # noqa: BLE001  # logged
                # It will not go on: half a response must not wait for it.
                _log.failure(
                    "A producer failed: {request_id}", request_id=request_id(self)
                )
                self.loseConnection()

    @property
    def pulls(self) -> bool:
        """Whether a producer waits to be asked for each piece."""
        return self._producer is not None and not self._push

    def connection_lost(self, reason: Failure) -> None:
        """Tell whoever wants to know that the client has left."""
        self.gone = True
        producer, self._producer = self._producer, None
        notices, self._notices = self._notices, None
        if producer is not None:
            _tell(producer.stopProducing)
        for notice in notices or ():
            notice.errback(reason)
        if self.deferred is not None:
            _tell(self.deferred.cancel)

    def _start(self, length: int | None, *, typed: bool) -> bytes:
        # The head (RFC 9112 6).  The length is None when it is not known yet; a
        # body that is typed, or empty, needs no type.
        self.started = True
        channel = self._channel
        code = self.code
        keep = self._block.keep_alive and channel.can_persist
        date = channel.heads.date_line()
        if self._length is not None:
            length = self._length
        if self._unusual:
            fields, length, keep, date = self._hear(length, date, keep=keep)
            typed = typed or any(name == b"content-type" for name, _ in fields)
        else:
            fields = (*self._fields.items(), *self._varying.items())
            typed = typed or b"content-type" in self._fields
        if code in _NO_BODY:
            framing = b""
            self._left = 0
        else:
            if not typed:
                fields = (HTML, *fields)
            if length is not None:
                framing = b"Content-Length: %d\r\n" % length
                self._left = length
            elif self._block.modern:
                self._chunked = self.method != b"HEAD"
                framing = b"Transfer-Encoding: chunked\r\n" * self._chunked
            else:
                framing = b""
                keep = False
            if self.method == b"HEAD":
                self._left = 0
        self._keep = keep
        if not keep:
            framing += b"Connection: close\r\n"
        elif not self._block.modern:
            framing += b"Connection: keep-alive\r\n"
        start = channel.heads.start(code, self.code_message, fields)
        return b"%b%b%b%b\r\n" % (start, date, self._id_line(), framing)

    def _id_line(self) -> bytes:
        name = self._id
        if name is None:
            ids = self._channel.factory.request_ids
            if ids is None:
                return b""
            self._id = name = self._block.request_id or next(ids)
        return ID_LINE % name

    def _hear(
        self, length: int | None, date: bytes, *, keep: bool
    ) -> tuple[Fields, int | None, bool, bytes]:
        # What the handler set of the fields that are ours to send.
        if self._headers is None:
            pairs = [*self._fields.items(), *self._varying.items()]
        else:
            pairs = [
                (name.lower(), value)
                for name, values in self._headers.getAllRawHeaders()
                for value in values
            ]
        for name, value in pairs:
            if name not in _OURS:
                continue
            if name == b"content-length" and value.isdigit():
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                keep = False
            elif name == b"date":
                date = b"Date: %b\r\n" % value
        fields = tuple(pair for pair in pairs if pair[0] not in _OURS)
        return fields, length, keep, date

    def _cut(self, data: bytes) -> bytes:
        # Never more than was promised: the rest would be read as an answer.
        left = self._left
        if left is None:
            self.size += len(data)
            return data
        if len(data) > left:
            if self.method != b"HEAD" and self.code not in _NO_BODY:
                self._break_promise()
            data = data[:left]
        self._left = left - len(data)
        self.size += len(data)
        return data

    def _break_promise(self) -> None:
        _log.error(
            "{method} was answered with a body that is not as long as its "
            "Content-Length: {request_id}",
            method=self.method.decode("ascii"),
            request_id=request_id(self),
        )
        self._keep = False

    def _end(self) -> None:
        if self._left:
            self._break_promise()
        self._producer = None
        self.deferred = None
        self._channel.finished(keep=self._keep)
        notices, self._notices = self._notices, None
        for notice in notices or ():
            notice.callback(None)


def _tell(call: Callable[[], object]) -> None:
    # That the app fails to hear of the loss must keep nobody else from hearing it.
    try:
        call()
    except Exception:  # noqa: BLE001  # logged
        _log.failure("The app failed when a client left")
