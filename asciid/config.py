"""
Typed settings, from options and the environment.

Each setting is one row of :data:`SETTINGS`.  The option ``--max-chunk-size``
has the environment variable ``ASCIID_MAX_CHUNK_SIZE``; what the option says
beats what the variable says, which beats the default.  A variable that is set
to the empty string counts as not set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from asciid._values import (
    MEMORY,
    NONE,
    count_of,
    duration_of,
    endpoint_of,
    flag_of,
    networks_of,
    optional_endpoint_of,
    origins_of,
    parse_size,
    size_up_to,
    storage_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

__all__ = [
    "MEMORY",
    "SETTINGS",
    "Setting",
    "SettingError",
    "Settings",
    "parse_size",
    "resolve",
]

_LARGEST_RESERVE = 2**50
_LARGEST_QUEUE = 2**34
_LARGEST_IMAGE = 2**40
_LARGEST_CHUNK = 2**28  # a chunk is held in memory, and LMDB ends at 4 GiB


class SettingError(ValueError):
    """A setting has a value that cannot be used; the text is one line."""


@frozen
class Settings:
    """What the daemon was told."""

    port: str
    """Twisted server endpoint description to listen on."""
    storage: Path | None
    """Directory of the storage, not yet resolved; None keeps it in memory."""
    max_image_size: int
    """Largest image accepted, in bytes."""
    max_chunk_size: int
    """Largest chunk accepted, in bytes."""
    sync: bool
    """Whether a write is answered only when it survives a power cut."""
    write_origins: frozenset[str] = frozenset()
    """Origins whose web pages may upload, as browsers spell them."""
    upload_ttl: int = 0
    """Seconds a pending upload is kept without activity; 0 is for ever."""
    image_ttl: int = 0
    """Seconds a complete image is kept; 0 is for ever."""
    reserve: int = 0
    """Bytes of the file system that are left free."""
    max_connections: int = 20_000
    """Connections open at a time."""
    max_bodies: int = 256 * 1024 * 1024
    """Bytes of request bodies that are being received."""
    max_queue: int = 64 * 1024 * 1024
    """Bytes that wait to be written."""
    max_uploads: int = 100_000
    """Uploads pending at a time; 0 is any number."""
    max_client_uploads: int = 10_000
    """Uploads that one client has pending; 0 is any number."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of proxies that are believed whom they ask for."""
    metrics_port: str | None = None
    """Endpoint that alone has the metrics; None has them on `port`."""
    drain_timeout: int = 10
    """Seconds that requests under way are given when the daemon stops."""


@frozen
class Setting:
    """One row of :data:`SETTINGS`."""

    option: str
    """The long option, without the dashes."""
    default: str
    """The default, as a user would write it; a flag's is ``no``."""
    parse: Callable[[str], Any]
    """Turn what the user wrote into the value, or raise `ValueError`."""
    help: str
    """What it is for, for ``--help``."""
    flag: bool = field(default=False, kw_only=True)
    """Whether the option takes no value."""

    @property
    def name(self) -> str:
        """The name as an identifier."""
        return self.option.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"ASCIID_{self.name.upper()}"

    def value(self, given: str | None, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - each row has its own type
        """
        Return the value in force.

        `given` is the option's text, or None where the option was not used.

        Errors: `SettingError`, which names the option or the variable.
        """
        if given is not None:
            source, text = f"--{self.option}", given
        else:
            source = self.variable
            text = environ.get(self.variable) or self.default
        try:
            return self.parse(text)
        except ValueError as error:
            message = f"{source}: {error}"
            raise SettingError(message) from error


SETTINGS = (
    Setting(
        "port",
        "tcp:4444",
        endpoint_of,
        "Port number or Twisted endpoint to listen on.",
    ),
    Setting(
        "storage",
        "asciid-storage",
        storage_of,
        "Directory to keep images in, made if missing; :memory: keeps none.",
    ),
    Setting(
        "max-image-size",
        "64M",
        size_up_to(_LARGEST_IMAGE),
        "Largest image accepted: bytes, or with K, M or G.",
    ),
    Setting(
        "max-chunk-size",
        "1M",
        size_up_to(_LARGEST_CHUNK),
        "Largest chunk accepted: bytes, or with K, M or G.",
    ),
    Setting(
        "no-sync",
        "no",
        flag_of,
        "Answer before the disk has synced: faster, and a power cut loses writes.",
        flag=True,
    ),
    Setting(
        "write-origins",
        NONE,
        origins_of,
        "Origins whose web pages may upload, with commas between them.",
    ),
    Setting(
        "upload-ttl",
        "24h",
        duration_of,
        "Remove an upload after so long without activity: seconds, or with m, h "
        "or d; 0 is never.",
    ),
    Setting(
        "image-ttl",
        "0",
        duration_of,
        "Remove an image so long after it became complete; 0 is never.",
    ),
    Setting(
        "reserve",
        "64M",
        size_up_to(_LARGEST_RESERVE, smallest=0),
        "Store nothing more while the disk has fewer bytes free; 0 fills it up.",
    ),
    Setting(
        "max-connections",
        "20000",
        count_of,
        "Connections open at a time; the next is answered 503.",
    ),
    Setting(
        "max-bodies",
        "256M",
        size_up_to(_LARGEST_QUEUE),
        "Bytes of request bodies that are being received; more is answered 503.",
    ),
    Setting(
        "max-queue",
        "64M",
        size_up_to(_LARGEST_QUEUE),
        "Bytes that wait to be written; what comes on top is answered 503.",
    ),
    Setting(
        "max-uploads",
        "100000",
        count_of,
        "Uploads pending at a time; the next is answered 503; 0 is any number.",
    ),
    Setting(
        "max-client-uploads",
        "10000",
        count_of,
        "Uploads that one client address has pending; the next is answered 429; 0 "
        "is any number.",
    ),
    Setting(
        "trusted-proxies",
        NONE,
        networks_of,
        "Proxies whose Forwarded or X-Forwarded-For is believed: addresses or "
        "networks, with commas between them.",
    ),
    Setting(
        "metrics-port",
        NONE,
        optional_endpoint_of,
        "Port number or Twisted endpoint for /metrics, which then is not on --port.",
    ),
    Setting(
        "drain-timeout",
        "10s",
        duration_of,
        "Time that requests under way are given when the daemon stops.",
    ),
)
"""Every setting, in the order of the help."""


def resolve(given: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """
    Return the settings in force.

    `given` has the text of each option that was used; a flag's is ``yes``.

    Errors: `SettingError`.
    """
    values = {
        setting.name: setting.value(given.get(setting.option), environ)
        for setting in SETTINGS
    }
    sync = not values.pop("no_sync")
    return Settings(sync=sync, **values)
