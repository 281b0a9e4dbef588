"""Programs that are not ours: found, or the test is skipped."""

from __future__ import annotations

import os
import shutil

from twisted.trial.unittest import SkipTest

__all__ = ["program"]


def program(name: str) -> str:
    """
    Return the path of a program, or raise `SkipTest`.

    Daemons are in directories that only root's PATH has.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        message = f"{name} is not installed"
        raise SkipTest(message)
    return found
