"""Measures what an engine takes of its process's CPU for batches and for reads."""

from __future__ import annotations

import time
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from process import BenchmarkError

from asciid.model import ImageSpec
from asciid.store.operations import AddChunk, Register
from asciid.store.queries import FindComplete, Several
from script import CHUNK_SIZE, art_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asciid.store.operations import AnyOperation
    from asciid.store.queries import Query

STEPS = 4
"""Operations of an image: a registration and three chunks."""

HOT_IMAGE = 64 * 1024
"""Up to so many bytes an image is read with its row, as by the store."""


class Engine(Protocol):
    """What runs in the threads of an engine."""

    def execute(self, operations: Sequence[AnyOperation]) -> Sequence[Any]:
        """Carry out a batch and commit it."""

    def answer(self, query: Query[Any]) -> Any:  # noqa: ANN401 - the query's
        """Answer a query."""


class Cost(NamedTuple):
    """The cost of one operation or of one read, in microseconds."""

    cpu: float
    """CPU time of the thread."""
    elapsed: float


class Uploads:
    """Images, no two the same, which are uploaded and then read."""

    def __init__(self, images: int) -> None:
        self._art = art_of(images, seed=11)
        self.hashes: list[str] = []
        """Of the images that were uploaded."""

    def batches(self, images: int, size: int) -> Iterator[list[AnyOperation]]:
        """
        Yield batches of `size` operations that upload `images` images.

        As under load, a batch has each step of an upload, of other images; that is
        the case from four operations on.
        """
        together = max(1, size // STEPS)
        under_way: deque[list[list[AnyOperation]]] = deque()
        left = images
        while left > 0 or under_way:
            if left > 0:
                under_way.append([self._upload() for _ in range(together)])
                left -= together
            batch = [upload.pop(0) for group in under_way for upload in group]
            if not under_way[0][0]:
                under_way.popleft()
            if size < STEPS:
                yield from ([operation] for operation in batch)
            else:
                yield batch

    def _upload(self) -> list[AnyOperation]:
        content = next(self._art)
        spec = ImageSpec(sha256(content).hexdigest(), len(content), CHUNK_SIZE)
        self.hashes.append(spec.sha256)
        chunks = [
            AddChunk(spec.sha256, i, content[i * CHUNK_SIZE :][:CHUNK_SIZE])
            for i in range(spec.chunks)
        ]
        return [Register(spec), *chunks]


def upload(engine: Engine, uploads: Uploads, images: int, size: int) -> Cost:
    """
    Upload images by batches of `size` operations; return the cost of an operation.

    Errors: `BenchmarkError` if one fails.
    """
    batches = list(uploads.batches(images, size))
    cpu, elapsed = time.thread_time(), time.perf_counter()
    outcomes = [engine.execute(batch) for batch in batches]
    cpu, elapsed = time.thread_time() - cpu, time.perf_counter() - elapsed
    for outcome in (each for batch in outcomes for each in batch):
        if isinstance(outcome, Exception):
            message = f"an operation failed: {outcome!r}"
            raise BenchmarkError(message)
    count = sum(map(len, batches))
    return Cost(cpu / count * 1e6, elapsed / count * 1e6)


def read(engine: Engine, hashes: Sequence[str], size: int) -> Cost:
    """
    Read images, `size` of them by each query; return the cost of an image.

    Errors: `BenchmarkError` if one fails.
    """
    queries = [
        Several([FindComplete(one, HOT_IMAGE) for one in hashes[first : first + size]])
        for first in range(0, len(hashes), size)
    ]
    cpu, elapsed = time.thread_time(), time.perf_counter()
    answers = [engine.answer(query) for query in queries]
    cpu, elapsed = time.thread_time() - cpu, time.perf_counter() - elapsed
    for found in (each for answer in answers for each in answer):
        if isinstance(found, Exception) or not found.content:
            message = f"an image was not read: {found!r}"
            raise BenchmarkError(message)
    return Cost(cpu / len(hashes) * 1e6, elapsed / len(hashes) * 1e6)
