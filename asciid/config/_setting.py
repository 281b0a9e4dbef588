"""A setting, and the value that is effective among its sources."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from asciid.net.database_url import DatabaseURL, DatabaseURLError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ChosenSetting",
    "DatabaseSettingError",
    "EffectiveSetting",
    "Setting",
    "SettingError",
    "Source",
]


class SettingError(ValueError):
    """A setting has an invalid value; the text is one line."""

    exit_code = 1
    """The exit code of the daemon."""


class DatabaseSettingError(SettingError):
    """
    The address of a database is malformed, or has a password where others can see it.

    The exit code is one after which a service manager does not try again.
    """

    exit_code = 2


class Source(StrEnum):
    """The sources of a value, in order of precedence."""

    OPTION = "option"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@frozen
class Setting:
    """One row of `asciid.config.settings.SETTINGS`."""

    option: str
    """The long option, without the dashes; the key in a configuration file."""
    default: str
    """The default as option text; ``no`` for a flag."""
    parse: Callable[[str], Any]
    """Parses option text; raises `ValueError`."""
    help: str
    """The text for ``--help``."""
    flag: bool = field(default=False, kw_only=True)
    """Whether the option takes no value."""
    many: bool = field(default=False, kw_only=True)
    """Whether the value is a comma-separated list."""

    @property
    def name(self) -> str:
        """The name as an identifier."""
        return self.option.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"ASCIID_{self.name.upper()}"

    def choose(self, texts: dict[Source, str | None], file: str = "") -> ChosenSetting:
        """
        Return the first of `texts`, in the order of `Source`, or the default.

        `file` is the path of the configuration file.
        """
        source, text = next(
            (
                (source, text)
                for source in Source
                if (text := texts.get(source)) is not None
            ),
            (Source.DEFAULT, self.default),
        )
        place = {
            Source.OPTION: f"--{self.option}",
            Source.ENVIRONMENT: self.variable,
            Source.FILE: f"{file}: {self.option}",
            Source.DEFAULT: self.option,
        }[source]
        return ChosenSetting(self, text, source, place)


@frozen
class ChosenSetting:
    """The text of a setting that takes precedence, not parsed."""

    setting: Setting
    text: str = field(repr=False)
    """The value as option text; yes or no for a flag.  It may have a password."""
    source: Source
    place: str
    """The source, for messages: the option, the variable, or the file and the key."""

    def parse(self) -> EffectiveSetting:
        """
        Return the setting with its value.

        Errors: `SettingError`, which names the option, the variable, or the file
        and the key.
        """
        text, place = self.text, self.place
        try:
            value = self.setting.parse(text)
        except DatabaseURLError as error:
            message = f"{place}: {error}"
            raise DatabaseSettingError(message) from error
        except ValueError as error:
            message = f"{place}: {error}"
            raise SettingError(message) from error
        if (
            self.source is Source.OPTION
            and isinstance(value, DatabaseURL)
            and value.has_secret
        ):
            message = (
                f"{place}: password on the command line, where other users can read "
                f"it: use {self.setting.variable}, PGPASSFILE or a service file"
            )
            raise DatabaseSettingError(message)
        if "\0" in text:
            # Neither arguments nor the environment of a child process can hold one.
            message = f"{place}: NUL character in {text!r}"
            raise SettingError(message)
        return EffectiveSetting(self.setting, text, self.source, place, value)


@frozen
class EffectiveSetting(ChosenSetting):
    """The effective value of a setting."""

    value: Any

    @property
    def shown(self) -> str:
        """The value as option text, without a password."""
        return str(self.value) if isinstance(self.value, DatabaseURL) else self.text
