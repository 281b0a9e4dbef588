"""
Typed settings, from options, the environment and a file.

Each setting is one row of :data:`SETTINGS`.  The option ``--max-chunk-size`` has the
environment variable ``ASCIID_MAX_CHUNK_SIZE`` and, in the file, the key
``max-chunk-size``.  The option takes precedence over the variable, the variable over
the file, the file over the default.  A variable that is empty, or has the address of a
Kubernetes Service, is ignored.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.config._setting import (
    ChosenSetting,
    DatabaseSettingError,
    EffectiveSetting,
    Setting,
    SettingError,
    Source,
)
from asciid.config._table import CONFIG, GROUPS, SETTINGS, STORAGE
from asciid.config.service_links import is_service_link
from asciid.config.values import MEMORY, NONE
from asciid.net.database_url import DatabaseURL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from asciid.net.rate_limit import Rate

__all__ = [
    "ENDPOINTS",
    "GROUPS",
    "SETTINGS",
    "STORAGE",
    "ChosenSetting",
    "DatabaseSettingError",
    "DatabaseURL",
    "EffectiveSetting",
    "Setting",
    "SettingError",
    "Settings",
    "Source",
    "choose_settings",
    "endpoints_in",
    "environment_of",
    "find_effective",
    "ineffective",
    "parse_settings",
    "resolve",
    "service_links_in",
    "settings_of",
]


ENDPOINTS = ("port", "metrics_port")
"""The names of the settings with an endpoint to listen on."""


@frozen
class Settings:
    """The settings of the daemon."""

    port: str
    """Description of the Twisted server endpoint."""
    storage: Path | DatabaseURL | None
    """
    Directory of the storage, not yet resolved, or database; None keeps it in memory.
    """
    max_image_size: int
    """Largest image accepted, in bytes."""
    max_chunk_size: int
    """Largest chunk accepted, in bytes."""
    sync: bool
    """Whether writes are synced before they are acknowledged."""
    public_url: str | None = None
    """Scheme, host and perhaps port of the service; None: the Host of each request."""
    write_origins: frozenset[str] = frozenset()
    """Origins whose web pages may upload, in the form of the Origin field."""
    storage_listen: DatabaseURL | None = None
    """Database past a connection pooler, for LISTEN; None: `storage`."""
    upload_ttl: int = 0
    """Seconds a pending upload is kept without activity; 0 is for ever."""
    image_ttl: int = 0
    """Seconds a complete image is kept; 0 is for ever."""
    listing: str = "all"
    """Images that are listed: ``all``, ``opt-in`` or ``off``."""
    reserve: int = 0
    """Bytes of the file system that stay free."""
    max_connections: int = 20_000
    """Maximum open connections."""
    max_bodies: int = 256 * 1024 * 1024
    """Maximum bytes of request bodies in memory."""
    cache_size: int = 32 * 1024 * 1024
    """Maximum bytes of small images in memory; 0: none."""
    linger_bytes: int = 64 * 1024 * 1024
    """Maximum bytes of a refused request that are read and discarded."""
    linger_time: int = 30
    """Maximum seconds for that."""
    max_queue: int = 64 * 1024 * 1024
    """Maximum bytes waiting to be written."""
    max_uploads: int = 100_000
    """Maximum pending uploads; 0: unlimited."""
    max_client_uploads: int = 10_000
    """Maximum pending uploads per client; 0: unlimited."""
    upload_rate: Rate | None = None
    """Images that a client may upload or register in a time; None: unlimited."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of trusted reverse proxies."""
    write_token_file: Path | None = None
    """File of the tokens that writes require; None: no token required."""
    metrics_port: str | None = None
    """Endpoint for the metrics; None: they are on `port`."""
    workers: int = 1
    """Number of worker processes; more than one are joined by a writer process."""
    drain_timeout: int = 10
    """Seconds to drain requests when the daemon stops; never 0."""
    log_format: str = "text"
    """Log format: ``text`` or ``json``."""
    log_level: str = "info"
    """Minimum log level."""
    access_log: Path | None = None
    """Access log file, ``-`` for the log itself, None for no access log."""
    access_log_sample: float = 1.0
    """Fraction of the requests to log there."""

    @property
    def storage_directory(self) -> Path:
        """
        The directory of a storage that is on disk, as that of workers is.

        Errors: `ValueError` if images are kept in memory or in a database.
        """
        if self.storage is None:
            message = "images are kept in memory"
            raise ValueError(message)
        if isinstance(self.storage, DatabaseURL):
            message = "images are kept in a database"
            raise ValueError(message)  # noqa: TRY004 - not a mistake of the caller's type
        return self.storage


