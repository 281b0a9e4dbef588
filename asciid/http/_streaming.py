"""Reads and writes bodies in pieces, on this server and on stock ``twisted.web``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed

from asciid.http._route_table import STREAMS_BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


__all__ = ["body_of", "read_body", "streams_body", "write_pieces"]

_PIECE = 64 * 1024

# Klein's handlers get a request of either stack; they have no common type.
AnyRequest = Any

_HandlerT = TypeVar("_HandlerT", bound="Callable[..., Any]")


def streams_body(handler: _HandlerT) -> _HandlerT:
    """
    Mark a Klein handler that reads its body itself, with :func:`read_body`.

    It is called as soon as the head of the request is complete.  The limit on the
    size of the body is that of its endpoint.
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
    Stream the body of a request piece by piece.

    :param receive: called with a piece of at most 64 KiB; while a Deferred that it
        returned has not fired, it gets no other, and reading pauses: no more than
        256 KiB are ever held.  An exception that it raises ends the reading.
    :return: fires when the body is complete and was received.  Fails with what
        ``receive`` raised; with a :class:`werkzeug.exceptions.HTTPException` when
        the body is malformed or ended early (400), arrived too slowly (408), is too
        large (413), or the limit on bodies is reached (503); is cancelled, or fails
        with the reason, when the client has disconnected.  Klein turns such an
        exception into the response.
    :raises RuntimeError: when the body was read already, unless it was complete before.
    """
    begin = getattr(request, "read_body", None)
    streamed: Deferred[None] | None = None if begin is None else begin(receive)
    if streamed is not None:
        return streamed
    body = getattr(request, "body", None)
    if isinstance(body, bytes) and len(body) <= _PIECE:
        return _pass_whole(body, receive)
    return ensureDeferred(_read_content(request, receive))


def _pass_whole(
    body: bytes, receive: Callable[[bytes], Deferred[None] | None]
) -> Deferred[None]:
    # One piece needs no coroutine.
    try:
        ready = receive(body) if body else None
    except Exception:  # noqa: BLE001  # the reader gets it
        return fail()
    return succeed(None) if ready is None else ready


async def _read_content(
    request: AnyRequest, receive: Callable[[bytes], Deferred[None] | None]
) -> None:
    # The body is complete: also under stock twisted.web.
    while piece := request.content.read(_PIECE):
        ready = receive(piece)
        if ready is not None:
            await ready


def write_pieces(request: AnyRequest, pieces: Iterable[bytes]) -> None:
    """Write a part of the body of the response, without joining its pieces."""
    write_all = getattr(request, "writeSequence", None)
    if write_all is not None:
        write_all(pieces)
        return
    for piece in pieces:
        request.write(piece)
