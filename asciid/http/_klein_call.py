"""Resolves what Klein wraps around a handler, once instead of at each request."""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from klein import Klein

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["klein_call"]


def _wrappers() -> frozenset[object]:
    # The code of Klein's two wrappers, which are functions within its methods.
    app = Klein()
    app.route("/")(lambda _: b"")
    app.handle_errors(Exception)(lambda _, __: b"")
    [route] = app.endpoints.values()
    [(_, error_handler)] = app._error_handlers  # noqa: SLF001  # Klein has no other access
    return frozenset(map(_code, (route, error_handler)))


def _code(function: object) -> object:
    return function.__code__ if isinstance(function, FunctionType) else None


_WRAPPERS = _wrappers()


def klein_call(handler: Callable[..., Any], instance: object) -> Callable[..., Any]:
    """
    Return what calls a handler as Klein would, given all arguments but the instance.

    It differs from :meth:`klein.Klein.execute_endpoint` in one thing: where the handler
    is a coroutine function, it may return the coroutine in place of a Deferred.

    :param handler: an endpoint of a Klein app, or one of its error handlers.
    :param instance: what the app is bound to, ``None`` if it is not.
    """
    if _code(handler) not in _WRAPPERS:
        # That of a branch, for one.
        return partial(handler, instance)
    function: Callable[..., Any] = handler.__wrapped__  # type: ignore[attr-defined]
    if instance is not None:
        return MethodType(function, instance)
    if getattr(function, "__klein_bound__", False):
        return partial(function, None)
    return function
