"""
Typed settings, from options and the environment.

Each setting is one row of :data:`SETTINGS`.  The option ``--max-chunk-size``
has the environment variable ``ASCIID_MAX_CHUNK_SIZE``; what the option says
beats what the variable says, which beats the default.  A variable that is set
to the empty string counts as not set.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from twisted.internet.endpoints import serverFromString

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "MEMORY",
    "SETTINGS",
    "Setting",
    "SettingError",
    "Settings",
    "parse_size",
    "resolve",
]

MEMORY = ":memory:"
"""The storage that is no directory: images are kept in memory, then lost."""

NONE = "none"
"""The list of origins that is empty."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60}
_LONGEST_TIME = 100 * 365 * _SECONDS["d"]  # what the calendar can still add up
_LARGEST_RESERVE = 2**50
_LARGEST_IMAGE = 2**40
_LARGEST_CHUNK = 2**28  # a chunk is held in memory, and LMDB ends at 4 GiB
_LARGEST_PORT = 2**16 - 1


# Scheme, host and port as browsers write them (RFC 6454, section 6.2).
_is_origin = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
).fullmatch


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


def _endpoint(text: str) -> str:
    if text.isdecimal():
        if int(text) > _LARGEST_PORT:
            message = f"{text} is not a port: ports end at {_LARGEST_PORT}"
            raise ValueError(message)
        return f"tcp:{int(text)}"
    try:
        # Only parsed here, so there is nothing to do for a reactor yet.
        serverFromString(None, text)
    except Exception as error:  # endpoint plugins raise what they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{text!r} is neither a port number nor a Twisted endpoint ({reason})"
        raise ValueError(message) from error
    return text


def _storage(text: str) -> Path | None:
    return None if text == MEMORY else Path(text)


def parse_size(text: str, largest: int, smallest: int = 1) -> int:
    """
    Return how many bytes `text` means, such as ``65536``, ``64K`` or ``1M``.

    Errors: `ValueError`, also if it is not from `smallest` to `largest`.
    """
    match = re.fullmatch(r"([0-9]+)([KMG]?)(?:(?<=[KMG])iB)?", text, re.IGNORECASE)
    if match is None:
        message = f"{text!r} is not a number of bytes such as 65536, 64K or 1M"
        raise ValueError(message)
    # Digits past what any limit has are not worth converting.
    size = int(match[1][:20]) * _UNITS[match[2].upper()]
    if not smallest <= size <= largest:
        message = f"{text} is not from {smallest} to {largest} bytes"
        raise ValueError(message)
    return size


def _size(largest: int, smallest: int = 1) -> Callable[[str], int]:
    return partial(parse_size, largest=largest, smallest=smallest)


def _origins(text: str) -> frozenset[str]:
    if text == NONE:
        return frozenset()
    origins = frozenset(origin.strip() for origin in text.split(","))
    for origin in origins:
        if _is_origin(origin) is None:
            message = f"{origin!r} is not an origin such as https://art.example"
            raise ValueError(message)
    return origins


def _duration(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)([smhd]?)", text, re.IGNORECASE)
    if match is None:
        message = f"{text!r} is not a time such as 90, 90s, 15m, 24h or 7d"
        raise ValueError(message)
    seconds = int(match[1][:20]) * _SECONDS[match[2].lower()]
    if seconds > _LONGEST_TIME:
        message = f"{text} is more than {_LONGEST_TIME} seconds"
        raise ValueError(message)
    return seconds


def _flag(text: str) -> bool:
    if text.lower() in {"1", "yes", "true", "on"}:
        return True
    if text.lower() in {"0", "no", "false", "off"}:
        return False
    message = f"{text!r} is neither yes nor no"
    raise ValueError(message)


SETTINGS = (
    Setting(
        "port",
        "tcp:4444",
        _endpoint,
        "Port number or Twisted endpoint to listen on.",
    ),
    Setting(
        "storage",
        "asciid-storage",
        _storage,
        "Directory to keep images in, made if missing; :memory: keeps none.",
    ),
    Setting(
        "max-image-size",
        "64M",
        _size(_LARGEST_IMAGE),
        "Largest image accepted: bytes, or with K, M or G.",
    ),
    Setting(
        "max-chunk-size",
        "1M",
        _size(_LARGEST_CHUNK),
        "Largest chunk accepted: bytes, or with K, M or G.",
    ),
    Setting(
        "no-sync",
        "no",
        _flag,
        "Answer before the disk has synced: faster, and a power cut loses writes.",
        flag=True,
    ),
    Setting(
        "write-origins",
        NONE,
        _origins,
        "Origins whose web pages may upload, with commas between them.",
    ),
    Setting(
        "upload-ttl",
        "24h",
        _duration,
        "Remove an upload after so long without activity: seconds, or with m, h "
        "or d; 0 is never.",
    ),
    Setting(
        "image-ttl",
        "0",
        _duration,
        "Remove an image so long after it became complete; 0 is never.",
    ),
    Setting(
        "reserve",
        "64M",
        _size(_LARGEST_RESERVE, smallest=0),
        "Store nothing more while the disk has fewer bytes free; 0 fills it up.",
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
