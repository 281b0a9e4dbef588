"""What the commands that change or delete an image share: its edit key."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asciid.cli._exit_codes import REFUSED
from asciid.cli._filter import one_line
from asciid.cli._reporting import os_error_text
from asciid.cli._saved_keys import EditKeys
from asciid.cli._server import CommandError, read_secret
from asciid.client import NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Editing", "edit_key_option"]

_NO_SUCH_IMAGE = frozenset({"image-not-found", "image-gone"})

edit_key_option = click.option(
    "--edit-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the edit key of the image; default: the one that asciid put saved.",
)


class Editing:
    """Changes of images on the server at the URL `server`."""

    def __init__(self, server: str, edit_key_file: Path | None) -> None:
        self._keys = EditKeys(server)
        self._edit_key_file = edit_key_file

    def edit_key(self, sha256: str) -> str | None:
        """
        Return the edit key of an image, None if there is none.

        Raises :exc:`OSError` and :exc:`click.ClickException` if it cannot be read.
        """
        path = self._edit_key_file or self._keys.file_of(sha256)
        return None if path is None else read_secret(path, "edit key")

    @contextmanager
    def of(self, sha256: str) -> Iterator[None]:
        """Explain a missing edit key; forget the key of an image that is gone."""
        try:
            yield
        except NotFoundError as error:
            if error.name in _NO_SUCH_IMAGE:
                self.forget(sha256)
            raise
        except RefusedError as error:
            if error.name != "edit-key-missing":
                raise
            message = (
                f"no edit key of {sha256} in {self._keys.directory}: use "
                "--edit-key-file or --token-file"
            )
            raise CommandError(one_line(message), REFUSED) from error

    def forget(self, sha256: str) -> None:
        """Remove the saved edit key of an image that no longer exists."""
        try:
            self._keys.remove(sha256)
        except OSError as error:
            message = f"asciid: cannot remove an edit key: {os_error_text(error)}"
            click.echo(one_line(message), err=True)
