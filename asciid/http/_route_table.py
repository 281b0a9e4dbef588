"""
Routes of a Klein app: which endpoint serves a method and a path.

werkzeug decides what a path means, but is slow.  Where all variables of rules are
whole segments, a path that only one rule matches needs no decision.  Results are kept
with the request line: the chunks of an image, for one, are all sent with one.
"""

from __future__ import annotations

import re
from inspect import Parameter, signature, unwrap
from itertools import combinations
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_to_bytes

from attrs import evolve
from klein._resource import route_metadata
from werkzeug.exceptions import BadHost, HTTPException, NotFound
from werkzeug.routing import UnicodeConverter

from asciid.http._klein_call import klein_call
from asciid.http._problem import RefusedError
from asciid.http._route import Route
from asciid.runtime.frames import forget_tracebacks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from klein import Klein
    from klein._app import KleinRouteHandler
    from twisted.internet.interfaces import IAddress
    from werkzeug.routing import Map, MapAdapter, Rule

    from asciid.http._limits import Limits
    from asciid.http._request_line import RequestLine
    from asciid.http._route import Found

__all__ = ["STREAMS_BODY", "IRouted", "RouteTable", "segments"]

STREAMS_BODY = "__asciid_http_streams_body__"
"""The mark of a handler that reads its body itself."""

_NOTHING: Mapping[str, Any] = {}

_VARIABLE = re.compile(r"<([A-Za-z_]\w*)>")


