"""``asciid put``: uploads files and prints their URLs."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from asciid.cli._bar import Bar
from asciid.cli._exit_codes import EXIT_CODES, STOPPED
from asciid.cli._filter import one_line, shell_word
from asciid.cli._server import (
    exit_code,
    is_stream,
    read_token,
    run_with_client,
    server_option,
    token_option,
)
from asciid.client import CHUNK_SIZE, CONCURRENCY, CONNECTIONS, ClientError
from asciid.client.destination import descriptor_of
from asciid.client.parallel import in_parallel
from asciid.client.source import SMALL
from asciid.config.values import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twisted.internet.defer import Deferred

    from asciid.cli._dependencies import Dependencies
    from asciid.client import Client, Uploaded
    from asciid.runtime.reactor import Reactor

__all__ = ["put_command"]

_HELP = f"""
Upload files, and print the URL of each.

FILE may be - for standard input. Small files are sent in one request, large ones in
chunks; an interrupted upload is resumed with the missing chunks. A file that the
server already has is not sent again. A terminal gets a progress bar.

{EXIT_CODES}
\b
Examples:
  asciid put cat.txt
  figlet hello | asciid put -
  asciid put --server https://art.example --token-file ~/.asciid *.txt
  asciid put --json huge.txt
"""

_LARGEST_CHUNK = 2**30


def _chunk_size(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text, _LARGEST_CHUNK, smallest=1)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("put", help=_HELP)
@click.argument(
    "files",
    metavar="FILE...",
    # A Path gives shell completion; a missing file must not stop the others.
    type=click.Path(),
    nargs=-1,
    required=True,
)
@server_option
@token_option
@click.option(
    "--chunked/--whole",
    default=None,
    help="Send in chunks, or in one request; default: by size.",
)
@click.option(
    "--chunk-size",
    callback=_chunk_size,
    metavar="BYTES",
    help="Chunk size in bytes, or with K or M.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, CONNECTIONS),
    default=CONNECTIONS,
    help="Files uploaded in parallel; with few files, more chunks of each are sent at "
    "once.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per file and line."
)
@click.pass_obj
def put_command(  # noqa: PLR0913 - one argument an option
    dependencies: Dependencies,
    *,
    files: tuple[str, ...],
    server: str,
    token_file: Path | None,
    chunked: bool | None,
    chunk_size: int | None,
    parallel: int,
    as_json: bool,
) -> int:
    """Upload files; return the exit code."""
    if chunked is False and chunk_size is not None:
        message = "--whole and --chunk-size are mutually exclusive"
        raise click.UsageError(message)
    if files.count("-") > 1:
        message = "standard input can be uploaded only once"
        raise click.UsageError(message)
    if chunked and chunk_size is None:
        chunk_size = CHUNK_SIZE
    token = read_token(token_file)
    with ExitStack() as stack:
        sources = [_source(name, stack) for name in files]
        puts = _Puts(
            files, sources, chunk_size, whole=chunked is False, as_json=as_json
        )

        async def main(client: Client, reactor: Reactor) -> int:
            with puts.bar.showing(reactor):
                await puts.run(client, parallel)
            return puts.code

        code = run_with_client(dependencies, server, main, token=token, has_bar=True)
    if code in STOPPED:
        command = ["asciid", "put", "--server", server]
        if token_file is not None:
            command += ["--token-file", str(token_file)]
        if chunk_size is not None:
            command += ["--chunk-size", str(chunk_size)]
        message = "to send only the missing chunks:"
        if chunked is False:
            command.append("--whole")
            message = "to start again:"
        if as_json:
            command.append("--json")
        again = " ".join(map(shell_word, [*command, "--", *files]))
        click.echo(f"asciid: {STOPPED[code]}; {message}\n  {again}", err=True)
    return code


def _source(name: str, stack: ExitStack) -> Path:
    """Return what to upload; a stream is copied first, where Ctrl-C still works."""
    path = Path(name)
    if name != "-" and not is_stream(path):
        return path
    if sys.stdin is None and (name == "-" or descriptor_of(path) == 0):
        message = "standard input is closed"
        raise click.UsageError(message)
    # A failed clean-up does not fail a successful upload.
    temporary = TemporaryDirectory(prefix="asciid-", ignore_cleanup_errors=True)
    copy = Path(stack.enter_context(temporary), "image")
    with (
        sys.stdin.buffer if name == "-" else path.open("rb") as pipe,
        copy.open("xb") as file,
    ):
        shutil.copyfileobj(pipe, file)
    return copy


def _size(sources: Sequence[Path]) -> int | None:
    try:
        return sum(path.stat().st_size for path in sources)
    except OSError:
        return None  # the upload reports the error


class _Puts:
    """Uploads files in parallel, and prints the results in order."""

    def __init__(
        self,
        names: Sequence[str],
        sources: Sequence[Path],
        chunk_size: int | None,
        *,
        whole: bool,
        as_json: bool,
    ) -> None:
        self._files = list(zip(names, sources, strict=True))
        self._chunk_size = chunk_size
        self._whole = whole
        self._as_json = as_json
        self._done: dict[int, str] = {}
        self._printed = 0
        self._concurrency = CONCURRENCY
        self.code = 0
        """The first exit code that is not 0, or 0."""
        title = names[0] if len(names) == 1 else f"{len(names)} files"
        self.bar = Bar(title, _size(sources))

    async def run(self, client: Client, parallel: int) -> None:
        work = iter(range(len(self._files)))
        workers = min(parallel, len(self._files))
        self._concurrency = max(1, min(CONCURRENCY, CONNECTIONS // workers))
        await in_parallel([self._work(client, work) for _ in range(workers)])

    async def _work(self, client: Client, work: Iterator[int]) -> None:
        for place in work:
            name, source = self._files[place]
            try:
                uploaded = await self._begin(client, source)
            except (ClientError, OSError) as error:
                self.code = self.code or exit_code(error)
                failure = one_line(f"asciid: {name}: {error}")
                self.bar.echo(f"{failure}\n", err=True)
                self._print(place, "")
            else:
                self._print(place, self._line(name, uploaded))

    def _begin(self, client: Client, source: Path) -> Deferred[Uploaded]:
        follow = self.bar.image()
        what: Path | bytes = source
        if source.stat().st_size <= SMALL:
            # Blocking is harmless in this process, and threads would halve the rate.
            what = source.read_bytes()
        if self._whole:
            return client.put(what, on_progress=follow)
        return client.upload(
            what, self._chunk_size, self._concurrency, on_progress=follow
        )

    def _line(self, name: str, uploaded: Uploaded) -> str:
        if not self._as_json:
            return f"{uploaded.url}\n"
        report = {
            "file": name,
            "url": uploaded.url,
            "sha256": uploaded.sha256,
            "size": uploaded.size,
            "new": uploaded.new,
        }
        return f"{json.dumps(report)}\n"

    def _print(self, place: int, line: str) -> None:
        self._done[place] = line
        while self._printed in self._done:
            self.bar.echo(self._done.pop(self._printed))
            self._printed += 1
