"""Reading a request's body, in one way on this front and on ``twisted.web``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred

from ._routes import STREAMS_BODY

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["body_of", "read_body", "streams_body"]

_PIECE = 64 * 1024

# Klein's handlers get a request of either stack; no one type says so.
AnyRequest = Any

_HandlerT = TypeVar("_HandlerT", bound="Callable[..., Any]")


def streams_body(handler: _HandlerT) -> _HandlerT:
    """
    Mark a Klein handler that reads its body itself, with :func:`read_body`.

    It is called as soon as the head of the request is here.  The limit on the
    body's size is that of its endpoint.
    """
    setattr(handler, STREAMS_BODY, True)
    return handler


def body_of(request: AnyRequest) -> bytes:
    """
    Return the whole body of a request whose handler does not stream it.

    :raises RuntimeError: when the body is still being received.
    """
    body = getattr(request, "body", None)
    if isinstance(body, bytes):
        return body
    content: bytes = request.content.read()
    return content


def read_body(
    request: AnyRequest, receive: Callable[[bytes], Deferred[None] | None]
) -> Deferred[None]:
    """
    Hand the body of a request out piece by piece.

    :param receive: takes a piece, at most 64 KiB; while a Deferred that it
        returned has not fired, it gets no other, and the client is made to wait:
        no more than 256 KiB are ever held.  What it raises ends the reading.
    :return: fires when the body is complete and taken.  Fails with what
        ``receive`` raised; with a :class:`werkzeug.exceptions.HTTPException` when
        the body is malformed or ended early (400), came too slowly (408), is too
        large (413) or one too many (503); is cancelled, or fails with the reason,
        when the client has left.  Left to Klein, such an exception becomes the answer.
    :raises RuntimeError: when the body was read already.
    """
    begin = getattr(request, "read_body", None)
    streamed: Deferred[None] | None = None if begin is None else begin(receive)
    if streamed is None:
        return ensureDeferred(_read_content(request, receive))
    return streamed


async def _read_content(
    request: AnyRequest, receive: Callable[[bytes], Deferred[None] | None]
) -> None:
    # The whole body is here: also under stock twisted.web.
    while piece := request.content.read(_PIECE):
        ready = receive(piece)
        if ready is not None:
            await ready
