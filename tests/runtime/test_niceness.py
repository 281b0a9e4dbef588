"""Processes in the background."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime.niceness import NICENESS, lower_priority


class NicenessTests(SynchronousTestCase):
    """Processes in the background."""

    def test_lowered(self) -> None:
        """The niceness is raised."""
        raised: list[int] = []
        self.patch(os, "nice", raised.append)
        lower_priority()
        self.assertEqual(raised, [NICENESS])

    def test_forbidden(self) -> None:
        """A system that forbids it keeps the process from nothing else."""

        def forbid(_: int) -> int:
            raise PermissionError

        self.patch(os, "nice", forbid)
        lower_priority()
