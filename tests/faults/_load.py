"""Clients that upload without end, and a record of the acknowledged writes."""

from __future__ import annotations

import random
import time
from collections import Counter
from enum import Enum
from functools import cached_property, partial
from hashlib import sha256
from itertools import count
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from attrs import define, field, frozen

from asciid.admin._owner import Owner
from asciid.errors import AsciidError
from tests.faults._client import Answer, Connection, GoneError, HalfAnswerError
from tests.integration._case import Art

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration._daemon import Daemon

__all__ = ["REFUSALS", "Kind", "Load", "Record", "Upload", "Uploader"]

REFUSALS = {503, 507}
"""Statuses of a daemon that cannot write for now."""

_PAUSE = 0.02
"""Seconds until a refused request is sent again."""

_ATTEMPTS = 500
"""How often a request is sent."""

_PATIENCE = 90
"""Seconds without progress, or without an end, until a client has failed."""

_BLOCK_EVERY = 0.01
"""Seconds between two blocks."""

_RECENT = 20
"""Uploads, the last ones, of which one is blocked: some are pending."""

_BASE = "".join(random.choices("/\\_|-(). o\n", k=2**20)) * 17
_numbers = count()


class Kind(Enum):
    """The kind of an acknowledged write."""

    REGISTRATION = "registration"
    CHUNK = "chunk"
    LAST_CHUNK = "last chunk"
    PUT = "PUT"


@frozen
class Acknowledgement:
    """A 201 that a client has read to its end."""

    order: int
    """Nanoseconds of the monotonic clock."""
    kind: Kind


@define(eq=False, slots=False)
class Upload:
    """An image, and its acknowledged writes."""

    art: Art
    whole: bool
    """Whether it is sent in one PUT."""
    registered: bool = False
    chunks: set[int] = field(factory=set)
    complete: bool = False
    described: bool = field(factory=lambda: random.random() < 0.3)
    """Whether its registration brings an about record."""
    blocking: bool = False
    """Whether a block of it was begun."""
    blocked: bool = False
    """Whether that was acknowledged."""

    @classmethod
    def random(cls) -> Upload:
        """Return a unique one, of any code path of the store."""
        whole, size, chunk_size = random.choice(
            [
                (False, random.randint(40, 1500), 256),
                (False, random.randint(40, 1500), 256),
                (False, random.randint(40, 1500), 256),
                (False, random.randint(40, 200), 256),
                (True, random.randint(40, 3000), 256),
                (True, random.randint(40, 3000), 256),
                (True, random.randint(100_000, 400_000), 256),
                # So large that it is verified outside of the transaction.
                (False, random.randint(270_000, 400_000), 65_536),
            ]
        )
        return cls.sized(size, chunk_size, whole=whole)

    @classmethod
    def sized(cls, size: int, chunk_size: int = 256, *, whole: bool = False) -> Upload:
        """Return a unique one of `size` bytes."""
        name = f"{next(_numbers)} {random.random()}\n"[:size]
        start = random.randrange(len(_BASE) - size)
        text = name + _BASE[start : start + size - len(name)]
        return cls(Art(text, chunk_size), whole)

    @cached_property
    def content(self) -> bytes:
        """The bytes of the image."""
        return self.art.text.encode()

    @cached_property
    def about(self) -> dict[str, object]:
        """What a registration says about it."""
        return {"title": self.target[-9:], "listed": False, "tags": ["cat"]}

    @cached_property
    def target(self) -> str:
        """The path of the image."""
        return f"/image/{sha256(self.content).hexdigest()}"


@define(eq=False)
class Record:
    """The responses to the clients of one load."""

    uploads: list[Upload] = field(factory=list)
    """All uploads that were begun."""
    acknowledged: list[Acknowledgement] = field(factory=list)
    """In the order in which it was read."""
    refused: Counter[int] = field(factory=Counter)
    """Refusals, by status."""
    wrong: list[str] = field(factory=list)
    """Responses that must never be sent."""

    @property
    def kinds(self) -> Counter[Kind]:
        """Acknowledged writes of each kind."""
        return Counter(entry.kind for entry in self.acknowledged)

    def add(self, kind: Kind) -> None:
        """Record a 201."""
        self.acknowledged.append(Acknowledgement(time.monotonic_ns(), kind))

    def violations(self, daemon: Daemon) -> list[str]:
        """
        Return lost or damaged writes of `daemon`; finish unfinished uploads.

        To finish an upload proves that the chunks it had are right.
        """
        found = list(self.wrong)
        with Connection(daemon.port) as connection:
            for upload in self.uploads:
                found += _violations(connection, upload)
        return found


