"""Clients in pairs that race to upload the same images, and what they were answered."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from itertools import pairwise
from threading import Barrier, BrokenBarrierError, Event, Lock, Thread
from typing import TYPE_CHECKING, Self

from attrs import define, field, frozen

from tests.faults._client import Answer, Connection, GoneError
from tests.faults._load import Upload

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Outcome", "Race", "Races"]

_PAUSE = 0.05
"""Seconds until a request that was refused, or lost, is sent again."""

_PATIENCE = 120
"""Seconds without success until a client gives up."""


@frozen
class Outcome:
    """A response, or that there was none."""

    at: float
    """Seconds of the monotonic clock when it was complete."""
    seconds: float
    status: int
    """0: there was none."""
    problem: str = ""
    """Of a refusal with Retry-After and a problem document: the type."""


@define(eq=False)
class Race:
    """An image that several clients upload, and the 201s that they got."""

    upload: Upload
    wins: Counter[str] = field(factory=Counter)
    """The 201s of each write: at most one is right."""
    finished: bool = False
    """Whether a client was answered that it is complete."""


@define(eq=False)
class Races:
    """
    Pairs of clients on connections of their own, each on the same image at a time.

    A refused or lost request is sent again until its outcome is known: then the write
    is a conflict, or succeeds.
    """

    port: int
    pairs: int = 4
    races: list[Race] = field(init=False, factory=list)
    outcomes: list[Outcome] = field(init=False, factory=list)
    wrong: list[str] = field(init=False, factory=list)
    """Responses that must never be sent."""
    _stopping: Event = field(init=False, factory=Event)
    _threads: list[Thread] = field(init=False, factory=list)
    _lock: Lock = field(init=False, factory=Lock)

    def __enter__(self) -> Self:
        """Start the clients."""
        for _ in range(self.pairs):
            pair = _Pair(self)
            for _ in range(2):
                thread = Thread(target=pair.run, daemon=True)
                self._threads.append(thread)
                thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clients after the request under way."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_PATIENCE)
            if thread.is_alive():
                message = "a client does not end"
                raise RuntimeError(message)

    @property
    def is_stopping(self) -> bool:
        """Whether no further request is to be sent."""
        return self._stopping.is_set()

    def pause(self) -> None:
        """Wait a moment, less if they are to stop."""
        self._stopping.wait(_PAUSE)

    def add_race(self) -> Race:
        """Begin another image."""
        race = Race(Upload.random())
        with self._lock:
            self.races.append(race)
        return race

    def note(self, began: float, answer: Answer | None) -> Outcome:
        """Record a response, or that there was none, to a request that began then."""
        now = time.monotonic()
        status, problem = 0, ""
        if answer is not None:
            status = answer.status
            if answer.is_problem and "retry-after" in answer.fields:
                problem = answer.document["type"]
        outcome = Outcome(now, now - began, status, problem)
        self.outcomes.append(outcome)
        return outcome

    def win(self, race: Race, write: str) -> None:
        """Record a 201."""
        with self._lock:
            race.wins[write] += 1

    @property
    def acknowledged(self) -> int:
        """The number of 201s."""
        return sum(race.wins.total() for race in list(self.races))

    @property
    def won_twice(self) -> list[str]:
        """Writes that got more than one 201."""
        return [
            f"{race.upload.target}: {write}"
            for race in self.races
            for write, times in race.wins.items()
            if times > 1
        ]

    def between(self, begin: float, end: float) -> list[Outcome]:
        """Return the outcomes of a time of the monotonic clock."""
        return [one for one in list(self.outcomes) if begin <= one.at <= end]

    def longest_pause(self, begin: float, end: float) -> float:
        """Return the longest time between two 201s of a time."""
        times = [one.at for one in self.between(begin, end) if one.status == 201]
        return max(after - before for before, after in pairwise([begin, *times, end]))

    def first_success(self, after: float) -> float | None:
        """Return when the first write was acknowledged that was sent after a time."""
        return next(
            (
                one.at
                for one in list(self.outcomes)
                if one.status == 201 and one.at - one.seconds > after
            ),
            None,
        )

    def lost(self, port: int) -> list[str]:
        """Return the acknowledged writes that the node on `port` does not have."""
        with Connection(port) as connection:
            return [text for race in self.races for text in _lost(connection, race)]


@define(eq=False)
class _Pair:
    """Two clients that begin each image at the same time."""

    races: Races
    _barrier: Barrier = field(init=False)
    _race: Race = field(init=False)

    @_barrier.default
    def _make_barrier(self) -> Barrier:
        return Barrier(2, action=self._begin, timeout=_PATIENCE)

    def _begin(self) -> None:
        self._race = self.races.add_race()

    def run(self) -> None:
        """Upload images until all are to stop."""
        client = _Client(self.races)
        try:
            while not self.races.is_stopping:
                self._barrier.wait()
                if not client.upload(self._race):
                    break
        except BrokenBarrierError:
            if not self.races.is_stopping:
                self.races.wrong.append("the other client of a pair has ended")
        finally:
            self._barrier.abort()
            client.close()


@define(eq=False)
class _Client:
    """One client, on a connection that it opens again when it is lost."""

    races: Races
    _connection: Connection = field(init=False)

    @_connection.default
    def _make_connection(self) -> Connection:
        return Connection(self.races.port)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def upload(self, race: Race) -> bool:
        """Upload an image and download it; return False if it was given up."""
        upload, connection = race.upload, self._connection
        if upload.whole:
            put = partial(connection.request, "PUT", upload.target, upload.content)
            if not self._write(race, "PUT", put):
                return False
        else:
            registration = {**upload.art.registration}
            if upload.described:
                registration["about"] = upload.about
            register = partial(connection.post, "/image", registration)
            if not self._write(race, "registration", register):
                return False
            for chunk_id in upload.art.ids:
                chunk = upload.art.chunk(chunk_id)
                send = partial(connection.post, f"{upload.target}/chunks", chunk)
                if not self._write(race, f"chunk {chunk_id}", send):
                    return False
        race.finished = True
        return self._read(race)

    def _write(self, race: Race, write: str, request: Callable[[], Answer]) -> bool:
        """Send a write until its outcome is known; return False if it failed."""
        answer = self._answer(request)
        if answer is None:
            return False
        if answer.status == 201:
            self.races.win(race, write)
        elif answer.status not in {200, 409}:
            self.races.wrong.append(f"{write} answered {answer}")
            return False
        return True

    def _read(self, race: Race) -> bool:
        """Download a complete image, from any node; return False if it failed."""
        target = race.upload.target
        answer = self._answer(partial(self._connection.request, "GET", target))
        if answer is None:
            return False
        if (answer.status, answer.body) == (200, race.upload.content):
            return True
        self.races.wrong.append(f"{target} is complete, and was answered {answer}")
        return False

    def _answer(self, request: Callable[[], Answer]) -> Answer | None:
        """Send until it is carried out; return None if that was given up."""
        deadline = time.monotonic() + _PATIENCE
        while not self.races.is_stopping:
            if time.monotonic() > deadline:
                self.races.wrong.append(f"refused for {_PATIENCE} s")
                return None
            began = time.monotonic()
            try:
                answer = request()
            except (GoneError, TimeoutError):
                self.races.note(began, None)
                self.races.pause()
                continue
            self.races.note(began, answer)
            if answer.status != 503:
                return answer
            self.races.pause()
        return None


def _lost(connection: Connection, race: Race) -> list[str]:
    """Return acknowledged writes of an image that are lost."""
    upload = race.upload
    answer = connection.request("GET", upload.target)
    if answer.status == 200:
        right = answer.body == upload.content
        return [] if right else [f"{upload.target}: damaged"]
    if race.finished or race.wins["PUT"]:
        return [f"{upload.target}: complete, but now {answer.status}"]
    if not race.wins:
        return []
    answer = connection.request("GET", f"{upload.target}/chunks")
    if answer.status != 200:
        return [f"{upload.target}: registered, but now {answer.status}"]
    missing = {
        chunk_id
        for first, last in answer.document["missing"]
        for chunk_id in range(first, last + 1)
    }
    lost = [chunk_id for chunk_id in missing if race.wins[f"chunk {chunk_id}"]]
    return [f"{upload.target}: lost chunks {lost}"] if lost else []
