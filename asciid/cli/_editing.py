"""What the commands that change or delete an image share: its edit key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asciid.cli._exit_codes import REFUSED
from asciid.cli._filter import one_line
from asciid.cli._saved_keys import EditKeys
from asciid.cli._server import CommandError, read_secret
from asciid.client import NotFoundError, RefusedError
from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred

    from asciid.client import Client

    Change = Deferred[None] | Coroutine[Deferred[Any], Any, None]

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

    async def edit(
        self, client: Client, sha256: str, change: Callable[[str | None], Change]
    ) -> None:
        """
        Make a change to an image, which gets the edit key, None if there is none.

        Explains a missing edit key, and forgets that of an image that is gone.

        Raises :exc:`OSError` and :exc:`click.ClickException` if the key cannot be read,
        :exc:`CommandError` if it is missing, and the errors of `change`.
        """
        path = self._edit_key_file or self._keys.file_of(sha256)
        edit_key = None if path is None else read_secret(path, "edit key")
        try:
            await change(edit_key)
        except NotFoundError as error:
            if error.name in _NO_SUCH_IMAGE:
                self.forget(sha256)
            raise
        except RefusedError as error:
            if error.name != "edit-key-missing":
                raise
            # The server asks for the key before it looks for the image.
            await client.about(sha256)
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
            message = f"asciid: cannot remove an edit key: {reason_of(error)}"
            click.echo(one_line(message), err=True)
