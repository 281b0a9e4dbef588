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
from attrs import frozen
from twisted.internet.defer import succeed

from asciid.art.encodings import (
    AUTO,
    UndecodableError,
)
from asciid.cli._about_options import about_options
from asciid.cli._bar import Bar
from asciid.cli._conversion import charset_option, read_art, require_text
from asciid.cli._exit_codes import EXIT_CODES, STOPPED
from asciid.cli._filter import one_line, shell_word
from asciid.cli._saved_keys import EditKeys
from asciid.cli._server import (
    exit_code,
    is_stream,
    read_token,
    run_with_client,
    server_option,
    token_option,
)
from asciid.client import (
    CHUNK_SIZE,
    CONCURRENCY,
    CONNECTIONS,
    ClientError,
    NotTextError,
)
from asciid.client.destination import descriptor_of
from asciid.client.parallel import in_parallel
from asciid.client.source import SMALL
from asciid.config.values import parse_size
from asciid.runtime.text import reason_of
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twisted.internet.defer import Deferred

    from asciid.cli._about_options import AboutOptions
    from asciid.cli._conversion import Art
    from asciid.cli._dependencies import Dependencies
    from asciid.client import Client, Uploaded
    from asciid.runtime.reactor import Reactor

__all__ = ["put_command"]

_HELP = f"""
Upload files, and print the link of each: the short URL of its page.

FILE may be - for standard input. Small files are sent in one request, large ones in
chunks; an interrupted upload is resumed with the missing chunks. A file that the
server already has is not sent again. A terminal gets a progress bar.

Images are UTF-8. A file in another charset is converted, without its SAUCE record, and
no longer has the SHA-256 of the file. --charset is the charset, such as cp437 or
windows-1252; with utf-8, every byte is kept. By default it is detected: UTF-8 if the
file is valid UTF-8, else CP437 if a SAUCE record, the extension .ans, .asc, .nfo, .diz
or .ice, or line and block characters show that. Files of more than 4 MiB must be UTF-8.

What the options say about the images is stored if they are new to the server. The
title is by default that in the SAUCE record, or the name of the file. The edit key of a
new image, which asciid about and asciid rm use, is saved in $XDG_STATE_HOME/asciid, by
default ~/.local/state/asciid.

A file without text is refused: it is what a pipe sends whose command has failed.

{EXIT_CODES}
\b
Examples:
  asciid put cat.txt
  figlet hello | asciid put -
  asciid put --server https://art.example --token-file ~/.asciid *.txt
  asciid put --json huge.txt
  asciid put --charset cp850 fische.txt
  asciid put --title Fish --licence CC0-1.0 --tag fish --expires 7d fish.txt
"""

_LARGEST_CHUNK = 2**30
_KEY_LOST = (
    "a response was lost, and the edit key with it if the image is new; only with a "
    "token can it be changed or deleted"
)


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
@charset_option
@about_options
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
    charset: str,
    chunked: bool | None,
    chunk_size: int | None,
    parallel: int,
    as_json: bool,
    about: AboutOptions,
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
    options = _Options(
        charset, chunk_size, about, whole=chunked is False, as_json=as_json
    )
    token = read_token(token_file)
    with ExitStack() as stack:
        sources = [_source(name, stack) for name in files]
        puts = _Puts(files, sources, options, EditKeys(server))

        async def main(client: Client, reactor: Reactor) -> int:
            with puts.bar.showing(reactor):
                await puts.run(client, reactor, parallel)
            return puts.code

        code = run_with_client(dependencies, server, main, token=token, has_bar=True)
    if code in STOPPED:
        command = ["asciid", "put", "--server", server]
        if token_file is not None:
            command += ["--token-file", str(token_file)]
        command += options.words()
        message = "to send only the missing chunks:"
        if options.whole:
            message = "to start again:"
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


@frozen
class _Options:
    """The options of an upload."""

    charset: str
    chunk_size: int | None
    about: AboutOptions
    whole: bool
    as_json: bool

    def words(self) -> list[str]:
        """Return them as words of a command line."""
        words = []
        if self.charset != AUTO:
            words += ["--charset", self.charset]
        if self.chunk_size is not None:
            words += ["--chunk-size", str(self.chunk_size)]
        words += self.about.words()
        if self.whole:
            words.append("--whole")
        if self.as_json:
            words.append("--json")
        return words


