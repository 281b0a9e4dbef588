"""Every setting there is, in the groups of the help."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from asciid.config._setting import Setting
from asciid.config.values import (
    NONE,
    choice_of,
    count_of,
    duration_of,
    endpoint_of,
    file_of,
    flag_of,
    limit_of,
    networks_of,
    optional_endpoint_of,
    origins_of,
    share_of,
    size_up_to,
    storage_of,
    workers_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONFIG", "GROUPS", "SETTINGS"]

_LARGEST_RESERVE = 2**50
_LARGEST_QUEUE = 2**34
_LARGEST_IMAGE = 2**40
_LARGEST_CHUNK = 2**28  # a chunk is held in memory, and LMDB ends at 4 GiB

CONFIG = Setting(
    "config",
    NONE,
    file_of,
    "TOML file with more settings, by the names of the options.",
)
"""The one setting that cannot be in the file that it names."""

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
            "Processes that speak HTTP, or auto for one on each core; with more than "
            "one, another one writes.",
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
            "write-origins",
            NONE,
            origins_of,
            "Origins whose web pages may upload, with commas between them.",
            many=True,
        ),
        Setting(
            "write-token-file",
            NONE,
            file_of,
            "File of tokens, one a line: uploading and deleting then need one of them.",
        ),
        Setting(
            "trusted-proxies",
            NONE,
            networks_of,
            "Proxies whose Forwarded or X-Forwarded-For is believed: addresses or "
            "networks, with commas between them.",
            many=True,
        ),
        Setting(
            "drain-timeout",
            "10s",
            limit_of,
            "Time that requests under way are given when the daemon stops; 0 is any "
            "time.",
        ),
    ),
    "Storage": (
        Setting(
            "storage",
            "asciid-storage",
            storage_of,
            "Directory to keep images in, made if missing; :memory: keeps none.",
        ),
        Setting(
            "no-sync",
            "no",
            flag_of,
            "Answer before the disk has synced: faster, and a power cut loses writes.",
            flag=True,
        ),
        Setting(
            "reserve",
            "64M",
            size_up_to(_LARGEST_RESERVE, smallest=0),
            "Store nothing more while the disk has fewer bytes free; 0 fills it up.",
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
    ),
    "Load": (
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
            "linger-bytes",
            "64M",
            size_up_to(_LARGEST_IMAGE, smallest=0),
            "Bytes of a refused request that are still read, so that its client gets "
            "the answer.",
        ),
        Setting(
            "linger-time",
            "30s",
            duration_of,
            "Time for which they are read; 0 closes the connection at once.",
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
            "Uploads pending of one IPv4 address or IPv6 /64 network; the next is "
            "answered 429; 0 is any number.",
        ),
    ),
    "Logs and metrics": (
        Setting(
            "log-format",
            "text",
            choice_of("text", "json"),
            "How the log is written: text, or json, an object in each line.",
        ),
        Setting(
            "log-level",
            "info",
            choice_of("debug", "info", "warn", "error", "critical"),
            "The least level that is logged: debug, info, warn, error or critical.",
        ),
        Setting(
            "access-log",
            NONE,
            file_of,
            "File to log every request in; - is the log itself.",
        ),
        Setting(
            "access-log-sample",
            "1",
            share_of,
            "The share of the requests that is logged there, such as 0.01.",
        ),
        Setting(
            "metrics-port",
            NONE,
            optional_endpoint_of,
            "Port number or Twisted endpoint for /metrics, which then is not on "
            "--port.",
        ),
    ),
}
"""Heading -> settings."""

SETTINGS = tuple(chain.from_iterable(GROUPS.values()))
"""Every setting, in the order of the help."""
