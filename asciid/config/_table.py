"""The table of all settings, in the groups of the help."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from asciid.config._setting import Setting
from asciid.config.values import (
    NONE,
    choice_of,
    count_of,
    database_of,
    duration_of,
    endpoint_of,
    file_of,
    flag_of,
    fraction,
    limit_of,
    networks_of,
    optional_endpoint_of,
    origins_of,
    public_url_of,
    rate_of,
    size_up_to,
    storage_of,
    workers_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONFIG", "GROUPS", "SETTINGS", "STORAGE"]

_LARGEST_RESERVE = 2**50
_LARGEST_QUEUE = 2**34
_LARGEST_CACHE = 2**40
_LARGEST_IMAGE = 2**40
_LARGEST_CHUNK = 2**28  # chunks are held in memory

CONFIG = Setting(
    "config",
    NONE,
    file_of,
    "TOML file with settings; the keys are the names of the options.",
)
"""The only setting that is not allowed in the configuration file."""

STORAGE = Setting(
    "storage",
    "asciid-storage",
    storage_of,
    "Storage directory, created if missing, or postgresql:// URL of a database; "
    ":memory: keeps images in memory.",
)
"""The setting that the commands on a storage have, too."""

GROUPS: Mapping[str, tuple[Setting, ...]] = {
    "Serving": (
        CONFIG,
        Setting(
            "port",
            "4444",
            endpoint_of,
            "Port number, for IPv6 and IPv4, or Twisted endpoint to listen on.",
        ),
        Setting(
            "workers",
            "1",
            workers_of,
            "Worker processes that serve HTTP, or auto for one per core; more than "
            "one are joined by a writer process, and need a storage directory.",
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
            "public-url",
            NONE,
            public_url_of,
            "URL at which clients reach the service, for links: scheme and host, such "
            "as https://art.example; none: the Host that each client sends.",
        ),
        Setting(
            "write-origins",
            NONE,
            origins_of,
            "Origins whose web pages may upload, separated by commas.",
            many=True,
        ),
        Setting(
            "write-token-file",
            NONE,
            file_of,
            "File of tokens, one per line; uploads and deletions then require one.",
        ),
        Setting(
            "trusted-proxies",
            NONE,
            networks_of,
            "Trusted reverse proxies, whose Forwarded or X-Forwarded-For is used: "
            "addresses or networks, separated by commas.",
            many=True,
        ),
        Setting(
            "drain-timeout",
            "10s",
            limit_of,
            "Time to drain requests when the daemon stops; 0: unlimited.",
        ),
    ),
    "Storage": (
        STORAGE,
        Setting(
            "storage-listen",
            NONE,
            database_of,
            "URL of the same database past a connection pooler, for LISTEN; none: "
            "that of --storage.",
        ),
        Setting(
            "no-sync",
            "no",
            flag_of,
            "Acknowledge writes before fsync: faster; a power cut loses writes.",
            flag=True,
        ),
        Setting(
            "reserve",
            "64M",
            size_up_to(_LARGEST_RESERVE, smallest=0),
            "Refuse writes while the disk has fewer free bytes; 0: no reserve.",
        ),
        Setting(
            "upload-ttl",
            "24h",
            duration_of,
            "Delete pending uploads this long after their last activity: seconds, or "
            "with m, h or d; 0: never.",
        ),
        Setting(
            "image-ttl",
            "0",
            duration_of,
            "Delete images this long after completion; 0: never.",
        ),
        Setting(
            "listing",
            "all",
            choice_of("all", "opt-in", "off"),
            "Images that are listed: all but those whose uploader says otherwise, only "
            "those whose uploader says so (opt-in), or none (off).",
        ),
    ),
    "Load": (
        Setting(
            "max-connections",
            "20000",
            count_of,
            "Maximum open connections; further ones get 503.",
        ),
        Setting(
            "max-bodies",
            "256M",
            size_up_to(_LARGEST_QUEUE),
            "Maximum bytes of request bodies in memory; further ones get 503.",
        ),
        Setting(
            "cache-size",
            "32M",
            size_up_to(_LARGEST_CACHE, smallest=0),
            "Maximum bytes of small images cached in memory, by all workers together; "
            "0: no cache.",
        ),
        Setting(
            "linger-bytes",
            "64M",
            size_up_to(_LARGEST_IMAGE, smallest=0),
            "Maximum bytes of a refused request that are read and discarded, so that "
            "its client receives the response.",
        ),
        Setting(
            "linger-time",
            "30s",
            duration_of,
            "Maximum time to read them; 0 closes the connection at once.",
        ),
        Setting(
            "max-queue",
            "64M",
            size_up_to(_LARGEST_QUEUE),
            "Maximum bytes waiting to be written; further writes get 503.",
        ),
        Setting(
            "max-uploads",
            "100000",
            count_of,
            "Maximum pending uploads; further ones get 503; 0: unlimited.",
        ),
        Setting(
            "max-client-uploads",
            "10000",
            count_of,
            "Maximum pending uploads per IPv4 address or IPv6 /64 network; further "
            "ones get 429; 0: unlimited.",
        ),
        Setting(
            "upload-rate",
            NONE,
            rate_of,
            "Maximum requests that upload or register an image, per client in a time, "
            "such as 30/min; further ones get 429.",
        ),
    ),
    "Logs and metrics": (
        Setting(
            "log-format",
            "text",
            choice_of("text", "json"),
            "Log format: text, or json, one object per line.",
        ),
        Setting(
            "log-level",
            "info",
            choice_of("debug", "info", "warn", "error", "critical"),
            "Minimum log level: debug, info, warn, error or critical.",
        ),
        Setting(
            "access-log",
            NONE,
            file_of,
            "Access log file; - is the log itself.",
        ),
        Setting(
            "access-log-sample",
            "1",
            fraction,
            "Fraction of the requests to log there, such as 0.01.",
        ),
        Setting(
            "metrics-port",
            NONE,
            optional_endpoint_of,
            "Port number or Twisted endpoint for /metrics, instead of --port.",
        ),
    ),
}
"""Heading -> settings."""

SETTINGS = tuple(chain.from_iterable(GROUPS.values()))
"""Every setting, in the order of the help."""
