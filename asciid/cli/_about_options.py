"""The options that say something about an image."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from attrs import asdict, frozen
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.client import AboutFields

__all__ = ["AboutOptions", "about_options"]


@frozen
class AboutOptions:
    """What the options say; None where they say nothing."""

    title: str | None
    description: str | None
    author: str | None
    licence: str | None
    tags: tuple[str, ...] | None
    listed: bool | None
    expires: str | None

    def apply(self, fields: AboutFields) -> AboutFields:
        """Return `fields` with what the options say in place of theirs."""
        return replace(fields, **self.said)

    @property
    def said(self) -> dict[str, Any]:
        """What the options say, by the names of the fields."""
        values = asdict(self, recurse=False)
        return {name: value for name, value in values.items() if value is not None}

    def words(self) -> list[str]:
        """Return the options as words of a command line."""
        words = []
        for name in ("title", "description", "author", "licence", "expires"):
            value = getattr(self, name)
            if value is not None:
                words.append(f"--{name}={value}")
        if self.tags is not None:
            words.append(f"--tag={','.join(self.tags)}")
        if self.listed is not None:
            words.append("--listed" if self.listed else "--unlisted")
        return words


def _checked_text(
    _: click.Context, __: click.Parameter, text: str | None
) -> str | None:
    if text is not None:
        _require_utf_8(text)
    return text


def _split_tags(
    _: click.Context, __: click.Parameter, tags: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the tags, of options that are repeated or have several."""
    for each in tags:
        _require_utf_8(each)
    if not tags:
        return None
    split = (tag.strip() for each in tags for tag in each.split(","))
    return tuple(tag for tag in split if tag)


def _require_utf_8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = "not UTF-8"
        raise click.BadParameter(message) from error


_OPTIONS = (
    click.option("--title", metavar="TEXT", callback=_checked_text, help="Title."),
    click.option(
        "--description",
        metavar="TEXT",
        callback=_checked_text,
        help="Description of what is seen, for those who cannot see it.",
    ),
    click.option("--author", metavar="TEXT", callback=_checked_text, help="Author."),
    click.option(
        "--licence",
        metavar="TEXT",
        callback=_checked_text,
        help="Licence: an SPDX expression, such as CC-BY-4.0, or a URL.",
    ),
    click.option(
        "--tag",
        "tags",
        metavar="TEXT",
        multiple=True,
        callback=_split_tags,
        help="Tag; repeat it, or separate tags by commas.",
    ),
    click.option(
        "--listed/--unlisted",
        default=None,
        help="Whether the server lists the image; default: as it does by default.",
    ),
    click.option(
        "--expires",
        metavar="WHEN",
        callback=_checked_text,
        help="When to delete the image: after a time, such as 12h or 7d, or at a date, "
        "such as 2030-01-31T12:00:00Z.",
    ),
)


def about_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options, which the command gets as the argument `about`."""

    @wraps(command)
    def with_options(  # noqa: PLR0913 - one argument an option
        *args: Any,  # noqa: ANN401 - of any command
        title: str | None,
        description: str | None,
        author: str | None,
        licence: str | None,
        tags: tuple[str, ...] | None,
        listed: bool | None,
        expires: str | None,
        **others: Any,  # noqa: ANN401 - of any command
    ) -> int:
        about = AboutOptions(title, description, author, licence, tags, listed, expires)
        return command(*args, about=about, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options
