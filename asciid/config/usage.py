"""The text of ``twistd asciid --help``: the options in groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.config.settings import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.config.settings import Setting

__all__ = ["usage_text"]


def usage_text(width: int, intro: str) -> str:
    """Return the help on all settings, at most `width` columns wide."""
    from click import HelpFormatter  # noqa: PLC0415 - not needed by the daemon

    formatter = HelpFormatter(width=width)
    formatter.write("\n")
    formatter.write_text(intro)
    for heading, rows in _sections():
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=26)
    return formatter.getvalue()


def _sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for heading, settings in GROUPS.items():
        yield heading, [_row(setting) for setting in settings]
    yield (
        "Other",
        [
            ("--help", "Print this help and exit."),
            ("--version", "Print the version and exit."),
        ],
    )


def _row(setting: Setting) -> tuple[str, str]:
    option = f"--{setting.option}" + ("" if setting.flag else "=")
    return option, f"{setting.help} [{setting.variable}; default {setting.default}]"
