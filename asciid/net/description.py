"""Parses endpoint descriptions: ports, or Twisted's ``kind:value:name=value``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NUMBER", "Description"]

NUMBER = "number"
"""The kind of a description that is only a port number."""

_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        *("port", "privateKey", "certKey", "sslmethod", "interface", "backlog"),
        *("extraCertChain", "dhParameters"),
    ),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
"""Positional parameters of the endpoints that asciid opens itself."""

_PLAIN = frozenset({NUMBER, *_PARAMETERS}) - {"ssl"}

_PROXIED = "haproxy:"

_parts_of = re.compile(r"(?:^|:)((?:\\.|[^:\\])*)", re.DOTALL).findall
_argument_of = re.compile(r"(?:((?:\\.|[^=\\])*)=)?(.*)", re.DOTALL).fullmatch


@frozen
class Description:
    """
    An endpoint.

    `values` are its parameters by name; an endpoint of a plugin has none here.
    """

    text: str
    kind: str
    values: Mapping[str, str]
    is_proxied: bool
    """Whether connections start with a header of HAProxy's PROXY protocol."""

    @classmethod
    def parse(cls, text: str) -> Description:
        """Parse a description that Twisted accepts."""
        inner = text.removeprefix(_PROXIED)
        is_proxied = inner != text
        if inner.isdecimal() and not is_proxied:
            return cls(text, NUMBER, {"port": inner}, is_proxied)
        kind, *parts = _parts_of(inner)
        names = iter(_PARAMETERS.get(kind, ()))
        values = {}
        for part in parts:
            # It matches any text.
            name, value = _argument_of(part).groups()  # type: ignore[union-attr]
            if name is None:
                name = next(names, "")
            values[name] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        return cls(text, kind, values, is_proxied)

    @property
    def inner(self) -> str:
        """The description of the endpoint itself, without the PROXY protocol."""
        return self.text.removeprefix(_PROXIED)

    @property
    def may_need_tls(self) -> bool:
        """Whether the endpoint has TLS, or is one of a plugin that may have it."""
        return self.kind not in _PLAIN

    @property
    def is_plugin(self) -> bool:
        """Whether Twisted must open it with a plugin."""
        return self.kind != NUMBER and self.kind not in _PARAMETERS

    def with_values(self, kind: str, values: Mapping[str, str]) -> Description:
        """Return an endpoint of `kind` with `values`, proxied like this one."""
        arguments = [f"{name}={_quoted(value)}" for name, value in values.items()]
        text = ":".join([kind, *arguments])
        return evolve(
            self,
            text=_PROXIED + text if self.is_proxied else text,
            kind=kind,
            values=values,
        )


def _quoted(value: str) -> str:
    """Return `value` as `twisted.internet.endpoints.quoteStringArgument` does."""
    return re.sub(r"([\\:])", r"\\\1", value)
