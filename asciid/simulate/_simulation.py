"""Runs a simulation: concurrent uploads and downloads, every step checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asciid.client.parallel import in_parallel
from asciid.simulate._art import ArtError
from asciid.simulate._requests import UnavailableError
from asciid.simulate._schedule import Schedule
from asciid.simulate._steps import StepError, Steps
from asciid.simulate._tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from asciid.simulate._log import Log
    from asciid.simulate._plan import Piece, Plan, Send
    from asciid.simulate._requests import Requests

__all__ = ["CHUNKS_IN_FLIGHT", "Simulation"]

CHUNKS_IN_FLIGHT = 8
"""Maximum concurrent chunks, or downloads, of one image."""

_T = TypeVar("_T")


async def _each(
    items: Sequence[_T], do: Callable[[_T], Coroutine[Deferred[Any], Any, None]]
) -> None:
    """Process all `items`, up to `CHUNKS_IN_FLIGHT` at a time."""
    if len(items) == 1:
        await do(items[0])
        return
    left = iter(items)

    async def some() -> None:
        for item in left:
            await do(item)

    await in_parallel([some() for _ in range(min(CHUNKS_IN_FLIGHT, len(items)))])


class Simulation:
    """
    Uploads the images of `work` by `plan`, and checks the responses.

    `clock` is for the schedule and the total duration.

    `tally` counts the operations so far; `begun` and `passed` are numbers of images;
    `seconds` is the duration of the run.
    """

    def __init__(
        self,
        plan: Plan,
        work: Iterator[Piece],
        *,
        requests: Requests,
        log: Log,
        clock: IReactorTime,
    ) -> None:
        self.tally = Tally()
        self.begun = 0
        self.passed = 0
        self._plan = plan
        self._requests = requests
        self._steps = Steps(requests, log, self.tally, plan.chunk_size)
        self._work = work
        self._log = log
        self._clock = clock
        self._started = clock.seconds()
        self._stopped: float | None = None

    @property
    def seconds(self) -> float:
        stopped = self._stopped
        return (self._clock.seconds() if stopped is None else stopped) - self._started

    @property
    def requests(self) -> int:
        """The number of requests so far."""
        return self._requests.sent

    async def run(self) -> bool:
        """
        Run the whole plan; return whether every step passed.

        A failed image does not stop the others; an unreachable server stops the run.
        """
        plan = self._plan
        self._started = self._clock.seconds()
        schedule = Schedule(self._clock, plan.rate, plan.seconds)
        players = plan.parallel
        if plan.files is not None:
            players = min(players, plan.files)
        whole = True
        try:
            await in_parallel([self._play(schedule) for _ in range(players)])
        except (ArtError, UnavailableError) as error:
            self._log.error(str(error))
            whole = False
        finally:
            self._stopped = self._clock.seconds()
        seconds = self.seconds
        self._log.info(
            "simulation: done",
            files=self.passed,
            requests=self.requests,
            seconds=round(seconds, 3),
            requests_per_second=round(self.requests / seconds) if seconds else 0,
        )
        # With a time limit, the number of images is that of the started ones.
        files = self.begun if plan.seconds or plan.files is None else plan.files
        if whole and self.passed == files:
            self._log.info("SUCCESS!")
            return True
        self._log.fatal("FAILED!", files=files, files_not_ok=files - self.passed)
        return False

    async def _play(self, schedule: Schedule) -> None:
        while await schedule.turn():
            piece = next(self._work, None)
            if piece is None:
                return
            self.begun += 1
            art = piece.art
            self._log.debug(
                "image drawn",
                font=art.font,
                image_sha256=art.sha256,
                image_size=len(art.data),
                word=art.word,
            )
            try:
                await self._steps.register(art)
                await self._upload(piece)
                await _each([art] * self._plan.downloads, self._steps.download)
            except StepError as error:
                self._log.error(str(error), **error.fields)
            else:
                self.passed += 1

    async def _upload(self, piece: Piece) -> None:
        stored: set[int] = set()

        async def upload(send: Send) -> None:
            await self._steps.upload(piece, send, stored)

        await _each(piece.sends, upload)
        self._steps.check_repeated(piece, stored)
