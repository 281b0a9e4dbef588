"""
A Klein app's URL map, compiled once.

werkzeug decides what every path means.  Paths that can mean only one thing are
found here without asking it: those without variable parts, and those in which
each segment is either one fixed word or one converter.  Everything else, every
redirect and every error goes to werkzeug itself.
"""

from __future__ import annotations

import re
from inspect import unwrap
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from attrs import frozen
from klein._resource import route_metadata
from werkzeug.exceptions import BadHost, NotFound
from werkzeug.routing import ValidationError

from ._problem import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from klein import Klein
    from klein._app import KleinRouteHandler
    from werkzeug.routing import BaseConverter, MapAdapter, Rule

    from ._limits import Limits
    from ._request import Request

__all__ = ["STREAMS_BODY", "Route", "RouteTable", "segments"]

STREAMS_BODY = "__asciid_http_streams_body__"
"""The mark of a handler that reads its body itself."""

_VARIABLE = re.compile(r"<(?:[A-Za-z_]\w*(?:\([^)]*\))?:)?([A-Za-z_]\w*)>")
_NOTHING: Mapping[str, Any] = {}


@frozen
class Route:
    """
    One endpoint of the app.

    :ivar endpoint: its name in Klein; ``None`` when no route fits, and for the
        server itself (``OPTIONS *``).
    :ivar consumed: path segments that belong to the route (Klein's prepath).
    :ivar body: bytes of body at most.
    :ivar streams: whether the handler reads the body itself.
    """

    endpoint: str | None
    consumed: int
    body: int
    streams: bool


_SHORT = 256
"""Bytes of paths that are remembered, at the most."""

_MOST = 1024
"""Paths that are remembered, at the most."""


class _Node:
    # Where one walks to by the segments of a path.

    __slots__ = ("converter", "fixed", "pattern", "rules", "unclear", "variable")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.pattern: re.Pattern[str] | None = None
        self.rules: dict[str | None, Rule] = {}
        # More than one rule may fit from here on: werkzeug must choose.
        self.unclear = False


def segments(path: bytes) -> list[bytes]:
    """Return the decoded segments of a path, as ``request.postpath`` has them."""
    return [unquote_to_bytes(part) for part in path[1:].split(b"/")]


def _has_odd_slash(path: bytes) -> bool:
    # Klein takes a doubled or an encoded slash for one slash.  They are none (RFC 3986,
    # sections 2.2 and 3.3), and a proxy that hides a path would have to know that.
    return b"//" in path or (b"%" in path and b"%2f" in path.lower())


