"""``asciid simulate``: plays many clients against a server and checks it."""

from __future__ import annotations

import random
import re
import sys
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from ._art import Gallery, NoFigletError
from ._log import FORMATS, Level, Log
from ._requests import Requests, make_agent, server_url
from ._run import INTERRUPTED, run
from ._simulate import CHUNKS_IN_FLIGHT, Plan, Simulation

if TYPE_CHECKING:
    from hyperlink import EncodedURL
    from twisted.web.iweb import IAgent

__all__ = ["Surroundings", "simulate"]

_GO_FLAG = re.compile(r"-[a-z][a-z-]+(=.*)?", re.DOTALL)
_SEEDS = 2**31


@frozen
class Surroundings:
    """What a command runs in; left out, it is the real thing."""

    reactor: Any = None
    """The reactor to run."""
    agent: IAgent | None = None
    """What sends requests."""


class _GoCommand(click.Command):
    """A command whose long options may start with one dash, as Go's do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        long = [f"-{arg}" if _GO_FLAG.fullmatch(arg) else arg for arg in args]
        return super().parse_args(ctx, long)


@click.command(cls=_GoCommand)
@click.option(
    "--files", type=click.IntRange(1), default=300, help="Number of images to upload."
)
@click.option(
    "--chunksize",
    type=click.IntRange(1),
    default=256,
    help="Bytes in a chunk.",
)
@click.option("--host", default="localhost", help="Name or address of the server.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=4444, help="Port of the server."
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 1024),
    default=8,
    help=f"Images on their way at a time, up to {CHUNKS_IN_FLIGHT} chunks of each.",
)
@click.option(
    "--seed",
    type=click.IntRange(-1),
    default=-1,
    help="A number that decides all that is random; -1 picks one.",
)
@click.option(
    "--log-format",
    type=click.Choice(sorted(FORMATS)),
    default="text",
    help="Form of the log on standard output.",
)
@click.option(
    "--log-level",
    type=click.Choice([level.name.lower() for level in Level], case_sensitive=False),
    default="info",
    help="The least important lines to show.",
)
@click.pass_obj
def simulate(  # noqa: PLR0913 - one argument an option
    surroundings: Surroundings,
    *,
    files: int,
    chunksize: int,
    host: str,
    port: int,
    parallel: int,
    seed: int,
    log_format: str,
    log_level: str,
) -> int:
    """
    Upload many pieces of ASCII art to a server and check all it does.

    Each image is registered, registered again (which must be refused),
    uploaded in chunks out of order, downloaded and compared.  The last line is
    SUCCESS! and the exit code 0 when all went well; otherwise the exit code is
    1, and 130 after an interrupt.

    Options may start with one dash, too: -files 300 or -files=300.  The same
    seed makes the same images, so it needs a storage that does not have them.
    """
    try:
        url = server_url(host, port)
    except ValueError as error:
        message = f"Invalid value for '--host': {error}"
        raise click.UsageError(message) from error
    if seed < 0:
        seed = random.SystemRandom().randrange(_SEEDS)
    rng = random.Random(seed)  # noqa: S311 - reproducible, and nothing is secret
    try:
        gallery = Gallery(rng)
    except NoFigletError as error:
        message = f"simulate {error}"
        raise click.ClickException(message) from error
    log = Log(sys.stdout, form=log_format, threshold=Level[log_level.upper()])
    plan = Plan(files, chunksize, parallel)
    log.info("simulation: start", seed=seed, server=url.to_text(), **_fields(plan))
    code = _play(surroundings, url, plan, gallery, rng, log)
    if code == INTERRUPTED:
        log.warning("interrupted")
    sys.stdout.flush()
    return code


def _fields(plan: Plan) -> dict[str, int]:
    return {
        "files": plan.files,
        "chunk_size": plan.chunk_size,
        "parallel": plan.parallel,
    }


def _play(  # noqa: PLR0913, PLR0917 - what simulate() has gathered
    surroundings: Surroundings,
    url: EncodedURL,
    plan: Plan,
    gallery: Gallery,
    rng: random.Random,
    log: Log,
) -> int:
    """Run the simulation in a reactor; return the exit code."""
    reactor = surroundings.reactor
    if reactor is None:
        # Importing it installs it, so not before a command needs it.
        from twisted.internet import reactor  # noqa: PLC0415
    agent = surroundings.agent
    if agent is None:
        agent = make_agent(reactor, url, plan.parallel * CHUNKS_IN_FLIGHT)
    simulation = Simulation(
        plan,
        requests=Requests(reactor, agent, url),
        gallery=gallery,
        rng=rng,
        log=log,
        clock=reactor,
    )

    async def main() -> int:
        return 0 if await simulation.run() else 1

    return run(reactor, main)
