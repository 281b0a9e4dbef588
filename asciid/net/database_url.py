"""
PostgreSQL connection URIs: checks their syntax, and hides their secrets.

The syntax is libpq's (PostgreSQL documentation, section "Connection URIs"), with
several hosts if need be:
``postgresql://user@a.example:5432,b.example/art?sslmode=verify-full``.  Errors and
printed URIs never contain a password; so no error quotes a part of the URI that may
belong to one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NOT_INSTALLED", "DatabaseURL", "DatabaseURLError"]

NOT_INSTALLED = "pip install 'asciid[postgresql]'"
"""What to do if the modules for databases cannot be imported."""

_SECRETS = frozenset(
    {
        "password",
        "sslpassword",
        "scram_client_key",
        "scram_server_key",
        "oauth_client_secret",
    }
)

_CHOICES = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "ssl": ("true",),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    # Each node writes, and a standby lacks the last commits.
    "target_session_attrs": ("primary", "read-write"),
}

_NUMBERS = frozenset(
    {
        "connect_timeout",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "tcp_user_timeout",
    }
)

_TEXTS = frozenset(
    {
        "application_name",
        "dbname",
        "fallback_application_name",
        "gssdelegation",
        "gsslib",
        "host",
        "hostaddr",
        "krbsrvname",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_issuer",
        "oauth_scope",
        "options",
        "passfile",
        "port",
        "require_auth",
        "requirepeer",
        "service",
        "servicefile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslnegotiation",
        "sslrootcert",
        "sslsni",
        "user",
    }
)

_PARAMETERS = _SECRETS | _NUMBERS | _TEXTS | _CHOICES.keys()
"""The parameters of libpq 15 to 18 that make sense here, so without replication."""

_LARGEST_PORT = 2**16 - 1

_HIDDEN = "***"

_scheme_of = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://").match
_is_near_miss = re.compile(r"(postgres|postgresql):", re.IGNORECASE).match
_bad_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_not_printed = re.compile(r"[\x00-\x20\x7f-\xa0\ud800-\udfff]").search
_split = re.compile(
    r"(?P<scheme>postgres(?:ql)?://)"
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^/?]*)"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
).fullmatch
_is_host = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%25[^\]]+)?\]|[^:\[\]]*)(?::([0-9]*))?")


class DatabaseURLError(ValueError):
    """A text is not a usable connection URI; the message has no part of a secret."""


@frozen(repr=False)
class DatabaseURL:
    """A PostgreSQL connection URI whose text is hidden as far as it is secret."""

    text: str
    """The URI as libpq takes it: not to be printed or logged."""
    _shown: str
    has_secret: bool
    """Whether it has a password, or another secret."""

    @classmethod
    def parse(cls, text: str) -> DatabaseURL | None:
        """
        Return the URI in `text`, or None if that is none, but a path.

        Errors: `DatabaseURLError`.
        """
        scheme = _scheme_of(text)
        if scheme is None:
            if _is_near_miss(text):
                message = "not a URL: it must begin with postgresql://"
                raise DatabaseURLError(message)
            return None
        if scheme[1] not in {"postgresql", "postgres"}:
            message = (
                f"unsupported storage {scheme[0]}: it must begin with postgresql:// "
                "(a directory of that name: ./…)"
            )
            raise DatabaseURLError(message)
        return _parse(text)

    def __str__(self) -> str:
        """Return the URI with each secret replaced by ``***``."""
        return self._shown

    def __repr__(self) -> str:
        """Return the same in the form of code."""
        return f"DatabaseURL({self._shown!r})"


def _check_characters(text: str) -> None:
    if _not_printed(text):
        message = (
            "invalid URL: it has a space or a control character, or is not UTF-8; "
            "percent-encode it (a space is %20)"
        )
        raise DatabaseURLError(message)
    if _bad_escape(text):
        message = (
            "invalid URL: % without two hexadecimal digits (% itself is written %25)"
        )
        raise DatabaseURLError(message)
    if "%00" in text:
        message = "invalid URL: %00 is not allowed"
        raise DatabaseURLError(message)


def _parse(text: str) -> DatabaseURL:
    _check_characters(text)
    parts = _split(text)
    rest = "" if parts is None else f"{parts['hosts']}{parts['database'] or ''}"
    if parts is None or "@" in rest:
        message = (
            "invalid URL: misplaced @; in user name and password write @ as %40, "
            ": as %3A, / as %2F"
        )
        raise DatabaseURLError(message)
    _check_hosts(parts["hosts"])
    if "/" in (parts["database"] or ""):
        message = "invalid URL: / in the database name (write %2F)"
        raise DatabaseURLError(message)
    shown = text[: parts.end("scheme")]
    password = parts["password"]
    if parts["user"] is not None:
        shown += parts["user"]
        if password is not None:
            shown += f":{_HIDDEN if password else ''}"
        shown += "@"
    shown += parts["hosts"]
    if parts["database"] is not None:
        shown += f"/{parts['database']}"
    query = parts["query"]
    secret = bool(password)
    if password == _HIDDEN:
        message = (
            f"invalid URL: the password is {_HIDDEN}, as in printed settings: set the "
            "real one"
        )
        raise DatabaseURLError(message)
    if query is not None:
        parameters = list(_check_query(query))
        shown += "?" + "&".join(
            f"{written}={_HIDDEN if name in _SECRETS and value else value}"
            for written, name, value in parameters
        )
        secret |= any(name in _SECRETS and value for _, name, value in parameters)
    return DatabaseURL(text, shown, secret)


def _check_hosts(hosts: str) -> None:
    for number, host in enumerate(hosts.split(","), 1):
        match = _is_host.fullmatch(host)
        if match is None:
            # What precedes an @ that is missing may be a password.
            message = (
                f"invalid URL: host {number} is not a name, a name with a port number, "
                "or an IPv6 address in brackets"
            )
            raise DatabaseURLError(message)
        if match[1]:
            _check_port(match[1])


def _check_port(text: str) -> None:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= _LARGEST_PORT):
        message = f"invalid URL: a port is a number from 1 to {_LARGEST_PORT}"
        raise DatabaseURLError(message)


def _check_query(query: str) -> Iterator[tuple[str, str, str]]:
    """Yield each parameter: its name as written, its name, its value as written."""
    for number, item in enumerate(query.split("&") if query else [], 1):
        written, equals, value = item.partition("=")
        name = unquote(written)
        if not equals or "=" in value:
            message = (
                f"invalid URL: parameter {number} after ? is not name=value "
                "(= in a value is written %3D, & is %26)"
            )
            raise DatabaseURLError(message)
        if name not in _PARAMETERS:
            is_name = "@" not in query and re.fullmatch("[a-z_]{1,30}", name)
            shown = f" {name!r}" if is_name else ""
            message = f"invalid URL: unknown or unsuitable parameter{shown}"
            raise DatabaseURLError(message)
        _check_value(name, unquote(value))
        yield written, name, value


def _check_value(name: str, value: str) -> None:
    choices = _CHOICES.get(name)
    if choices is not None and value not in choices:
        message = f"invalid URL: {name} is not one of {', '.join(choices)}"
        raise DatabaseURLError(message)
    if name in _NUMBERS and re.fullmatch("-?[0-9]{1,9}", value) is None:
        message = f"invalid URL: {name} is not a number"
        raise DatabaseURLError(message)
    if name == "port":
        for port in filter(None, value.split(",")):
            _check_port(port)
