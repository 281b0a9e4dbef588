"""Observers of the requests that a server has served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from asciid.http._request import Request

__all__ = ["Observer", "Observers", "Refusal"]


@frozen
class Refusal:
    """
    An error response of the server itself, in place of the app.

    :ivar status: the status code.
    :ivar size: size of the body that was sent, in bytes.
    :ivar peer: the client's address.
    :ivar id: the id of the request, ``None`` where the server gives none.
    :ivar request: the request, ``None`` when its head was incomplete or malformed.
    :ivar problem: the name of the problem type, ``None`` for ``about:blank``.
    """

    status: int
    size: int
    peer: IAddress
    id: bytes | None
    request: Request | None
    problem: str | None = None

    @property
    def method(self) -> bytes:
        """The method, empty when there was no request."""
        return b"" if self.request is None else self.request.method


class Observer(Protocol):
    """
    Is notified of the end of every request.

    Called on the reactor between two requests: it must be quick, and not fail.
    The endpoint of a request's route is ``None`` where no route matches.
    """

    def answered(self, request: Request, seconds: float) -> None:
        """
        Record a complete response.

        :param seconds: from the last byte of the head to that of the response, which
            may still be queued.
        """

    def refused(self, refusal: Refusal) -> None:
        """Record an error response of the server itself."""

    def abandoned(self, request: Request) -> None:
        """Record that a client disconnected before its response was complete."""


class Observers:
    """Notifies several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def answered(self, request: Request, seconds: float) -> None:
        """See :meth:`Observer.answered`."""
        for observer in self._observers:
            observer.answered(request, seconds)

    def refused(self, refusal: Refusal) -> None:
        """See :meth:`Observer.refused`."""
        for observer in self._observers:
            observer.refused(refusal)

    def abandoned(self, request: Request) -> None:
        """See :meth:`Observer.abandoned`."""
        for observer in self._observers:
            observer.abandoned(request)