def _explained(error: Exception, source: Path) -> str:
    """Return what is wrong, and what to type instead, if anything."""
    if isinstance(error, UndecodableError) and error.charsets:
        options = " or ".join(f"--charset {each}" for each in error.charsets)
        return f"{error.reason} at offset {error.offset}; try {options}"
    if isinstance(error, NotTextError):
        return f"{error}; convert it first: iconv -f CP437 -t UTF-8"
    return reason_of(error, named=str(source))


def _unchanged(link: str) -> str:
    command = "asciid about with the same options changes that"
    before = "was uploaded or registered before"
    return f"{link} {before}, and what is said about it stays; {command}"


class _Puts:
    """Uploads files in parallel, and prints the results in order."""

    def __init__(
        self,
        names: Sequence[str],
        sources: Sequence[Path],
        options: _Options,
        keys: EditKeys,
    ) -> None:
        self._files = list(zip(names, sources, strict=True))
        self._options = options
        self._keys = keys
        self._done: dict[int, str] = {}
        self._printed = 0
        self._concurrency = CONCURRENCY
        self.code = 0
        """The first exit code that is not 0, or 0."""
        title = names[0] if len(names) == 1 else f"{len(names)} files"
        self.bar = Bar(title, _size(sources))

    async def run(self, client: Client, reactor: Reactor, parallel: int) -> None:
        work = iter(range(len(self._files)))
        workers = min(parallel, len(self._files))
        self._concurrency = max(1, min(CONCURRENCY, CONNECTIONS // workers))
        await in_parallel([self._work(client, reactor, work) for _ in range(workers)])

    async def _work(
        self, client: Client, reactor: Reactor, work: Iterator[int]
    ) -> None:
        for place in work:
            name, source = self._files[place]
            try:
                art = await self._read(reactor, name, source)
                require_text(art)
                uploaded = await self._send(client, reactor, name, art)
            except (ClientError, OSError, UndecodableError) as error:
                self.code = self.code or exit_code(error)
                self._warn(name, _explained(error, source))
                self._print(place, "")
            else:
                if self._options.about.said and not self._is_described(uploaded):
                    self._warn(name, _unchanged(uploaded.link))
                if uploaded.edit_key_lost and not self._keys.has(uploaded.sha256):
                    self._warn(name, _KEY_LOST)
                self._print(place, self._line(name, art, uploaded))

    def _is_described(self, uploaded: Uploaded) -> bool:
        # An upload that was resumed has said it before.
        resumed = uploaded.new and self._keys.has(uploaded.sha256)
        return uploaded.described or resumed

    def _read(self, reactor: Reactor, name: str, source: Path) -> Deferred[Art]:
        charset = self._options.charset
        if source.stat().st_size <= SMALL:
            # Blocking is harmless in this process, and threads would halve the rate.
            return succeed(read_art(source, charset, name))
        threads = reactor.getThreadPool()
        return call_in_pool(reactor, threads, read_art, source, charset, name)

    def _send(
        self, client: Client, reactor: Reactor, name: str, art: Art
    ) -> Deferred[Uploaded]:
        self.bar.resize(art.growth)
        follow = self.bar.image()
        about = self._options.about.apply(art.about)

        async def save(sha256: str, edit_key: str) -> None:
            threads = reactor.getThreadPool()
            warning = await call_in_pool(
                reactor, threads, self._keys.save_somewhere, sha256, edit_key
            )
            if warning:
                self._warn(name, warning)

        if self._options.whole:
            return client.put(
                art.content, on_progress=follow, about=about, on_edit_key=save
            )
        return client.upload(
            art.content,
            self._options.chunk_size,
            self._concurrency,
            on_progress=follow,
            about=about,
            on_edit_key=save,
        )

    def _warn(self, name: str, message: str) -> None:
        self.bar.echo(f"{one_line(f'asciid: {name}: {message}')}\n", err=True)

    def _line(self, name: str, art: Art, uploaded: Uploaded) -> str:
        if not self._options.as_json:
            return f"{uploaded.link}\n"
        report = {
            "file": name,
            "url": uploaded.url,
            "link": uploaded.link,
            "sha256": uploaded.sha256,
            "size": uploaded.size,
            "new": uploaded.new,
            "charset": art.charset,
        }
        return f"{json.dumps(report)}\n"

    def _print(self, place: int, line: str) -> None:
        self._done[place] = line
        while self._printed in self._done:
            self.bar.echo(self._done.pop(self._printed))
            self._printed += 1
