"""A request body that is being received: for a handler, or streamed to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from asciid.http._problem import BodiesLimitError
from asciid.net.body_limits import STREAMED

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.http._body import IBody
    from asciid.http._limits import Limits
    from asciid.net.fair_limit import FairLimit

__all__ = ["Incoming"]


@define(eq=False, kw_only=True)
class Incoming:
    """
    A body that was not complete when the head of its request was received.

    It holds a part of the limit on bodies until :meth:`release` is called.
    """

    decoder: IBody

    limits: Limits

    bodies: FairLimit
    """The limit on what all bodies hold."""

    client: str
    """The key of the client that sends it."""

    evicted: Callable[[], None]
    """Called when its part of the limit is given to another client."""

    streaming: bool
    """Whether the handler reads it itself."""

    _expects: bool
    """Whether the client waits for ``100 Continue``."""

    wanted: bool = field(init=False, default=False)
    """Whether more of it is waited for."""

    _held: int = field(init=False, default=0)
    _received: int = field(init=False, default=0)
    _pieces: list[bytes] = field(init=False, factory=list)

    # Only the time in which the body is waited for counts.
    _since: float = field(init=False, default=0.0)
    _waited: float = field(init=False, default=0.0)

    # Seconds that the client may still send nothing.
    _allowance: float = field(init=False)

    _receive: Callable[[bytes], Deferred[None] | None] | None = field(
        init=False, default=None
    )
    _resume: Callable[[], None] | None = field(init=False, default=None)
    _deferred: Deferred[None] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        """Allow the client a timeout at first."""
        self._allowance = self.limits.body_timeout

    @property
    def done(self) -> bool:
        """Whether the whole body was decoded."""
        return self.decoder.done

    def take(self) -> bytes:
        """Return what was decoded since the last call."""
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content

    def want(self, now: float) -> bool:
        """Start waiting for the client; return whether it expects 100 Continue."""
        if not self.wanted:
            self.wanted = True
            self._since = now
        expects, self._expects = self._expects, False
        return expects

    def pause(self) -> None:
        """Stop waiting for the client."""
        self.wanted = False

    def feed(self, data: bytes, start: int, now: float) -> int:
        """
        Decode, and return the index where decoding stopped.

        :raises RefusedError: as :meth:`IBody.feed` does, or 503 at the limit on bodies.
        """
        count = len(self._pieces)
        end = self.decoder.feed(data, start, self._pieces)
        if len(self._pieces) > count:
            # One piece a read: tiny chunks would take many times their bytes.
            piece = b"".join(self._pieces[count:])
            self._pieces[count:] = [piece]
            self._received += len(piece)
            held = self._received
            if self.streaming:
                held = min(held, STREAMED)
            more = held - self._held
            if more and not self.bodies.take(self.client, self, more):
                raise BodiesLimitError
            self._held = held
            self._count(len(piece), now)
        return end

    def _count(self, size: int, now: float) -> None:
        limits = self.limits
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
        Return the byte-seconds for which the client was waited for.

        None for a complete body: its request is in progress.
        """
        if self.done:
            return None
        return self._held * (self._waited + self.silence(now))

    def evict(self) -> None:
        """Give the part of the limit to another client."""
        self.release()
        self.evicted()

    def open(
        self,
        receive: Callable[[bytes], Deferred[None] | None],
        resume: Callable[[], None],
    ) -> Deferred[None]:
        """
        Start streaming the content.

        :param receive: takes the content; see :func:`asciid.http.read_body`.
        :param resume: called whenever more is wanted, also after the end.
        :raises RuntimeError: when the body was read already.
        """
        if self._receive is not None:
            message = "the body can be read once only"
            raise RuntimeError(message)
        self._receive = receive
        self._resume = resume
        self._deferred = Deferred(lambda _: self.stop())
        return self._deferred

    def hand_over(self) -> None:
        """Pass the decoded content to the handler, and wait until it is ready."""
        content = self.take()
        if self._receive is None or not (content or self.done):
            return
        self.wanted = False
        if not content:
            self._ready(None)
            return
        try:
            ready = self._receive(content)
        except Exception:  # noqa: BLE001  # the reader gets it
            self.fail(Failure())
            return
        if ready is None:
            self._ready(None)
        else:
            ready.addCallbacks(self._ready, self.fail)

    def finish(self) -> None:
        """Fire the Deferred of :meth:`open`: the body is complete and was passed on."""
        deferred = self._deferred
        self._end()
        if deferred is not None:
            deferred.callback(None)

    def fail(self, failure: Failure) -> None:
        """Fail the Deferred of :meth:`open`: the rest will not be received."""
        deferred = self._deferred
        self.stop()
        if deferred is not None:
            deferred.errback(failure)

    def stop(self) -> None:
        """Discard the content, and stop streaming."""
        self._end()
        self.release()

    def release(self) -> None:
        """Discard the content, and give its part of the limit back."""
        self._pieces.clear()
        self._held = 0
        self.bodies.give_back(self.client, self)

    def _end(self) -> None:
        self.wanted = False
        self._deferred = self._resume = None

    def _ready(self, _: object) -> None:
        if self._resume is not None:
            self._resume()
