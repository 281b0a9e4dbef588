"""Calls of the app's code, which may raise any exception."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attempt"]

_ResultT = TypeVar("_ResultT")


def attempt(
    call: Callable[..., _ResultT], *args: object, **kwargs: object
) -> _ResultT | Failure:
    """Return the result of a call, or the failure if it raises an exception."""
    try:
        return call(*args, **kwargs)
    except Exception:  # noqa: BLE001  # it is returned
        return Failure()
