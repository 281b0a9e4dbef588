"""What the front tells of its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from ._request import Request

__all__ = ["Observer", "Observers", "Refusal"]


@frozen
class Refusal:
    """
    An error that the front has answered in place of the app.

    :ivar status: the status code.
    :ivar size: bytes of body that were sent.
    :ivar peer: whom the connection is with.
    :ivar id: the name of the request, ``None`` where the factory gives none.
    :ivar request: the request, ``None`` when there was no whole head of one.
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
    Is told of every request once it has come to an end.

    Called on the reactor between two requests: it must be quick, and not fail.
    The endpoint of a request's route is ``None`` where no route fits.
    """

    def answered(self, request: Request, seconds: float) -> None:
        """
        Take note of a whole answer.

        :param seconds: from the last byte of the head to that of the answer, which
            may still have to be sent.
        """

    def refused(self, refusal: Refusal) -> None:
        """Take note of an error that the front has answered itself."""

    def abandoned(self, request: Request) -> None:
        """Take note of a client that has left before its answer was complete."""


class Observers:
    """Several observers that are told the same."""

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
