"""Collects the metrics of the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from asciid.engines.remote._messages import Collect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.engines.remote._framing import MessageProtocol
    from asciid.engines.remote._pending_requests import PendingRequests

__all__ = ["COLLECTED_WITHIN", "Collecting"]

COLLECTED_WITHIN = 2.0
"""Seconds for workers to answer; Prometheus waits for 10 by default."""


class Collecting:
    """
    Has workers send their metrics.

    Whoever wants to know while they are asked waits for the same answers: many
    scrapes at a time cost each worker no more than one.
    """

    def __init__(self, questions: PendingRequests) -> None:
        self._questions = questions
        self._waiting: list[Deferred[None]] = []

    def collect(self, whom: Iterable[MessageProtocol]) -> Deferred[None]:
        """
        Ask workers; fires once they have answered, or after `COLLECTED_WITHIN` s.

        Of those that are silent nothing more is asked before they have answered.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            asked = set(whom) - self._questions.silent
            self._questions.ask(
                asked, Collect, patience=COLLECTED_WITHIN, cut_off=False
            ).addCallback(self._collected)
        return waiting

    def _collected(self, _: object) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
