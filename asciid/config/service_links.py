"""
Recognises the variables that Kubernetes sets for the Services of a namespace.

For a Service named ``asciid`` each pod gets ``ASCIID_PORT=tcp://10.96.0.11:4444``, for
one named ``asciid-metrics`` ``ASCIID_METRICS_PORT``; links of Docker containers do the
same.  The names are those of settings, and what is set was not meant for them.
"""

from __future__ import annotations

import re

__all__ = ["is_service_link"]

_is_link_address = re.compile(
    r"(?:tcp|udp|sctp)://(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]+"
).fullmatch


def is_service_link(variable: str, text: str) -> bool:
    """Return whether `text` in an environment variable is the address of a Service."""
    return variable.endswith("_PORT") and _is_link_address(text) is not None
