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
    Collects the metrics of workers.

    A collection that is requested while another one runs shares its responses: many
    scrapes at a time cost each worker no more than one.
    """

    def __init__(self, requests: PendingRequests) -> None:
        self._requests = requests
        self._waiting: list[Deferred[None]] = []

    def collect(self, workers: Iterable[MessageProtocol]) -> Deferred[None]:
        """
        Fire once `workers` have answered, or after `COLLECTED_WITHIN` seconds.

        Workers that owe an answer are skipped.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            responsive = set(workers) - self._requests.unresponsive
            self._requests.send(
                responsive, Collect, timeout=COLLECTED_WITHIN, cut_off=False
            ).addCallback(self._collected)
        return waiting

    def _collected(self, _: object) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
