"""
Typed settings, from options, the environment and a file.

Each setting is one row of :data:`SETTINGS`.  The option ``--max-chunk-size``
has the environment variable ``ASCIID_MAX_CHUNK_SIZE`` and, in the file, the key
``max-chunk-size``; what the option says beats what the variable says, which beats
the file, which beats the default.  A variable that is set to the empty string
counts as not set, and so does one with the address of a Kubernetes Service.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.config._config_file import read_config_file
from asciid.config._setting import InForce, Setting, SettingError, Source
from asciid.config._table import CONFIG, GROUPS, SETTINGS
from asciid.config.service_links import is_service_link
from asciid.config.values import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

__all__ = [
    "GROUPS",
    "SETTINGS",
    "InForce",
    "Setting",
    "SettingError",
    "Settings",
    "Source",
    "environment_of",
    "find_in_force",
    "resolve",
    "service_links_in",
    "settings_of",
]


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
    linger_bytes: int = 64 * 1024 * 1024
    """Bytes of a refused request that are still read."""
    linger_time: int = 30
    """Seconds for which they are read."""
    max_queue: int = 64 * 1024 * 1024
    """Bytes that wait to be written."""
    max_uploads: int = 100_000
    """Uploads pending at a time; 0 is any number."""
    max_client_uploads: int = 10_000
    """Uploads that one client has pending; 0 is any number."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of proxies that are believed whom they ask for."""
    write_token_file: Path | None = None
    """File of the tokens that writes need; None lets everybody write."""
    metrics_port: str | None = None
    """Endpoint that alone has the metrics; None has them on `port`."""
    workers: int = 1
    """Processes that speak HTTP; with more than one, another one writes."""
    drain_timeout: int = 10
    """Seconds that requests under way are given when the daemon stops; never 0."""
    log_format: str = "text"
    """How the log is written: ``text`` or ``json``."""
    log_level: str = "info"
    """The least level that is logged."""
    access_log: Path | None = None
    """File that requests are logged in, ``-`` for the log, None for nowhere."""
    access_log_sample: float = 1.0
    """The share of the requests that is logged there."""

    @property
    def storage_directory(self) -> Path:
        """
        The directory of a storage that is on disk, as that of workers is.

        Errors: `ValueError` if images are kept in memory.
        """
        if self.storage is None:
            message = "images are kept in memory"
            raise ValueError(message)
        return self.storage


def find_in_force(
    given: Mapping[str, str | None], environ: Mapping[str, str]
) -> tuple[InForce, ...]:
    """
    Return what is in force for each row of `SETTINGS`, and where it is from.

    `given` has the text of each option that was used; a flag's is ``yes``.  The
    configuration file, if one is named, is read.

    Errors: `SettingError`.
    """
    named = _find(CONFIG, given, environ)
    settings = {row.option: row for row in SETTINGS if row is not CONFIG}
    try:
        in_file = read_config_file(named.value, settings) if named.value else {}
    except OSError as error:
        message = f"{named.place}: cannot read {named.text}: {error.strerror}"
        raise SettingError(message) from error
    in_force = tuple(
        _find(row, given, environ, in_file, named.text) for row in SETTINGS
    )
    _check_together({row.setting.name: row for row in in_force})
    return in_force


def service_links_in(environ: Mapping[str, str]) -> list[str]:
    """Return the variables of settings that hold the address of a Service."""
    return [
        row.variable
        for row in SETTINGS
        if is_service_link(row.variable, environ.get(row.variable, ""))
    ]


def settings_of(in_force: Iterable[InForce]) -> Settings:
    """Return the settings as the daemon takes them."""
    values = {row.setting.name: row.value for row in in_force}
    del values["config"]  # what it says is in the others
    sync = not values.pop("no_sync")
    return Settings(sync=sync, **values)


def environment_of(in_force: Iterable[InForce]) -> dict[str, str]:
    """
    Return the variables that have another process take over what is in force.

    It will not look for a configuration file: what that says is in the others.
    """
    variables = {row.setting.variable: row.text for row in in_force}
    return {**variables, CONFIG.variable: CONFIG.default}


def resolve(given: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """
    Return the settings in force.

    `given` and the errors are those of `find_in_force`.
    """
    return settings_of(find_in_force(given, environ))


def _check_together(in_force: Mapping[str, InForce]) -> None:
    workers = in_force["workers"]
    if workers.value > 1 and in_force["storage"].value is None:
        message = f"{workers.place}: one process alone can keep images in {MEMORY}"
        raise SettingError(message)


def _find(
    row: Setting,
    given: Mapping[str, str | None],
    environ: Mapping[str, str],
    in_file: Mapping[str, str] = MappingProxyType({}),
    file: str = "",
) -> InForce:
    variable = environ.get(row.variable) or None
    if variable is not None and is_service_link(row.variable, variable):
        variable = None
    texts = {
        Source.OPTION: given.get(row.option),
        Source.ENVIRONMENT: variable,
        Source.FILE: in_file.get(row.option),
    }
    return row.in_force(texts, file)
