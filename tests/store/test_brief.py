"""Tests of asciid.store._brief."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import ImageNotFoundError, StorageFailedError, StoreBusyError
from asciid.store import _brief
from asciid.store._brief import BriefQueries
from asciid.store.queries import IsComplete, Query, Several
from asciid.testing import ManualReactor

FIRST, SECOND, THIRD = (IsComplete(digit * 64) for digit in "abc")


class BriefQueriesTests(SynchronousTestCase):
    """Short queries, coalesced into one."""

    def setUp(self) -> None:
        """Make an engine whose results the test sets."""
        self.reactor = ManualReactor()
        self.queries: list[Query[Any]] = []
        self.answers: list[Deferred[Any]] = []
        self.brief = BriefQueries(self.ask, self.reactor)

    def ask(self, query: Query[Any]) -> Deferred[Any]:
        """Record a query."""
        self.queries.append(query)
        self.answers.append(Deferred())
        return self.answers[-1]

    def test_one_turn(self) -> None:
        """Queries of one turn of the reactor are coalesced."""
        first, second = self.brief.ask(FIRST), self.brief.ask(SECOND)
        self.assertEqual(self.queries, [])
        self.reactor.advance(0)
        later = self.brief.ask(THIRD)
        self.assertEqual(self.queries, [Several([FIRST, SECOND])])
        self.answers[0].callback([True, False])
        self.assertTrue(self.successResultOf(first))
        self.assertFalse(self.successResultOf(second))
        self.reactor.advance(0)
        self.assertEqual(self.queries[1:], [Several([THIRD])])
        self.answers[1].callback([True])
        self.assertTrue(self.successResultOf(later))

    def test_each_its_own(self) -> None:
        """One that fails does so alone."""
        failing, asking = self.brief.ask(FIRST), self.brief.ask(SECOND)
        self.reactor.advance(0)
        self.answers[0].callback([ImageNotFoundError(FIRST.sha256), True])
        self.failureResultOf(failing, ImageNotFoundError)
        self.assertTrue(self.successResultOf(asking))

    def test_damage_that_one_meets(self) -> None:
        """If damage fails the shared transaction, only its own query fails."""
        asking = [self.brief.ask(query) for query in (FIRST, SECOND, THIRD)]
        self.reactor.advance(0)
        self.answers.pop().errback(StorageFailedError())
        self.assertEqual(self.queries[1:], [FIRST, SECOND, THIRD])
        self.answers[1].errback(StorageFailedError())
        self.answers[0].callback(1)
        self.answers[2].callback(2)
        self.assertEqual(self.successResultOf(asking[0]), 1)
        self.failureResultOf(asking[1], StorageFailedError)
        self.assertEqual(self.successResultOf(asking[2]), 2)

    def test_failure_of_all(self) -> None:
        """Where the storage fails, all of them do."""
        brief = BriefQueries(lambda _: fail(StorageFailedError()), self.reactor)
        asking = [brief.ask(FIRST) for _ in range(2)]
        self.reactor.advance(0)
        for failed in asking:
            self.failureResultOf(failed, StorageFailedError)

    def test_bounded(self) -> None:
        """Past a number of queries in one turn, more are refused."""
        self.patch(_brief, "MAX_WAITING", 1)
        self.brief.ask(FIRST)
        self.failureResultOf(self.brief.ask(SECOND), StoreBusyError)
