"""Leaves out OpenSSL in processes that do not need it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asciid.net.description import Description

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["leave_out_openssl"]


def leave_out_openssl(endpoints: Iterable[str]) -> None:
    """
    Prevent imports of OpenSSL, unless one of these descriptions may need TLS.

    Twisted's reactor and endpoints import it wherever it is installed, which takes
    12 MB in each process; without it they lack TLS, and nothing else.  To have an
    effect this must be called before they are imported.
    """
    if "OpenSSL" in sys.modules:
        return
    if not any(Description.parse(endpoint).may_need_tls for endpoint in endpoints):
        # As if it were not installed: see sys.modules in Python's documentation.
        sys.modules["OpenSSL"] = None  # type: ignore[assignment]
