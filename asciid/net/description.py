"""Reads endpoint descriptions: port numbers, or Twisted's ``kind:value:name=value``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from twisted.internet.endpoints import quoteStringArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NUMBER", "Description"]

NUMBER = "number"
"""The kind of a description that is a port number alone."""

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
"""Those of Twisted's endpoints that asciid opens itself, in their order."""

_PROXIED = "haproxy:"

_parts_of = re.compile(r"(?:\\.|[^:\\])+", re.DOTALL).findall
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
    """Whether connections begin with a header of HAProxy's PROXY protocol."""

    @classmethod
    def parse(cls, text: str) -> Description:
        """Read a description that Twisted accepts."""
        inner = text.removeprefix(_PROXIED)
        is_proxied = inner != text
        if inner.isdecimal() and not is_proxied:
            return cls(text, NUMBER, {"port": inner}, is_proxied)
        kind, *parts = _parts_of(inner) or [""]
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
    def is_plugin(self) -> bool:
        """Whether Twisted has to open it, by a plugin of its own or another one."""
        return self.kind != NUMBER and self.kind not in _PARAMETERS

    def with_values(self, kind: str, values: Mapping[str, str]) -> Description:
        """Return the endpoint of `kind` with other values, proxied if this is."""
        arguments = [f"{name}={quoteStringArgument(v)}" for name, v in values.items()]
        text = ":".join([kind, *arguments])
        return evolve(
            self,
            text=_PROXIED + text if self.is_proxied else text,
            kind=kind,
            values=values,
        )
