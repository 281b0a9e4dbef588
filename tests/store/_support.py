"""Images, and stores that tests drive by hand."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb

from asciid.engines.lmdb.owning import LMDBEngine
from asciid.model import ImageSpec
from asciid.store import FOR_EVER, ImageStore, Lifetimes
from asciid.testing import ManualReactor, ManualThreadPool, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from asciid.store import IImageObserver, IImageStore
    from asciid.store.engine import IEngine

ResultT = TypeVar("ResultT")


def lmdb_error(number: int) -> lmdb.Error:
    """Return what LMDB raises for an error of the system."""
    error = lmdb.Error(os.strerror(number))
    error.__dict__["code"] = number
    return error


def spec_of(data: bytes, chunk_size: int = 4) -> ImageSpec:
    """Return the spec under which `data` is registered."""
    return ImageSpec(sha256(data).hexdigest(), len(data), chunk_size)


def chunk_of(data: bytes, spec: ImageSpec, chunk_id: int) -> bytes:
    """Return the bytes of one chunk of `data`."""
    return data[chunk_id * spec.chunk_size :][: spec.chunk_size]


def no_thread(*_: object) -> None:
    """Fail as a pool does that cannot create a thread."""
    message = "can't start new thread"
    raise RuntimeError(message)


class Turned:
    """A store over an engine, whose threads and clock a test turns by hand."""

    engine: IEngine
    store: ImageStore

    def __init__(self, reactor: ManualReactor | None = None) -> None:
        self.reactor = reactor or ManualReactor()
        self.now = 1_000_000.0
        self.elapsed = 0.0
        self.writer_pool = ManualThreadPool()
        self.read_pool = ManualThreadPool()

    def pass_time(self, seconds: float) -> None:
        """Let time go by, on every clock."""
        self.now += seconds
        self.elapsed += seconds

    def run(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn everything until `awaited` fires."""
        return run(awaited, self.reactor, self.writer_pool, self.read_pool)

    def start(self) -> None:
        """Start the store and run its initial work."""
        self.run(self.store.start())
        self.settle()

    def stop(self) -> None:
        """Stop the store."""
        self.run(self.store.stop())

    def settle(self) -> None:
        """Turn everything until nothing is left to do at this time."""
        busy = True
        while busy:
            self.reactor.advance(0)
            busy = self.writer_pool.step() | self.read_pool.step()
            now = self.reactor.seconds()
            calls = self.reactor.getDelayedCalls()
            busy = busy or any(call.getTime() <= now for call in calls)

    def upload(self, data: bytes, chunk_size: int = 4) -> ImageSpec:
        """Register and upload a whole image."""
        spec = spec_of(data, chunk_size)
        self.run(self.store.register(spec))
        for chunk_id in range(spec.chunks):
            chunk = chunk_of(data, spec, chunk_id)
            self.run(self.store.add_chunk(spec.sha256, chunk_id, chunk))
        return spec

    def download(self, sha256_hex: str) -> bytes:
        """Read a whole image."""
        reader = self.run(self.store.open(sha256_hex))
        return self.run(reader.read(0, reader.spec.size))


class DrivenStore(Turned):
    """A store over an `LMDBEngine`."""

    engine: LMDBEngine

    def __init__(
        self,
        path: str,
        reactor: ManualReactor | None = None,
        *,
        lifetimes: Lifetimes = FOR_EVER,
        cache_size: int = 32 * 1024 * 1024,
        observers: Sequence[IImageObserver] = (),
        **options: Any,  # noqa: ANN401 - as LMDBEngine
    ) -> None:
        super().__init__(reactor)
        self.path = Path(path)
        self.engine = LMDBEngine(
            self.path,
            reactor=self.reactor,
            writer_pool=self.writer_pool,
            read_pool=self.read_pool,
            **{
                "sync": False,
                "clock": lambda: self.now,
                "monotonic": lambda: self.elapsed,
                **options,
            },
        )
        self.store = ImageStore(
            self.engine,
            reactor=self.reactor,
            lifetimes=lifetimes,
            cache_size=cache_size,
            observers=observers,
        )


def registered(store: IImageStore) -> Deferred[int]:
    """Return how many images are registered, complete or not."""
    return store.usage().addCallback(lambda usage: usage.images + usage.pending)
