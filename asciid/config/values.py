"""Parsers of the values of settings."""

from __future__ import annotations

import os
import re
from functools import partial
from ipaddress import (
    AddressValueError,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from pathlib import Path
from typing import TYPE_CHECKING

from asciid.net.database_url import DatabaseURL, DatabaseURLError
from asciid.net.rate_limit import Rate
from asciid.net.tls import TLSFileError, load_identity, tls_files

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MEMORY",
    "NONE",
    "choice_of",
    "count_of",
    "database_of",
    "duration_of",
    "endpoint_of",
    "file_of",
    "flag_of",
    "fraction",
    "limit_of",
    "networks_of",
    "optional_endpoint_of",
    "origins_of",
    "parse_size",
    "public_url_of",
    "rate_of",
    "size_up_to",
    "storage_of",
    "workers_of",
]

MEMORY = ":memory:"
"""The storage that keeps images in memory only."""

NONE = "none"
"""An empty list, or no value."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60}
_PERIODS = {"s": 1, "min": 60, "h": 60 * 60, "d": 24 * 60 * 60}
_LONGEST_TIME = 100 * 365 * _SECONDS["d"]  # the year must stay below 10000
_LARGEST_PORT = 2**16 - 1
_LARGEST_COUNT = 10**9
_MOST_WORKERS = 256
_MAPPED = IPv6Network("::ffff:0:0/96")

# Scheme, host and port as browsers write them (RFC 6454, section 6.2).
_is_origin = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
).fullmatch

_split_url = re.compile(
    r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?"
).fullmatch
_PORTS = {"http": 80, "https": 443}
_LONGEST_NAME = 253


def endpoint_of(text: str) -> str:
    """
    Return a Twisted endpoint description, or one for a port number.

    Errors: `ValueError`.
    """
    if text.isascii() and text.isdecimal():
        if int(text) > _LARGEST_PORT:
            message = f"invalid port: {text} (maximum {_LARGEST_PORT})"
            raise ValueError(message)
        return str(int(text))
    # Imports OpenSSL, unless `leave_out_openssl` was called before.
    from twisted.internet.endpoints import serverFromString  # noqa: PLC0415

    try:
        if tls_files(text):
            load_identity(text)
        # Only parsed, so no reactor is needed.
        serverFromString(None, text)
    except TLSFileError as error:
        message = f"{text!r}: {error}"
        raise ValueError(message) from error
    except ImportError as error:
        message = f"{text!r}: TLS not available: {error}: pip install 'asciid[tls]'"
        raise ValueError(message) from error
    except Exception as error:  # plugins may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{text!r} is neither a port number nor a Twisted endpoint ({reason})"
        raise ValueError(message) from error
    return text


def optional_endpoint_of(text: str) -> str | None:
    """
    Return what `endpoint_of` does, or None for ``none``.

    Errors: `ValueError`.
    """
    return None if text == NONE else endpoint_of(text)


def storage_of(text: str) -> Path | DatabaseURL | None:
    """
    Return the path of a storage directory, a database, or None for ``:memory:``.

    Errors: `ValueError`.
    """
    return None if text == MEMORY else DatabaseURL.parse(text) or _path_of(text)


def database_of(text: str) -> DatabaseURL | None:
    """
    Return the address of a PostgreSQL database, or None for ``none``.

    Errors: `ValueError`.
    """
    if text == NONE:
        return None
    database = DatabaseURL.parse(text)
    if database is None:
        message = "not a URL: it must begin with postgresql://"
        raise DatabaseURLError(message)
    return database


def file_of(text: str) -> Path | None:
    """
    Return the path of a file, or None for ``none``.

    Errors: `ValueError`.
    """
    return None if text == NONE else _path_of(text)


def _path_of(text: str) -> Path:
    if not text or "\0" in text:
        message = f"{text!r} is not a path"
        raise ValueError(message)
    path = Path(text)
    # Path("./-") would become "-", which has a meaning of its own.
    return path.absolute() if path == Path("-") and text != "-" else path


def parse_size(text: str, largest: int, smallest: int = 1) -> int:
    """
    Return a number of bytes, such as ``65536``, ``64K`` or ``1M``.

    Errors: `ValueError`, also if it is not from `smallest` to `largest`.
    """
    match = re.fullmatch(r"([0-9]+)([KMG]?)(?:(?<=[KMG])iB)?", text, re.IGNORECASE)
    if match is None:
        message = f"{text!r} is not a number of bytes such as 65536, 64K or 1M"
        raise ValueError(message)
    # Converting very long numbers takes quadratic time.
    size = int(match[1][:20]) * _UNITS[match[2].upper()]
    if not smallest <= size <= largest:
        message = f"{text} is out of range ({smallest} to {largest} bytes)"
        raise ValueError(message)
    return size


def size_up_to(largest: int, smallest: int = 1) -> Callable[[str], int]:
    """Return `parse_size` with these bounds."""
    return partial(parse_size, largest=largest, smallest=smallest)


def origins_of(text: str) -> frozenset[str]:
    """
    Return the origins in a comma-separated list; none for ``none``.

    Errors: `ValueError`.
    """
    if text == NONE:
        return frozenset()
    origins = frozenset(origin.strip() for origin in text.split(","))
    for origin in origins:
        if _is_origin(origin) is None:
            message = f"{origin!r} is not an origin such as https://art.example"
            raise ValueError(message)
    return origins


def public_url_of(text: str) -> str | None:
    """
    Return a URL of scheme, host and perhaps a port, as browsers write it as an origin.

    So the default port and a slash at the end are left out.  None for ``none``.

    Errors: `ValueError`.
    """
    if text == NONE:
        return None
    match = _split_url(text.lower())
    ports = range(1, _LARGEST_PORT + 1)
    if match is None or not _is_host(match[2]) or int(match[3] or 1) not in ports:
        message = f"{text!r} is not a URL without a path, such as https://art.example"
        raise ValueError(message)
    scheme, host, port = match.groups()
    if port is None or int(port) == _PORTS[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}"


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return len(host) <= _LONGEST_NAME
    try:
        IPv6Address(host[1:-1])
    except AddressValueError:
        return False
    return True


def duration_of(text: str) -> int:
    """
    Return a time in seconds, such as ``90``, ``15m`` or ``7d``.

    Errors: `ValueError`.
    """
    match = re.fullmatch(r"([0-9]+)([smhd]?)", text, re.IGNORECASE)
    if match is None:
        message = f"{text!r} is not a time such as 90, 90s, 15m, 24h or 7d"
        raise ValueError(message)
    seconds = int(match[1][:20]) * _SECONDS[match[2].lower()]
    if seconds > _LONGEST_TIME:
        message = f"{text} is too long (maximum {_LONGEST_TIME} seconds)"
        raise ValueError(message)
    return seconds


def limit_of(text: str) -> int:
    """
    Return a time limit in seconds; 0 becomes the longest time.

    Errors: `ValueError`.
    """
    return duration_of(text) or _LONGEST_TIME


def rate_of(text: str) -> Rate | None:
    """
    Return a number of events per second, minute, hour or day, such as ``30/min``.

    None for ``none``.

    Errors: `ValueError`.
    """
    if text == NONE:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/(s|min|h|d)", text, re.IGNORECASE)
    if match is None or not int(match[1]):
        message = f"{text!r} is not a rate such as 1/s, 30/min, 500/h or 1000/d"
        raise ValueError(message)
    return Rate(int(match[1]), _PERIODS[match[2].lower()])


def flag_of(text: str) -> bool:
    """
    Return whether `text` means yes.

    Errors: `ValueError`.
    """
    if text.lower() in {"1", "yes", "true", "on"}:
        return True
    if text.lower() in {"0", "no", "false", "off"}:
        return False
    message = f"{text!r} is neither yes nor no"
    raise ValueError(message)


def networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """
    Return a list of networks, such as ``127.0.0.1, 10.0.0.0/8``.

    A network of IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2) is returned as
    the IPv4 network.

    Errors: `ValueError`.
    """
    if text == NONE:
        return ()
    return tuple(_network_of(network.strip()) for network in text.split(","))


def _network_of(text: str) -> IPv4Network | IPv6Network:
    network = ip_network(text)
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    address = network.network_address.packed[-4:]
    return IPv4Network((address, network.prefixlen - _MAPPED.prefixlen))


def count_of(text: str) -> int:
    """
    Return a number from 0.

    Errors: `ValueError`.
    """
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= _LARGEST_COUNT):
        message = f"{text!r} is not a number from 0 to {_LARGEST_COUNT}"
        raise ValueError(message)
    return int(text)


def workers_of(text: str) -> int:
    """
    Return a number of processes; ``auto``: one per available CPU.

    Errors: `ValueError`.
    """
    if text == "auto":
        return len(os.sched_getaffinity(0))
    count = count_of(text)
    if not 1 <= count <= _MOST_WORKERS:
        message = f"{text!r} is not a number from 1 to {_MOST_WORKERS}, nor auto"
        raise ValueError(message)
    return count


def choice_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts `choices` only, and raises `ValueError`."""

    def chosen(text: str) -> str:
        if text not in choices:
            message = f"{text!r} is not one of {', '.join(choices)}"
            raise ValueError(message)
        return text

    return chosen


def fraction(text: str) -> float:
    """
    Return a fraction, more than 0 and up to 1.

    Errors: `ValueError`.
    """
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}", text) is None or not (
        0 < float(text) <= 1
    ):
        message = f"{text!r} is not a fraction such as 1, 0.1 or 0.001"
        raise ValueError(message)
    return float(text)