def find_effective(
    given: Mapping[str, str | None], environ: Mapping[str, str]
) -> tuple[EffectiveSetting, ...]:
    """
    Return the effective value and the source of each setting in `SETTINGS`.

    `given` has the text of each option that was used; ``yes`` for a flag.  Reads the
    configuration file, if one is named.

    Errors: `SettingError`.
    """
    return parse_settings(choose_settings(given, environ))


def choose_settings(
    given: Mapping[str, str | None], environ: Mapping[str, str]
) -> tuple[ChosenSetting, ...]:
    """
    Return the text and the source of each setting in `SETTINGS`, not parsed.

    The parameters are those of `find_effective`.

    Errors: `SettingError`, for the configuration file.
    """
    named = _choose(CONFIG, given, environ).parse()
    settings = {row.option: row for row in SETTINGS if row is not CONFIG}
    in_file: Mapping[str, str] = {}
    if named.value is not None:
        # Most processes read none, and do without a parser of TOML.
        from asciid.config._config_file import read_config_file  # noqa: PLC0415

        try:
            in_file = read_config_file(named.value, settings)
        except OSError as error:
            message = f"{named.place}: cannot read {named.text}: {error.strerror}"
            raise SettingError(message) from error
    return tuple(_choose(row, given, environ, in_file, named.text) for row in SETTINGS)


def parse_settings(chosen: Iterable[ChosenSetting]) -> tuple[EffectiveSetting, ...]:
    """
    Return each setting with its value.

    Errors: `SettingError`.
    """
    effective = tuple(row.parse() for row in chosen)
    _check_together({row.setting.name: row for row in effective})
    return effective


def endpoints_in(chosen: Iterable[ChosenSetting]) -> list[str]:
    """Return the texts of the endpoints to listen on."""
    texts = {row.setting.name: row.text for row in chosen}
    return [text for name in ENDPOINTS if (text := texts[name]) != NONE]


def service_links_in(environ: Mapping[str, str]) -> list[str]:
    """Return the variables of settings that hold the address of a Service."""
    return [
        row.variable
        for row in SETTINGS
        if is_service_link(row.variable, environ.get(row.variable, ""))
    ]


def ineffective(effective: Iterable[EffectiveSetting]) -> list[str]:
    """Return a line for each setting that was made, but not for such a storage."""
    rows = {row.setting.name: row for row in effective}
    reasons = {"storage_listen": "the storage is not a database"}
    if isinstance(rows["storage"].value, DatabaseURL):
        reasons = {
            "no_sync": "the database syncs every commit",
            "reserve": "the room is the database's",
        }
    return [
        f"{rows[name].place} has no effect: {reason}"
        for name, reason in reasons.items()
        if rows[name].source is not Source.DEFAULT
        and rows[name].text != rows[name].setting.default
    ]


def settings_of(effective: Iterable[EffectiveSetting]) -> Settings:
    """Return the settings with their effective values."""
    values = {row.setting.name: row.value for row in effective}
    del values["config"]  # its values are in the others
    sync = not values.pop("no_sync")
    return Settings(sync=sync, **values)


def environment_of(effective: Iterable[EffectiveSetting]) -> dict[str, str]:
    """
    Return the environment that gives another process the same settings.

    ASCIID_CONFIG is ``none``: the values of the file are in the others.
    """
    variables = {row.setting.variable: row.text for row in effective}
    return {**variables, CONFIG.variable: CONFIG.default}


def resolve(given: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """
    Return the effective settings.

    `given` and the errors are those of `find_effective`.
    """
    return settings_of(find_effective(given, environ))


def _check_together(effective: Mapping[str, EffectiveSetting]) -> None:
    workers = effective["workers"]
    storage = effective["storage"].value
    if workers.value > 1 and storage is None:
        message = f"{workers.place}: {MEMORY} cannot be shared by several processes"
        raise SettingError(message)
    if workers.value > 1 and isinstance(storage, DatabaseURL):
        message = (
            f"{workers.place}: workers share a storage directory, not PostgreSQL, "
            "which needs no writer process: start one daemon per core behind a balancer"
        )
        raise SettingError(message)


def _choose(
    row: Setting,
    given: Mapping[str, str | None],
    environ: Mapping[str, str],
    in_file: Mapping[str, str] = MappingProxyType({}),
    file: str = "",
) -> ChosenSetting:
    variable = environ.get(row.variable) or None
    if variable is not None and is_service_link(row.variable, variable):
        variable = None
    texts = {
        Source.OPTION: given.get(row.option),
        Source.ENVIRONMENT: variable,
        Source.FILE: in_file.get(row.option),
    }
    return row.choose(texts, file)
