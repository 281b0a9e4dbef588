"""Four workers keep every promise that a store makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.store.test_contract import CAT, PendingContract, StoreContract
from tests.workers._support import DrivenWorkers, InTurn

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.store import IImageStore, Lifetimes

ResultT = TypeVar("ResultT")

WORKERS = 4


class WorkersTests(StoreContract, SynchronousTestCase):
    """Each call is another worker's."""

    def setUp(self) -> None:
        """Make four workers."""
        self.driven = DrivenWorkers(self.mktemp(), WORKERS, observers=[self.seen])
        self._begin()
        self.addCleanup(self.stop)

    def keep(self, lifetimes: Lifetimes) -> None:
        """Make others on the same directory."""
        self.driven.stop()
        path = str(self.driven.writer.path)
        self.driven = DrivenWorkers(path, WORKERS, lifetimes=lifetimes)
        self._begin()

    def stop(self) -> None:
        """Stop whatever workers the test left."""
        self.driven.stop()

    def _begin(self) -> None:
        self.driven.start()
        self.store = cast("IImageStore", InTurn(self.driven))

    @property
    def now(self) -> float:
        """The time of the stores' clock."""
        return self.driven.writer.now

    @now.setter
    def now(self, now: float) -> None:
        self.driven.writer.now = now

    @property
    def elapsed(self) -> float:
        """The elapsed time."""
        return self.driven.writer.elapsed

    @elapsed.setter
    def elapsed(self, elapsed: float) -> None:
        self.driven.writer.elapsed = elapsed

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn the reactor and the threads."""
        return self.driven.run(awaited)

    def test_cached(self) -> None:
        """Each worker has in memory what it opened, until any removes the image."""
        spec = self.upload(CAT)
        for store in self.driven.stores:
            opened = self.run_(store.open(spec.sha256))
            self.assertEqual((opened.spec, opened.content), (spec, CAT))
            self.assertIs(store.cached(spec.sha256), opened)
        self.run_(self.store.delete(spec.sha256))
        for store in self.driven.stores:
            self.assertIsNone(store.cached(spec.sha256))


class WorkersPendingTests(PendingContract, SynchronousTestCase):
    """The bounds hold for all workers together."""

    def setUp(self) -> None:
        """Make four workers."""
        self.driven = DrivenWorkers(self.mktemp(), WORKERS, pending=self.limits)
        self.driven.start()
        self.store = cast("IImageStore", InTurn(self.driven))
        self.addCleanup(self.driven.stop)

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn the reactor and the threads."""
        return self.driven.run(awaited)
