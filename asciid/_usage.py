"""The text of ``twistd asciid --help``: the options in groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.config import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.config import Setting

__all__ = ["usage_text"]

_GROUPS = {
    "Serving": (
        "config",
        "port",
        "workers",
        "max-image-size",
        "max-chunk-size",
        "write-origins",
        "write-token-file",
        "trusted-proxies",
        "drain-timeout",
    ),
    "Storage": ("storage", "no-sync", "reserve", "upload-ttl", "image-ttl"),
    "Load": (
        "max-connections",
        "max-bodies",
        "max-queue",
        "max-uploads",
        "max-client-uploads",
    ),
    "Logs and metrics": (
        "log-format",
        "log-level",
        "access-log",
        "access-log-sample",
        "metrics-port",
    ),
}
"""Heading -> options.  What is in none of them comes under the last heading."""


def usage_text(width: int, intro: str) -> str:
    """Return the help on all settings, in lines of at most `width` columns."""
    from click import HelpFormatter  # noqa: PLC0415 - the daemon does without

    formatter = HelpFormatter(width=width)
    formatter.write("\n")
    formatter.write_text(intro)
    for heading, rows in _sections():
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=26)
    return formatter.getvalue()


def _sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    left = {setting.option: setting for setting in SETTINGS}
    for heading, options in _GROUPS.items():
        yield heading, [_row(left.pop(option)) for option in options]
    rest = [_row(setting) for setting in left.values()]
    own = [
        ("--help", "Print this help and exit."),
        ("--version", "Print the version and exit."),
    ]
    yield "Other", rest + own


def _row(setting: Setting) -> tuple[str, str]:
    option = f"--{setting.option}" + ("" if setting.flag else "=")
    return option, f"{setting.help} [{setting.variable}; default {setting.default}]"
