"""
Recognises the variables that Kubernetes sets for the Services of a namespace.

A Service named ``asciid`` sets ``ASCIID_PORT=tcp://10.96.0.11:4444`` in each pod, one
named ``asciid-metrics`` ``ASCIID_METRICS_PORT``; so do links of Docker containers.
These collide with settings by accident.
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
