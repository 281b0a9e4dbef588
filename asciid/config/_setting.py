"""What one setting is, and which of its sources is in force."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["InForce", "Setting", "SettingError", "Source"]


class SettingError(ValueError):
    """A setting has a value that cannot be used; the text is one line."""


class Source(StrEnum):
    """Where the value of a setting can come from; the first one there wins."""

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
    """The default, as a user would write it; a flag's is ``no``."""
    parse: Callable[[str], Any]
    """Turn what the user wrote into the value, or raise `ValueError`."""
    help: str
    """What it is for, for ``--help``."""
    flag: bool = field(default=False, kw_only=True)
    """Whether the option takes no value."""
    many: bool = field(default=False, kw_only=True)
    """Whether the value is a list, with commas between its items."""

    @property
    def name(self) -> str:
        """The name as an identifier."""
        return self.option.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"ASCIID_{self.name.upper()}"

    def in_force(self, texts: dict[Source, str | None], file: str = "") -> InForce:
        """
        Return the first of `texts`, in the order of `Source`, or the default.

        `file` is the configuration file that one of them is from.

        Errors: `SettingError`, which names the option, the variable, or the file
        and the key.
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
        try:
            value = self.parse(text)
        except ValueError as error:
            message = f"{place}: {error}"
            raise SettingError(message) from error
        if "\0" in text:
            # No argument and no variable of a child process can hold one.
            message = f"{place}: {text!r} has a NUL character"
            raise SettingError(message)
        return InForce(self, text, source, place, value)


@frozen
class InForce:
    """What is in force for one setting."""

    setting: Setting
    text: str
    """As a user would write it after the option; a flag's is yes or no."""
    source: Source
    place: str
    """Where that stands: the option, the variable, or the file and the key."""
    value: Any