@define(eq=False)
class Uploader:
    """
    One client, over one connection.

    A refused request is retried: if it had any effect, an image or a chunk would
    already exist.
    """

    connection: Connection
    record: Record
    stopping: Event = field(factory=Event)
    """Set when no further request is to be sent."""

    def upload(self, upload: Upload) -> None:
        """Upload an image."""
        self.record.uploads.append(upload)
        if upload.whole:
            send = partial(self._put, upload)
            upload.complete = self._sent(Kind.PUT, upload, send)
        elif self._sent(Kind.REGISTRATION, upload, partial(self._register, upload)):
            upload.registered = True
            self._upload_chunks(upload)

    def _upload_chunks(self, upload: Upload) -> None:
        ids = upload.art.ids
        for index, chunk_id in enumerate(ids, 1):
            last = index == len(ids)
            kind = Kind.LAST_CHUNK if last else Kind.CHUNK
            send = partial(self._chunk, upload, chunk_id)
            if not self._sent(kind, upload, send):
                return
            upload.chunks.add(chunk_id)
            upload.complete = last

    def _put(self, upload: Upload) -> Answer:
        return self.connection.request("PUT", upload.target, upload.content)

    def _register(self, upload: Upload) -> Answer:
        registration = upload.art.registration
        if upload.described:
            registration["about"] = upload.about
        return self.connection.post("/image", registration)

    def _chunk(self, upload: Upload, chunk_id: int) -> Answer:
        chunk = upload.art.chunk(chunk_id)
        return self.connection.post(f"{upload.target}/chunks", chunk)

    def _sent(self, kind: Kind, upload: Upload, request: Callable[[], Answer]) -> bool:
        """Send until it is acknowledged; return whether it was."""
        uncertain = False
        for _ in range(_ATTEMPTS):
            if self.stopping.is_set():
                return False
            answer = request()
            if answer.status == 201:
                self.record.add(kind)
                return True
            if answer.status in {200, 409} and uncertain:
                return True
            if answer.status == 403 and upload.blocking:
                return False
            if answer.status not in REFUSALS or not answer.is_problem:
                self.record.wrong.append(f"{kind.value} answered {answer}")
                return False
            self.record.refused[answer.status] += 1
            if answer.document["type"] == "/problems/writer-gone":
                uncertain = True
            self.stopping.wait(_PAUSE)
        self.record.wrong.append(f"{kind.value} was refused {_ATTEMPTS} times")
        return False