class IRouted(Protocol):
    """The part of a request that decides on its route."""

    method: bytes
    path: bytes

    def getRequestHostname(self) -> bytes:
        """Return the host that the client asked for."""

    def getHost(self) -> IAddress:
        """Return the local address."""

    def isSecure(self) -> bool:
        """Return whether the connection is encrypted."""


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
    """

    def __init__(self, app: Klein, limits: Limits) -> None:
        """Read the routes of `app`."""
        self._map = app.url_map
        self._max_path = limits.path
        self._endpoints = {
            name: _route(name, handler, app, limits)
            for name, handler in app.endpoints.items()
        }
        self._unmatched = Route(None, 0, limits.body, streams=False)
        rules = [rule for rule in self._map.iter_rules() if not rule.build_only]
        self._tables: dict[bytes, _Table] = {}
        # One rule that is not simple could match the paths of all others.
        if all(_is_simple(rule, self._map) for rule in rules):
            known = {method for rule in rules for method in rule.methods or ()}
            for method in known:
                own = [r for r in rules if r.methods is None or method in r.methods]
                if not any(_overlap(*pair) for pair in combinations(own, 2)):
                    self._tables[method.encode("ascii")] = _Table(own, self._endpoints)

    def methods(self) -> bytes:
        """Return the methods of all routes, as the value of Allow."""
        known = {m for rule in self._map.iter_rules() for m in rule.methods or ()}
        return ", ".join(sorted(known | {"OPTIONS"})).encode("ascii")

    def find(self, line: RequestLine, request: IRouted) -> Found:
        """
        Return the route of a request, and the values of the variable parts of its path.

        :return: with an ``error`` when none matches: a
            :class:`werkzeug.exceptions.HTTPException`, as Klein raises it (not found,
            method not allowed, a redirect), or a 400 :class:`RefusedError`, when path
            or host are malformed, or what a converter raised.
        """
        path = line.path
        table = self._tables.get(line.method)
        found = None
        if table is not None and len(path) <= self._max_path:
            found = table.match(path)
        if found is None:
            try:
                found = self._search(request)
            except Exception as error:  # noqa: BLE001  # converters raise what they like
                if isinstance(error, HTTPException | RefusedError):
                    # With its frames the request would be part of a reference cycle.
                    forget_tracebacks(error)
                return evolve(self._unmatched, error=error), _NOTHING
        if not self._map.host_matching:
            line.found = found
        return found

    def mapper(self, request: IRouted) -> MapAdapter:
        """
        Bind the URL map to a request, just as Klein does.

        :raises RefusedError: 400 when the path is not UTF-8, or the host not a valid
            name in the DNS.
        """
        host = request.getRequestHostname().decode("utf-8")
        port = getattr(request.getHost(), "port", 0)
        secure = request.isSecure()
        if port not in (0, 443 if secure else 80):
            host = f"{host}:{port}"
        try:
            path = b"/".join(segments(request.path)).decode("utf-8")
        except UnicodeDecodeError:
            raise RefusedError(400, "The path is not UTF-8.") from None
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

    def _search(self, request: IRouted) -> Found:
        # Have werkzeug decide.
        path = request.path
        if path == b"*":
            return self._unmatched, _NOTHING
        if len(path) > self._max_path or _has_odd_slash(path):
            raise NotFound
        rule, values = self.mapper(request).match(return_rule=True)
        return self._endpoints[rule.endpoint], values


class _Table:
    # The routes of one method whose paths have at most one variable segment.  A path
    # with percent-encoding is not found.

    def __init__(self, rules: list[Rule], endpoints: Mapping[str, Route]) -> None:
        self._fixed: dict[bytes, Found] = {}
        # What is before and after the variable segment, and its name.
        self._variable: list[tuple[bytes, bytes, Route, str]] = []
        for rule in rules:
            route, names = endpoints[rule.endpoint], _VARIABLE.findall(rule.rule)
            if not names:
                self._fixed[rule.rule.encode("utf-8")] = route, _NOTHING
            elif len(names) == 1:
                start, _, end = rule.rule.encode("utf-8").partition(
                    b"<%b>" % names[0].encode("utf-8")
                )
                self._variable.append((start, end, route, names[0]))

    def match(self, path: bytes) -> Found | None:
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed
        # The operator "in" costs several times as much as find().
        if path.find(b"%") >= 0:
            return None
        for start, end, route, name in self._variable:
            if path.startswith(start) and path.endswith(end):
                value = path[len(start) : len(path) - len(end)]
                if value and value.find(b"/") < 0:
                    return route, {name: value.decode("ascii")}
        return None


def _overlap(one: Rule, other: Rule) -> bool:
    # Whether one path may match both rules.  One that ends with a slash also matches
    # the path without it, which is redirected.
    parts = one.rule.removesuffix("/").split("/")
    others = other.rule.removesuffix("/").split("/")
    # A variable matches no empty segment.
    return len(parts) == len(others) and all(
        part == another or (part and another and "<" in part + another)
        for part, another in zip(parts, others, strict=True)
    )


def _is_simple(rule: Rule, url_map: Map) -> bool:
    # Whether the rule has fixed segments and strings only.
    unusual = (
        rule.defaults,
        rule.subdomain,
        rule.host,
        rule.alias,
        rule.redirect_to,
        rule.websocket,
    )
    segments = rule.rule.split("/")
    return (
        not any(unusual)
        and url_map.converters["default"] is UnicodeConverter
        and not url_map.host_matching
        and rule.rule.startswith("/")
        and "//" not in rule.rule
        and all("<" not in part or _VARIABLE.fullmatch(part) for part in segments)
    )


def _route(name: str, handler: KleinRouteHandler, app: Klein, limits: Limits) -> Route:
    marked = getattr(handler, STREAMS_BODY, False) or getattr(
        unwrap(handler), STREAMS_BODY, False
    )
    call = klein_call(handler, app._instance)  # noqa: SLF001  # Klein has no other access
    return Route(
        endpoint=name,
        consumed=route_metadata(handler).segment_count,
        body=limits.endpoint_bodies.get(name, limits.body),
        streams=bool(marked),
        call=call,
        variable=_variable(name, call, app),
    )


def _variable(endpoint: str, call: Callable[..., Any], app: Klein) -> str | None:
    # The variable that all rules of an endpoint have, if it has no other.
    rules = app.url_map.iter_rules(endpoint)
    names = {tuple(sorted(rule.arguments)) for rule in rules}
    accepted = [*signature(call, follow_wrapped=False).parameters.values()][1:2]
    for parameter in accepted:
        if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD and names == {
            (parameter.name,)
        }:
            return parameter.name
    return None
