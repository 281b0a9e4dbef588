"""Divides the settings' limits among the HTTP processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.net.body_limits import STREAMED, InputLimits
from asciid.runtime.descriptors import (
    ConnectionLimits,
    connection_limits,
    descriptor_limit,
)

if TYPE_CHECKING:
    from asciid.config.settings import Settings

__all__ = [
    "body_limit",
    "body_limit_warning",
    "cache_capacity",
    "possible_connections",
]


def possible_connections(settings: Settings) -> ConnectionLimits:
    """Return how many connections each process that speaks HTTP can have."""
    return connection_limits(
        -(-settings.max_connections // settings.workers),
        descriptor_limit(),
        metrics=settings.metrics_port is not None,
    )


def body_limit(settings: Settings) -> int:
    """Return the bytes that the request bodies in one process may hold."""
    inputs = InputLimits(settings.max_image_size, settings.max_chunk_size)
    # With less the largest body, or any that is streamed, would always be refused.
    return max(
        -(-settings.max_bodies // settings.workers),
        inputs.max_registration_body,
        inputs.max_chunk_body,
        STREAMED,
    )


def cache_capacity(settings: Settings) -> int:
    """Return the bytes of images that one process may cache."""
    return settings.cache_size // settings.workers


def body_limit_warning(settings: Settings) -> str | None:
    """Return a warning if bodies may hold more than `settings.max_bodies`."""
    total = body_limit(settings) * settings.workers
    if total - settings.workers < settings.max_bodies:
        return None
    return (
        f"request bodies may hold {total} bytes, not {settings.max_bodies}: each "
        "process takes at least one chunk of --max-chunk-size"
    )
