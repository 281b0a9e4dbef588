"""Tests of asciid.workers._deaths."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from asciid.workers._deaths import Deaths, deaths_told


class DeathsTests(SynchronousTestCase):
    """A number that one process counts and another reads."""

    def test_told(self) -> None:
        """Who has inherited the descriptor can read the number at any time."""
        deaths = Deaths()
        inherited = os.dup(deaths.descriptor)
        self.addCleanup(os.close, inherited)
        for number in range(300):
            self.assertEqual(deaths_told(inherited), number)
            deaths.add()
        deaths.close()
        self.assertEqual(deaths_told(inherited), 300)
