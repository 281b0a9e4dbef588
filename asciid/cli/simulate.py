"""``asciid simulate``: tests and loads a server with many clients."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import click

from asciid.cli._exit_codes import STOPPED
from asciid.cli._run import run
from asciid.cli._server import read_token, token_option
from asciid.client.agent import make_agent, make_pool, parse_base_url
from asciid.config.values import duration_of
from asciid.simulate import (
    CHUNKS_IN_FLIGHT,
    FORMATS,
    MAX_CONNECTIONS,
    ONE_FAULT_IN,
    Gallery,
    Level,
    Log,
    NoFigletError,
    Plan,
    Report,
    Requests,
    Simulation,
    pieces,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hyperlink import EncodedURL

    from asciid.cli._dependencies import Dependencies

__all__ = ["simulate_command"]

_GO_FLAG = re.compile(r"-[a-z][a-z-]+(=.*)?", re.DOTALL)
_SEEDS = 2**31
_FILES = 300


class _GoCommand(click.Command):
    """A command whose long options may start with one dash, as Go's do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        long = [f"-{arg}" if _GO_FLAG.fullmatch(arg) else arg for arg in args]
        return super().parse_args(ctx, long)


_HELP = """
Upload many pieces of ASCII art to a server and check every response.

Each image is registered, registered again (which must be refused), uploaded in
chunks out of order, downloaded and compared. On success the last line of the log is
SUCCESS! and the exit code 0; otherwise the exit code is 1, 130 after an interrupt,
143 after SIGTERM.

It is a load generator as well: --parallel, --rate, --duration and --downloads set the
load, --faults simulates a bad network. On a terminal a table shows the successes,
failures and response times of each operation; --table and --json print it anywhere.

Options may start with one dash, too: -files 300 or -files=300. The same seed makes
the same images and faults, and needs a storage without these images.

\b
Examples:
  asciid simulate --files 300
  asciid simulate --files 3000 --parallel 256 --log-level error --table
  asciid simulate --duration 1m --rate 50 --downloads 10
  asciid simulate --faults --seed 7
  asciid simulate --duration 10s --log-level error --json
"""


def _duration(_: click.Context, __: click.Parameter, text: str) -> int:
    try:
        return duration_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("simulate", cls=_GoCommand, help=_HELP)
@click.option(
    "--files",
    type=click.IntRange(1),
    show_default="300; with --duration, unlimited",
    help="Number of images to upload.",
)
@click.option(
    "--chunksize",
    type=click.IntRange(1),
    default=256,
    help="Chunk size in bytes.",
)
@click.option("--host", default="localhost", help="Name or address of the server.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=4444, help="Port of the server."
)
@token_option
@click.option(
    "--parallel",
    type=click.IntRange(1, 1024),
    default=8,
    help=(
        f"Images in flight at a time, with up to {CHUNKS_IN_FLIGHT} chunks of each, "
        f"on up to {MAX_CONNECTIONS} connections in total."
    ),
)
@click.option(
    "--downloads",
    type=click.IntRange(1),
    default=1,
    help="Times that each image is downloaded and compared.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=0,
    metavar="IMAGES",
    help="Maximum images started per second; 0: unlimited.",
)
@click.option(
    "--duration",
    callback=_duration,
    metavar="TIME",
    default="0",
    help="Start no image after this time: seconds, or with m, h or d; 0: no limit.",
)
@click.option(
    "--faults",
    is_flag=True,
    help=(
        f"Drop the connection in the middle of one chunk in {ONE_FAULT_IN}, and "
        f"repeat one in {ONE_FAULT_IN}."
    ),
)
@click.option(
    "--seed",
    type=click.IntRange(-1),
    default=-1,
    help="Seed of the random numbers; -1 picks one.",
)
@click.option(
    "--log-format",
    type=click.Choice(sorted(FORMATS)),
    default="text",
    help="Format of the log on standard output.",
)
@click.option(
    "--log-level",
    type=click.Choice([level.name.lower() for level in Level], case_sensitive=False),
    default="info",
    help="Minimum log level.",
)
@click.option(
    "--table",
    is_flag=True,
    help="Print the table on standard error at the end, even without a terminal.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the table as one JSON object; the log is written to standard error.",
)
@click.pass_obj
def simulate_command(  # noqa: PLR0913 - one argument an option
    dependencies: Dependencies,
    *,
    files: int | None,
    chunksize: int,
    host: str,
    port: int,
    token_file: Path | None,
    parallel: int,
    downloads: int,
    rate: float,
    duration: int,
    faults: bool,
    seed: int,
    log_format: str,
    log_level: str,
    table: bool,
    as_json: bool,
) -> int:
    """Run a simulation; return the exit code."""
    try:
        url = _server_url(host, port)
    except ValueError as error:
        message = f"Invalid value for '--host': {error}"
        raise click.UsageError(message) from error
    if files is None and not duration:
        files = _FILES
    plan = Plan(files, chunksize, parallel, downloads, rate, duration)
    if seed < 0:
        seed = random.SystemRandom().randrange(_SEEDS)
    rng = _random(seed)
    try:
        gallery = Gallery(rng)
    except NoFigletError as error:
        message = f"simulate {error}"
        raise click.ClickException(message) from error
    reactor = dependencies.reactor
    agent = dependencies.agent
    if agent is None:
        connections = min(plan.parallel * CHUNKS_IN_FLIGHT, MAX_CONNECTIONS)
        agent = make_agent(reactor, url, make_pool(reactor, connections))
    report = Report(reactor, table=table, as_json=as_json)
    log = Log(report.sink, form=log_format, threshold=Level[log_level.upper()])
    simulation = Simulation(
        plan,
        pieces(plan, gallery, rng, _random(seed) if faults else None),
        requests=Requests(reactor, agent, url, read_token(token_file)),
        log=log,
        clock=reactor,
    )
    log.info("simulation: start", seed=seed, server=url.to_text(), **_fields(plan))

    async def main() -> int:
        with report.showing(simulation):
            return 0 if await simulation.run() else 1

    code = run(reactor, main)
    if code in STOPPED:
        log.warning(STOPPED[code])
    report.finish(simulation, success=code == 0, seed=seed)
    return code


def _server_url(host: str, port: int) -> EncodedURL:
    """Return the URL of the server at `host`, a name or an address, and `port`."""
    host = host.removeprefix("[").removesuffix("]")
    authority = f"[{host}]" if ":" in host else host
    url = parse_base_url(f"http://{authority}:{port}")
    if url.path:
        message = f"{host!r} is not a host name"
        raise ValueError(message)
    return url


def _random(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - reproducible, and nothing is secret


def _fields(plan: Plan) -> dict[str, int]:
    files = {} if plan.files is None else {"files": plan.files}
    return {**files, "chunk_size": plan.chunk_size, "parallel": plan.parallel}
