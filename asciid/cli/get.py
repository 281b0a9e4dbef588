"""``asciid get`` and ``asciid cat``: download an image to a file or print it."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

import click

from asciid.art.encodings import Origin
from asciid.cli._bar import Bar
from asciid.cli._exit_codes import EXIT_CODES, STOPPED
from asciid.cli._reporting import report
from asciid.cli._server import TargetType, run_with_client, server_option
from asciid.cli._showing import show
from asciid.client import ClientError
from asciid.client.destination import InPlace, destination_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred

    from asciid.cli._dependencies import Dependencies
    from asciid.cli._server import Target
    from asciid.client import Client
    from asciid.runtime.reactor import Reactor

__all__ = ["cat_command", "get_command"]

_GET_HELP = f"""
Download an image, given by its SHA-256 or its URL, and print the file's name.

The first 12 digits of the SHA-256 are enough; random is an image that the server draws.

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

The first 12 digits of the SHA-256 are enough; random is an image that the server draws.
Art is shown as on the pages of the server: with colours, and with blanks for cursor
movements. Other control characters, which could harm a terminal, are removed. --raw
prints every byte.

{EXIT_CODES}
\b
Examples:
  asciid cat d25f44c31340f2c8433cb76e4f60a310683cab519116e23ef68eb68d198c63d0
  asciid cat random
  asciid cat --raw http://localhost:4444/image/d25f... > cat.txt
"""

_target = click.argument("image", metavar="SHA|URL", type=TargetType(random=True))


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
    to: Path | InPlace | None = None
    with ExitStack() as stack:

        def place(sha256: str) -> Path:
            nonlocal to
            to = destination_of(output, f"{sha256}.txt")
            return _temporary(stack) if isinstance(to, InPlace) else to

        code, path = _download(dependencies, image, server, place, resume=resume)
        if isinstance(to, Path):
            _report_file(code, to)
        elif isinstance(to, InPlace) and not code:
            with path.open("rb") as file:
                _copy(file, to)
    return code


def _report_file(code: int, path: Path) -> None:
    if code in STOPPED:
        message = f"{STOPPED[code]}; run the same command to resume"
        click.echo(f"asciid: {message}", err=True)
    else:
        report(str(path))


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
    with ExitStack() as stack:

        async def ask(client: Client, sha256: str) -> None:
            nonlocal origin
            # An older server, or the image is gone: it was downloaded.
            with suppress(ClientError):
                about = await client.about(sha256)
                origin = Origin.parse(about.fields.charset)

        code, path = _download(
            dependencies,
            image,
            server,
            lambda _: _temporary(stack),
            resume=False,
            then=None if raw else ask,
        )
        if not code:
            with path.open("rb") as file:
                if raw:
                    _copy(file, InPlace(None))
                else:
                    show(file, origin)
    return code


def _temporary(stack: ExitStack) -> Path:
    """Return a path for an image that is removed by `stack`."""
    # A failed clean-up does not fail a successful download.
    temporary = TemporaryDirectory(prefix="asciid-", ignore_cleanup_errors=True)
    return Path(stack.enter_context(temporary), "image")


def _download(  # noqa: PLR0913 - the command, and what its kinds differ in
    dependencies: Dependencies,
    image: Target,
    server: str,
    place: Callable[[str], Path],
    *,
    resume: bool,
    then: Callable[[Client, str], Coroutine[Deferred[Any], Any, None]] | None = None,
) -> tuple[int, Path]:
    """
    Download an image to the path that `place` returns for its hash, and do `then`.

    Returns the exit code and the path, which exists if the code is 0.
    """
    path = Path()

    async def main(client: Client, reactor: Reactor) -> int:
        nonlocal path
        sha256 = await image.resolve(client)
        path = place(sha256)
        bar = Bar(path.name, None)
        with bar.showing(reactor):
            await client.download(sha256, path, resume=resume, on_progress=bar.image())
        if then is not None:
            await then(client, sha256)
        return 0

    code = run_with_client(dependencies, image.server or server, main, has_bar=True)
    return code, path


def _copy(file: IO[bytes], to: InPlace) -> None:
    """Copy the whole file to a stream."""
    with to.opened() as stream:
        shutil.copyfileobj(file, stream)
