"""A body on its way in: gathered for a handler, or streamed to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._problem import BodiesLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.net.fair_limit import FairLimit

    from ._body import IBody
    from ._limits import Limits

__all__ = ["Incoming"]

STREAMED = 256 * 1024
"""Bytes of a body that is streamed that its handler may hold at a time."""


class Incoming:
    """
    One body that was not complete when its request's head came.

    It holds a part of the limit on bodies, until :meth:`release` is called.

    :ivar client: the key of the client that sends it.
    :ivar streaming: whether the handler reads it itself.
    :ivar wanted: whether somebody waits for more of it now.
    """

    __slots__ = (
        "_allowance",
        "_bodies",
        "_decoder",
        "_deferred",
        "_evicted",
        "_held",
        "_limits",
        "_pieces",
        "_receive",
        "_received",
        "_resume",
        "_since",
        "_waited",
        "client",
        "expects",
        "streaming",
        "wanted",
    )

    def __init__(  # noqa: PLR0913  # each is a fact about the request
        self,
        decoder: IBody,
        limits: Limits,
        bodies: FairLimit,
        *,
        client: str,
        evicted: Callable[[], None],
        streaming: bool,
        expects: bool,
    ) -> None:
        """
        Wait for a body.

        :param bodies: the limit on what all bodies hold.
        :param evicted: called when another client needs the room.
        :param expects: whether the client waits for ``100 Continue``.
        """
        self._decoder = decoder
        self._bodies = bodies
        self._held = 0
        self._limits = limits
        self._evicted = evicted
        self.client = client
        self._pieces: list[bytes] = []
        self._received = 0
        # Time counts only while somebody waits for the client.
        self._since = 0.0
        self._waited = 0.0
        # Seconds that the client may still send nothing.
        self._allowance = limits.body_timeout
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

    def take(self) -> bytes:
        """Return what was decoded since the last call."""
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content

    def want(self, now: float) -> None:
        """Start to wait for the client, if nobody did yet."""
        if not self.wanted:
            self.wanted = True
            self._since = now

    def feed(self, data: bytes, start: int, now: float) -> int:
        """
        Decode, and return the place where decoding stopped.

        :raises RefusedError: as :meth:`IBody.feed` does, or 503 when there is no room.
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
            more = held - self._held
            if more and not self._bodies.take(self.client, self, more):
                raise BodiesLimitError
            self._held = held
            self._count(len(piece), now)
        return end

    def _count(self, size: int, now: float) -> None:
        limits = self._limits
        waited = now - self._since
        self._since = now
        self._waited += waited
        earned = size / max(limits.body_rate, self._held / limits.body_time)
        self._allowance = min(self._allowance - waited + earned, limits.body_timeout)

    def is_late(self, now: float) -> bool:
        """Return whether the client sends nothing, or too slowly for what is held."""
        return self.wanted and now - self._since > self._allowance

    def silence(self, now: float) -> float:
        """Return the seconds for which the client has sent nothing."""
        return now - self._since if self.wanted else 0.0

    def eviction_gain(self, now: float) -> float | None:
        """
        Return the byte-seconds that were spent on waiting for the client.

        None for a whole body: its request is being worked on.
        """
        if self.done:
            return None
        return self._held * (self._waited + self.silence(now))

    def evict(self) -> None:
        """Give the room to another client."""
        self.release()
        self._evicted()

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
        content = self.take()
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
        self._end()
        if deferred is not None:
            deferred.callback(None)

    def fail(self, failure: Failure) -> None:
        """Tell the reader that the rest will not come."""
        deferred = self._deferred
        self.stop()
        if deferred is not None:
            deferred.errback(failure)

    def stop(self) -> None:
        """Forget the reader and the content."""
        self._end()
        self.release()

    def release(self) -> None:
        """Hold nothing any more."""
        self._pieces.clear()
        self._held = 0
        self._bodies.give_back(self.client, self)

    def _end(self) -> None:
        self.wanted = False
        self._deferred = self._resume = None

    def _ready(self, _: object) -> None:
        if self._resume is not None:
            self._resume()
