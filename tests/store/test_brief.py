"""Tests of asciid.store._brief."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import ImageNotFoundError, StorageFailedError, StoreBusyError
from asciid.store import _brief
from asciid.store._brief import BriefQueries
from asciid.testing import ManualReactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.store._databases import Snapshot
    from asciid.store._submit import Query


def refuse(_: object) -> None:
    """Answer that nothing is there."""
    raise ImageNotFoundError("ab" * 32)


class BriefQueriesTests(SynchronousTestCase):
    """Questions that are asked together."""

    def setUp(self) -> None:
        """Make a store that answers when the test says so."""
        self.reactor = ManualReactor()
        self.asked: list[tuple[Callable[[Any], Any], Deferred[Any]]] = []
        self.brief = BriefQueries(cast("Query", self.query), self.reactor)

    def query(self, question: Callable[[Snapshot], Any]) -> Deferred[Any]:
        """Take a question."""
        answer: Deferred[Any] = Deferred()
        self.asked.append((question, answer))
        return answer

    def answer(self) -> None:
        """Answer the oldest question."""
        question, answer = self.asked.pop(0)
        answer.callback(question(cast("Snapshot", "snapshot")))

    def test_one_turn(self) -> None:
        """What comes in one turn of the reactor is asked together."""
        first = self.brief.ask(lambda snapshot: f"1 {snapshot}")
        second = self.brief.ask(lambda snapshot: f"2 {snapshot}")
        self.assertEqual(self.asked, [])
        self.reactor.advance(0)
        later = self.brief.ask(lambda _: 3)
        self.assertEqual(len(self.asked), 1)
        self.answer()
        self.assertEqual(self.successResultOf(first), "1 snapshot")
        self.assertEqual(self.successResultOf(second), "2 snapshot")
        self.reactor.advance(0)
        self.answer()
        self.assertEqual(self.successResultOf(later), 3)

    def test_each_its_own(self) -> None:
        """One that fails does so alone."""
        failing, asking = self.brief.ask(refuse), self.brief.ask(lambda _: 2)
        self.reactor.advance(0)
        self.answer()
        self.failureResultOf(failing, ImageNotFoundError)
        self.assertEqual(self.successResultOf(asking), 2)

    def test_damage_that_one_meets(self) -> None:
        """Damage that ends the transaction of all spoils one answer alone."""
        questions = [
            self.brief.ask(partial(lambda number, _: number, number))
            for number in range(3)
        ]
        self.reactor.advance(0)
        self.asked.pop()[1].errback(StorageFailedError())
        self.assertEqual(len(self.asked), 3)
        self.asked.pop(1)[1].errback(StorageFailedError())
        self.answer()
        self.answer()
        self.assertEqual(self.successResultOf(questions[0]), 0)
        self.failureResultOf(questions[1], StorageFailedError)
        self.assertEqual(self.successResultOf(questions[2]), 2)

    def test_failure_of_all(self) -> None:
        """Where the storage fails, all of them do."""
        self.patch(self.brief, "_query", lambda _: fail(StorageFailedError()))
        asking = [self.brief.ask(lambda _: 1) for _ in range(2)]
        self.reactor.advance(0)
        for failed in asking:
            self.failureResultOf(failed, StorageFailedError)

    def test_bounded(self) -> None:
        """Past a number of questions in one turn, more are refused."""
        self.patch(_brief, "MAX_WAITING", 1)
        self.brief.ask(lambda _: 1)
        self.failureResultOf(self.brief.ask(lambda _: 2), StoreBusyError)