@define(eq=False)
class Load:
    """Clients that upload one image after another, until `stop` or the daemon's end."""

    port: int
    clients: int = 8
    make: Callable[[], Upload] = Upload.random
    record: Record = field(factory=Record)
    reconnects: bool = False
    """Whether a client continues with another image after a lost connection."""
    storage: Path | None = None
    """The storage directory of the daemon, to block images of some uploads there."""
    blocks: int = field(init=False, default=0)
    """Blocks that were acknowledged."""
    half: int = field(init=False, default=0)
    """Answers that broke off."""
    cut: int = field(init=False, default=0)
    """Connections that ended before the answer to a request began."""
    _stopping: Event = field(init=False, factory=Event)
    _threads: list[Thread] = field(init=False, factory=list)

    def __enter__(self) -> Self:
        """Start the clients."""
        targets = [self._client] * self.clients
        if self.storage is not None:
            targets.append(partial(self._block_some, self.storage))
        for target in targets:
            thread = Thread(target=target, daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clients."""
        self.stop()

    def stop(self) -> None:
        """Have each client end after the request under way."""
        self._stopping.set()
        self.join()

    def join(self) -> None:
        """Wait until each client has ended."""
        for thread in self._threads:
            thread.join(_PATIENCE)
            if thread.is_alive():
                message = "a client does not end"
                raise RuntimeError(message)

    def run_for(self, seconds: float) -> int:
        """Let it run; return the number of writes acknowledged meanwhile."""
        before = len(self.record.acknowledged)
        self._stopping.wait(seconds)
        return len(self.record.acknowledged) - before

    def progresses(self, requests: int = 20) -> bool:
        """Return whether so many more writes are acknowledged in time."""
        expected = len(self.record.acknowledged) + requests
        deadline = time.monotonic() + _PATIENCE
        while len(self.record.acknowledged) < expected:
            if time.monotonic() > deadline:
                return False
            self._stopping.wait(0.01)
        return True

    def run_until_refused(self, status: int) -> bool:
        """Return whether a write is refused so, before they stall."""
        acknowledged, deadline = -1, 0.0
        while not self.record.refused[status]:
            if len(self.record.acknowledged) > acknowledged:
                acknowledged = len(self.record.acknowledged)
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                return False
            self._stopping.wait(0.01)
        return True

    def _client(self) -> None:
        while not self._stopping.is_set():
            self._connect()
            if not self.reconnects:
                return

    def _block_some(self, storage: Path) -> None:
        """Block an image now and then, until the daemon ends."""
        while not self._stopping.wait(_BLOCK_EVERY):
            uploads = [one for one in self.record.uploads if not one.blocking]
            if not uploads:
                continue
            upload = random.choice(uploads[-_RECENT:])
            upload.blocking = True
            try:
                with Owner.of(storage) as owner:
                    sha256 = upload.art.spec.sha256
                    owner.request("block", sha256=sha256, reason=upload.target)
                    owner.result()
            except (AsciidError, OSError):
                return
            upload.blocked = True
            self.blocks += 1

    def _connect(self) -> None:
        with Connection(self.port) as connection:
            uploader = Uploader(connection, self.record, self._stopping)
            try:
                while not self._stopping.is_set():
                    uploader.upload(self.make())
            except HalfAnswerError:
                self.half += 1
            except GoneError:
                self.cut += 1
            except TimeoutError:
                self.record.wrong.append("no response")


def _violations(connection: Connection, upload: Upload) -> list[str]:
    answer = connection.request("GET", upload.target)
    if upload.blocked or (upload.blocking and answer.status == 451):
        # The reason of a block is the path.
        right = answer.status == 451 and upload.target in answer.document["detail"]
        return [] if right else [f"{upload.target}: blocked, but now {answer}"]
    if upload.described and upload.registered:
        about = connection.request("GET", f"{upload.target}/about")
        if not upload.about.items() <= about.document.items():
            return [f"{upload.target}: its about record is {about}"]
    if answer.status == 200:
        return [] if answer.body == upload.content else [f"{upload.target}: damaged"]
    if upload.complete:
        return [f"{upload.target}: complete, but now {answer.status}"]
    return _incomplete(connection, upload, answer)


def _incomplete(connection: Connection, upload: Upload, answer: Answer) -> list[str]:
    if upload.whole:
        return [] if answer.status == 404 else [f"{upload.target}: {answer.status}"]
    return _unfinished(connection, upload)


def _unfinished(connection: Connection, upload: Upload) -> list[str]:
    answer = connection.request("GET", f"{upload.target}/chunks")
    if answer.status == 404 and not upload.registered:
        return []
    if answer.status != 200:
        return [f"{upload.target}: registered, but now {answer.status}"]
    missing = {
        chunk_id
        for first, last in _ranges(answer)
        for chunk_id in range(first, last + 1)
    }
    if lost := upload.chunks & missing:
        return [f"{upload.target}: chunks {lost} are lost"]
    answers = [
        connection.post(f"{upload.target}/chunks", upload.art.chunk(chunk_id))
        for chunk_id in missing
    ]
    bad = [answer for answer in answers if answer.status != 201]
    if bad:
        return [f"{upload.target}: a missing chunk was refused: {bad}"]
    answer = connection.request("GET", upload.target)
    if (answer.status, answer.body) != (200, upload.content):
        return [f"{upload.target}: finished, but {answer.status}"]
    return []


def _ranges(answer: Answer) -> list[tuple[int, int]]:
    return [(first, last) for first, last in answer.document["missing"]]
