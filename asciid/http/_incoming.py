"""A body on its way in: gathered for a handler, or streamed to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._problem import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._body import IBody
    from ._limits import Limits

__all__ = ["BodyBudget", "Incoming"]

STREAMED = 256 * 1024
"""Bytes of a body that is streamed that its handler may hold at a time."""


class BodyBudget:
    """
    The bytes that all bodies being received may hold together.

    :ivar used: what they hold now.
    """

    __slots__ = ("_limit", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """
        Hold more.

        :raises RefusedError: 503 when that would be too much.
        """
        if self.used + size > self._limit:
            message = "Too many request bodies are under way; try again soon."
            raise RefusedError(503, message)
        self.used += size

    def give_back(self, size: int) -> None:
        """Hold less."""
        self.used -= size


class Incoming:
    """
    One body that was not complete when its request's head came.

    :ivar streaming: whether the handler reads it itself.
    :ivar wanted: whether somebody waits for more of it now.
    """

    __slots__ = (
        "_budget",
        "_decoder",
        "_deferred",
        "_held",
        "_limits",
        "_pieces",
        "_receive",
        "_received",
        "_resume",
        "_since",
        "_waited",
        "expects",
        "streaming",
        "wanted",
    )

    def __init__(
        self,
        decoder: IBody,
        limits: Limits,
        budget: BodyBudget,
        *,
        streaming: bool,
        expects: bool,
    ) -> None:
        """:param expects: whether the client waits for ``100 Continue``."""
        self._decoder = decoder
        self._budget = budget
        self._held = 0
        self._limits = limits
        self._pieces: list[bytes] = []
        self._received = 0
        # Time counts only while somebody waits for the client.
        self._since = 0.0
        self._waited = 0.0
        self.expects = expects
        self.streaming = streaming
        self.wanted = False
        self._receive: Callable[[bytes], Deferred[None] | None] | None = None
        self._resume: Callable[[], None] | None = None
        self._deferred: Deferred[None] | None = None

    @property
    def done(self) -> bool:
        """Whether the whole body was decoded."""
        return self._decoder.done

    @property
    def body(self) -> bytes:
        """The content, when it is gathered."""
        return b"".join(self._pieces)

    def want(self, now: float) -> None:
        """Start to wait for the client, if nobody did yet."""
        if not self.wanted:
            self.wanted = True
            self._since = now

    def feed(self, data: bytes, start: int, now: float) -> int:
        """
        Decode, and return the place where decoding stopped.

        :raises RefusedError: as :meth:`IBody.feed` does, or as
            :meth:`BodyBudget.take`.
        """
        count = len(self._pieces)
        end = self._decoder.feed(data, start, self._pieces)
        if len(self._pieces) > count:
            # One piece a read: tiny chunks would cost many times their bytes.
            piece = b"".join(self._pieces[count:])
            self._pieces[count:] = [piece]
            self._received += len(piece)
            held = self._received
            if self.streaming:
                held = min(held, STREAMED)
            self._budget.take(held - self._held)
            self._held = held
            self._waited += now - self._since
            self._since = now
        return end

    def is_late(self, now: float) -> bool:
        """Tell whether the client stalls, or sends too slowly on the whole."""
        if not self.wanted:
            return False
        limits = self._limits
        waiting = now - self._since
        counted = self._waited + waiting - limits.body_timeout
        return (
            waiting > limits.body_timeout or self._received < counted * limits.body_rate
        )

    def open(
        self,
        receive: Callable[[bytes], Deferred[None] | None],
        resume: Callable[[], None],
    ) -> Deferred[None]:
        """
        Begin to hand the content out.

        :param receive: takes the content; see :func:`asciid.http.read_body`.
        :param resume: called whenever more is wanted, also after the end.
        :raises RuntimeError: when the body was asked for already.
        """
        if self._receive is not None:
            message = "the body can be read once only"
            raise RuntimeError(message)
        self._receive = receive
        self._resume = resume
        self._deferred = Deferred(lambda _: self.stop())
        return self._deferred

    def hand_over(self) -> None:
        """Give what was decoded to the handler, and wait until it is ready."""
        content = self.body
        self._pieces.clear()
        if self._receive is None or not (content or self.done):
            return
        self.wanted = False
        if not content:
            self._ready(None)
            return
        try:
            ready = self._receive(content)
        except Exception:  # noqa: BLE001  # goes to whoever reads the body
            self.fail(Failure())
            return
        if ready is None:
            self._ready(None)
        else:
            ready.addCallbacks(self._ready, self.fail)

    def finish(self) -> None:
        """Tell the reader that it has had the whole body."""
        deferred = self._deferred
        self.stop()
        if deferred is not None:
            deferred.callback(None)

    def fail(self, failure: Failure) -> None:
        """Tell the reader that the rest will not come."""
        deferred = self._deferred
        self.stop()
        if deferred is not None:
            deferred.errback(failure)

    def stop(self) -> None:
        """Forget the reader, and count what is held no more."""
        self._budget.give_back(self._held)
        self._held = 0
        self.wanted = False
        self._deferred = self._resume = None

    def _ready(self, _: object) -> None:
        if self._resume is not None:
            self._resume()