class RouteTable:
    """
    Finds the route of a request.

    A path has one spelling but for what RFC 3986, section 6.2.2.2 makes equivalent:
    unreserved characters, encoded or not.

    :ivar nowhere: the route of requests that have none.
    """

    def __init__(self, app: Klein, limits: Limits) -> None:
        self._map = app.url_map
        self._routes = {
            name: _route(name, handler, limits)
            for name, handler in app.endpoints.items()
        }
        self._longest = limits.path
        self.nowhere = Route(None, 0, limits.body, streams=False)
        self._fixed: dict[tuple[bytes, bytes], Route] = {
            (b"OPTIONS", b"*"): self.nowhere
        }
        # Those that were walked to lately: chunks come to one path.
        self._recent: dict[tuple[bytes, bytes], tuple[Route, Mapping[str, Any]]] = {}
        self._root = _Node()
        rules = [rule for rule in self._map.iter_rules() if not rule.build_only]
        # One rule that is out of the ordinary could fit the paths of all others.
        self._walkable = not self._map.host_matching and all(map(_is_plain, rules))
        if self._walkable:
            for rule in rules:
                self._add(rule)

    def methods(self) -> bytes:
        """Return the methods of all routes, as the value of Allow."""
        known = {m for rule in self._map.iter_rules() for m in rule.methods or ()}
        return ", ".join(sorted(known | {"OPTIONS"})).encode("ascii")

    def find(self, request: Request) -> tuple[Route, Mapping[str, Any]]:
        """
        Return the route, and the values of its variable parts.

        :raises werkzeug.exceptions.HTTPException: as Klein raises it: not found,
            method not allowed, or a redirect.
        :raises RefusedError: 400 when the path is not UTF-8.
        """
        route = self._fixed.get((request.method, request.path))
        if route is not None:
            return route, _NOTHING
        recent = self._recent.get((request.method, request.path))
        if recent is not None:
            return recent
        if len(request.path) > self._longest or _has_odd_slash(request.path):
            raise NotFound
        try:
            path = unquote_to_bytes(request.path).decode("utf-8")
        except UnicodeDecodeError:
            raise RefusedError(400, "The path is not UTF-8.") from None
        found = None
        if self._walkable:
            found = self._walk(path, request.method.decode("ascii"))
        if found is None:
            rule, values = self.mapper(request).match(return_rule=True)
        else:
            rule, values = found
        route = self._routes[rule.endpoint]
        if not values and rule.rule.encode("utf-8") == request.path:
            self._fixed[request.method, request.path] = route
        elif found is not None and len(request.path) <= _SHORT:
            if len(self._recent) == _MOST:
                self._recent.clear()
            self._recent[request.method, request.path] = route, values
        return route, values

    def mapper(self, request: Request) -> MapAdapter:
        """Bind the URL map to a request, just as Klein does."""
        host = request.getRequestHostname().decode("utf-8")
        port = getattr(request.getHost(), "port", 0)
        secure = request.isSecure()
        if port not in (0, 443 if secure else 80):
            host = f"{host}:{port}"
        path = b"/".join(segments(request.path)).decode("utf-8")
        if not path.startswith("/"):
            path = f"/{path}"
        try:
            return self._map.bind(
                host,
                "",
                path_info=path,
                default_method=request.method.decode("ascii"),
                url_scheme="https" if secure else "http",
            )
        except BadHost:
            # No name in the DNS has such a label (RFC 1035, section 2.3.4).
            raise RefusedError(400, "The Host field is malformed.") from None

    def _add(self, rule: Rule) -> None:
        node = self._root
        converters = _converters(rule)
        for part in rule.rule.split("/")[1:]:
            variable = _VARIABLE.fullmatch(part)
            if variable is None:
                node = node.fixed.setdefault(part, _Node())
                continue
            pattern = re.compile(converters[variable[1]].regex)
            if node.variable is None:
                node.variable = _Node()
                node.pattern = pattern
            elif node.pattern != pattern:
                node.unclear = True
            node = node.variable
        for method in rule.methods or (None,):
            clash = node.rules if method is None else {method, None} & set(node.rules)
            node.unclear = node.unclear or bool(clash)
            node.rules[method] = rule

    def _walk(self, path: str, method: str) -> tuple[Rule, Mapping[str, Any]] | None:
        node = self._root
        texts = []
        for part in path.split("/")[1:]:
            if node.unclear:
                return None
            step = node.fixed.get(part)
            if step is None:
                if node.pattern is None or node.pattern.fullmatch(part) is None:
                    return None
                texts.append(part)
                step = node.variable
            elif node.pattern is not None:
                return None
            node = step  # type: ignore[assignment]  # a pattern has its node
        rule = None if node.unclear else node.rules.get(method, node.rules.get(None))
        if rule is None:
            return None
        values = {}
        for (name, converter), text in zip(
            _converters(rule).items(), texts, strict=True
        ):
            try:
                values[name] = converter.to_python(text)
            except ValidationError:
                return None
        return rule, values


def _route(name: str, handler: KleinRouteHandler, limits: Limits) -> Route:
    marked = getattr(handler, STREAMS_BODY, False) or getattr(
        unwrap(handler), STREAMS_BODY, False
    )
    return Route(
        endpoint=name,
        consumed=route_metadata(handler).segment_count,
        body=limits.endpoint_bodies.get(name, limits.body),
        streams=bool(marked),
    )


def _converters(rule: Rule) -> dict[str, BaseConverter]:
    return rule._converters  # noqa: SLF001  # werkzeug shows them in no other way


def _is_plain(rule: Rule) -> bool:
    unusual = (
        rule.defaults,
        rule.subdomain,
        rule.host,
        rule.alias,
        rule.redirect_to,
        rule.websocket,
    )
    return (
        not any(unusual)
        and rule.rule.startswith("/")
        and all(
            "<" not in part or _VARIABLE.fullmatch(part)
            for part in rule.rule.split("/")
        )
        and all(c.part_isolating for c in _converters(rule).values())
    )
