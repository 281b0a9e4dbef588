"""What serves a request: an endpoint of the Klein app, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Found", "Route"]


@define(eq=False)
class Route:
    """What serves requests."""

    endpoint: str | None
    """Its name in Klein; ``None`` when no route matches, and for ``OPTIONS *``."""

    consumed: int
    """Path segments that belong to the route (Klein's prepath)."""

    body: int
    """Maximum size of a body, in bytes."""

    streams: bool
    """Whether the handler reads the body itself."""

    call: Callable[..., Any] | None = None
    """Calls the endpoint with a request and the values; ``None`` where that is."""

    variable: str | None = None
    """The only variable part of its paths, if `call` accepts it after the request."""

    error: Exception | None = None
    """Why no route matches, ``None`` otherwise."""


Found = tuple[Route, Mapping[str, Any]]
"""A route, and the values of the variable parts of a path."""
