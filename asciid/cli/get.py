"""``asciid get`` and ``asciid cat``: download an image to a file or print it."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

import click
from attrs import frozen

from asciid.art.encodings import Origin
from asciid.cli._bar import Bar
from asciid.cli._exit_codes import EXIT_CODES, STOPPED
from asciid.cli._reporting import report
from asciid.cli._server import TargetType, run_with_client, server_option
from asciid.cli._showing import show
from asciid.client import ClientError
from asciid.client.destination import InPlace, destination_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from twisted.internet.defer import Deferred

    from asciid.cli._dependencies import Dependencies
    from asciid.cli._server import Target
    from asciid.client import Client
    from asciid.runtime.reactor import Reactor

    Then = Callable[[Client], Coroutine[Deferred[Any], Any, None]]

__all__ = ["cat_command", "get_command"]

_GET_HELP = f"""
Download an image, given by its SHA-256 or its URL, and print the file's name.

The file appears once the image is complete and its hash has been checked. An
interrupted download is resumed. If the server does not send the size of the image,
the limit is 1 GiB.

{EXIT_CODES}
\b
Examples:
  asciid get d25f44c31340f2c8433cb76e4f60a310683cab519116e23ef68eb68d198c63d0
  asciid get -o cat.txt http://localhost:4444/image/d25f...
"""

_CAT_HELP = f"""
Print an image, given by its SHA-256 or its URL, once its hash has been checked.

Art is shown as on the pages of the server: with colours, and with blanks for cursor
movements. Other control characters, which could harm a terminal, are removed. --raw
prints every byte.

{EXIT_CODES}
\b
Examples:
  asciid cat d25f44c31340f2c8433cb76e4f60a310683cab519116e23ef68eb68d198c63d0
  asciid cat --raw http://localhost:4444/image/d25f... > cat.txt
"""

_target = click.argument("image", metavar="SHA|URL", type=TargetType())


def _checked_output(
    _: click.Context, __: click.Parameter, text: str | None
) -> str | None:
    if text == "":
        message = "the name is empty"
        raise click.BadParameter(message)
    return text


@click.command("get", help=_GET_HELP)
@_target
@server_option
@click.option(
    "-o",
    "--output",
    # Not normalised: ./- is a file, - is standard output.
    type=click.Path(),
    callback=_checked_output,
    show_default="<sha256>.txt in the current directory",
    help="Output file or directory; - is standard output. An existing file that is "
    "not regular, such as a pipe, is written to directly.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    help="Resume an earlier download to the same file.",
)
@click.pass_obj
def get_command(
    dependencies: Dependencies,
    *,
    image: Target,
    server: str,
    output: str | None,
    resume: bool,
) -> int:
    """Download an image; return the exit code."""
    request = _Request(dependencies, image, server)
    path = destination_of(output, f"{image.sha256}.txt")
    if isinstance(path, InPlace):
        with _downloaded(request) as (code, file):
            if file is not None:
                _copy(file, path)
        return code
    code = _download(request, path, resume=resume)
    if code in STOPPED:
        message = f"{STOPPED[code]}; run the same command to resume"
        click.echo(f"asciid: {message}", err=True)
    else:
        report(str(path))
    return code


@click.command("cat", help=_CAT_HELP)
@_target
@server_option
@click.option("--raw", is_flag=True, help="Print every byte unchanged.")
@click.pass_obj
def cat_command(
    dependencies: Dependencies, *, image: Target, server: str, raw: bool
) -> int:
    """Print an image; return the exit code."""
    origin = Origin()

    async def ask_origin(client: Client) -> None:
        nonlocal origin
        try:
            about = await client.about(image.sha256)
        except ClientError:
            return  # an older server, or the image is gone: it was downloaded
        origin = Origin.parse(about.fields.charset)

    then = None if raw else ask_origin
    request = _Request(dependencies, image, server)
    with _downloaded(request, then) as (code, file):
        if file is not None and raw:
            _copy(file, InPlace(None))
        elif file is not None:
            show(file, origin)
    return code


@frozen
class _Request:
    """Which image to download, and from where."""

    dependencies: Dependencies
    image: Target
    server: str
    """Used unless the image is given by its URL."""


def _download(
    request: _Request, path: Path, *, resume: bool, then: Then | None = None
) -> int:
    """Download to `path`, then call `then`; return the exit code."""
    bar = Bar(path.name, None)

    async def main(client: Client, reactor: Reactor) -> int:
        with bar.showing(reactor):
            await client.download(
                request.image.sha256, path, resume=resume, on_progress=bar.image()
            )
            if then is not None:
                await then(client)
        return 0

    server = request.image.server or request.server
    return run_with_client(request.dependencies, server, main, has_bar=True)


@contextmanager
def _downloaded(
    request: _Request, then: Then | None = None
) -> Iterator[tuple[int, IO[bytes] | None]]:
    """Download to a temporary file; yield the exit code and the file if any."""
    # A failed clean-up does not fail a successful download.
    with TemporaryDirectory(prefix="asciid-", ignore_cleanup_errors=True) as directory:
        path = Path(directory, request.image.sha256)
        code = _download(request, path, resume=False, then=then)
        if code:
            yield code, None
            return
        with path.open("rb") as file:
            yield code, file


def _copy(file: IO[bytes], to: InPlace) -> None:
    """Copy the whole file to a stream."""
    with to.opened() as stream:
        shutil.copyfileobj(file, stream)
