"""The configuration file: TOML, with the long options as its keys."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING

from asciid.config._setting import SettingError
from asciid.config.values import NONE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asciid.config._setting import Setting

__all__ = ["read_config_file"]


def read_config_file(path: Path, settings: Mapping[str, Setting]) -> dict[str, str]:
    """
    Return the values in the file at `path` as option text, by option.

    `settings` has the allowed keys.  The values are not parsed.

    Errors: `OSError`; `SettingError`, one line that names the file and, if known, the
    key.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    # TOML, UTF-8 and huge integers: ValueError; nested arrays: RecursionError.
    except (ValueError, RecursionError) as error:
        message = f"{path}: not TOML: {error}"
        raise SettingError(message) from error
    return {
        option: _text(path, _known(path, option, settings), value)
        for option, value in document.items()
    }


def _known(path: Path, option: str, settings: Mapping[str, Setting]) -> Setting:
    try:
        return settings[option]
    except KeyError as error:
        (nearest,) = get_close_matches(option, settings, n=1, cutoff=0)
        message = f"{path}: unknown setting {option!r}: did you mean {nearest!r}?"
        raise SettingError(message) from error


def _text(path: Path, setting: Setting, value: object) -> str:
    match value:
        case str():
            return value
        case bool() if setting.flag:
            return "yes" if value else "no"
        case int() | float() if not isinstance(value, bool):
            return str(value)
        case list() if setting.many and all(isinstance(item, str) for item in value):
            return ", ".join(value) or NONE
    kinds = ["a string", "a number"]
    if setting.flag:
        kinds = ["true", "false"]
    elif setting.many:
        kinds = ["a string", "an array of strings"]
    message = f"{path}: {setting.option}: the value must be {' or '.join(kinds)}"
    raise SettingError(message)
