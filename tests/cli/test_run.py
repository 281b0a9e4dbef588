"""Tests of the reactor run behind a command."""

from __future__ import annotations

import signal

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.cli._exit_codes import INTERRUPTED, TERMINATED
from asciid.cli._run import run
from tests.client.fakes import FakeReactor


class RunTests(SynchronousTestCase):
    """How a run ends."""

    def setUp(self) -> None:
        """Make a reactor; its run() stops it at the end, as SIGINT would."""
        self.reactor = FakeReactor()

    def test_code(self) -> None:
        """The coroutine's result is the exit code, and the reactor is stopped."""

        async def main() -> int:
            return 7

        self.assertEqual(run(self.reactor, main), 7)
        self.assertEqual(self.reactor.stops, 2)

    def test_exception(self) -> None:
        """An exception of the coroutine is raised once the reactor has stopped."""

        async def main() -> int:
            raise KeyError

        self.assertRaises(KeyError, run, self.reactor, main)
        self.assertEqual(self.reactor.stops, 2)

    def test_interrupt(self) -> None:
        """A reactor stopped by someone else cancels the coroutine."""
        seen = []

        async def main() -> int:
            try:
                await Deferred()
            except CancelledError:
                seen.append("cancelled")
                raise
            return 0

        self.assertEqual(run(self.reactor, main), INTERRUPTED)
        self.assertEqual(seen, ["cancelled"])
        self.assertEqual(self.reactor.stops, 1)

    def test_signal(self) -> None:
        """SIGTERM and SIGINT have different codes, unless the coroutine ended first."""

        async def stuck() -> int:
            return await Deferred()

        async def main() -> int:
            return 7

        for number, code in (
            (signal.SIGINT, INTERRUPTED),
            (signal.SIGTERM, TERMINATED),
        ):
            self.reactor = FakeReactor()
            self.patch(self.reactor, "_exitSignal", number)
            self.assertEqual(run(self.reactor, stuck), code)
        self.reactor = FakeReactor()
        self.patch(self.reactor, "_exitSignal", signal.SIGTERM)
        self.assertEqual(run(self.reactor, main), 7)
