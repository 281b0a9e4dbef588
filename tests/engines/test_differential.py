"""Engines against each other: the same operations have the same outcomes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb.maintenance import (
    DATA_FILE,
    Inconsistent,
    RecordChecks,
    StorageFile,
    leave_records_in,
)
from asciid.errors import AboutChangedError, AsciidError
from asciid.model import About, AboutRecord, ImageSpec, ListedImage, NewImage
from asciid.store.operations import (
    Abandon,
    AddChunk,
    AddPieces,
    Adopt,
    Begin,
    BlockHash,
    Completed,
    DeleteDiscarded,
    Finish,
    Put,
    Register,
    Remove,
    RemoveExpired,
    SetAbout,
    UnblockHash,
    Unverified,
)
from asciid.store.pending import PendingLimits
from asciid.store.queries import (
    FindComplete,
    FindExpired,
    FindNeighbours,
    FindPrefix,
    Found,
    HashWith,
    IsComplete,
    ListBlocked,
    ListImages,
    MeasureUsage,
    PickRandom,
    ReadAbout,
    ReadBriefStatus,
    ReadRanges,
    ReadStatus,
    Several,
)
from asciid.store.rules import PIECE
from asciid.store.stats import StoreUsage
from tests._thoroughness import examples
from tests.engines._driven import (
    DrivenLMDB,
    DrivenMemory,
    DrivenPostgreSQL,
    DrivenRemote,
)
from tests.engines._operations import pieces_of, upload_of
from tests.engines._postgresql import clean_database
from tests.store._support import chunk_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.engines._driven import Driven

IMAGES = [b"", b"x", b"/\\_/\\\n( o.o )\n", bytes(range(40)), b"ab" * (PIECE // 2 + 9)]
LIMITS = PendingLimits(total=3, per_client=2)
SCRIPTS = "ASCIID_DATABASE_SCRIPTS"
NEVER = 10**9
"""A number that no engine gives."""


@define
class Player:
    """Has one engine carry out commands, which name numbers by their order."""

    driven: Driven
    numbers: list[int] = field(factory=list)
    """Those of staged images."""
    found: Found | None = None
    unverified: Unverified | None = None

    def number(self, index: int) -> int:
        """Return the number of a staged image, or one that there is not."""
        return self.numbers[index] if index < len(self.numbers) else NEVER

    def apply(self, *operations: Any) -> list[Any]:  # noqa: ANN401 - any operation
        """Return the outcomes, as every engine should have them."""
        return [self.seen(one) for one in self.driven.apply(*operations)]

    def ask(self, query: Any) -> Any:  # noqa: ANN401 - any query
        """Return the answer, as every engine should have it."""
        try:
            return self.seen(self.driven.ask(query))
        except AsciidError as error:
            return self.seen(error)

    def seen(self, value: Any) -> Any:  # noqa: ANN401 - an outcome or an answer
        """Return the part that must be the same in all engines."""
        seen: Any = value
        match value:
            case AboutChangedError():
                # Revisions are the engine's, as numbers are.
                seen = AboutChangedError, value.sha256
            case AsciidError():
                seen = type(value), vars(value)
            case AboutRecord():
                seen = value.about, value.key_hash, value.charset
            case ListedImage():
                seen = value.spec, value.completed, self.seen(value.record)
            case Completed():
                # The content may be included, or not.
                assert value.content in (None, self.data_of(value.spec))
                seen = value.spec, value.completed, value.keeps_record
            case Unverified():
                self.unverified = value
                seen = value.spec
            case Found():
                self.found = value
                seen = value.image.spec, value.image.completed, value.content
            case StoreUsage():
                seen = value.images, value.pending, value.listed, value.blocked
            case list() | tuple():
                seen = [self.seen(one) for one in value]
        return seen

    def data_of(self, spec: ImageSpec) -> bytes:
        """Return the bytes of an image."""
        (data,) = (data for data in IMAGES if spec_of(data).sha256 == spec.sha256)
        return data

    def begin(self) -> Any:  # noqa: ANN401 - the outcome
        """Stage an image."""
        (number,) = self.driven.apply(Begin())
        self.numbers.append(number)
        return isinstance(number, int)

    def state(self) -> Any:  # noqa: ANN401 - as above
        """Return all that can be seen of all images."""
        hashes = [spec_of(data).sha256 for data in IMAGES]
        queries: list[Any] = [
            kind(sha256) for kind in (ReadAbout, FindNeighbours) for sha256 in hashes
        ]
        statuses = [ReadStatus(sha256, 60) for sha256 in hashes]
        others: list[Any] = [MeasureUsage(), ListBlocked("", 9), FindPrefix("")]
        return self.ask(Several([*statuses, *queries, *others])), self.listing()

    def listing(self) -> Any:  # noqa: ANN401 - as above
        """Return the listing, which is the same in pages, and in order."""
        images = self.driven.ask(ListImages(None, 99))
        paged: list[ListedImage] = []
        while page := self.driven.ask(
            ListImages(paged[-1].cursor if paged else None, 2)
        ):
            paged += page
        assert paged == images
        hashes = [image.spec.sha256 for image in images]
        assert len(set(hashes)) == len(hashes)
        drawn = self.driven.ask(PickRandom(7**80))
        assert drawn in hashes if hashes else drawn is None
        return self.seen(images)

    def set_about(
        self, data: bytes, about: About, revision: int | None, key_hash: bytes | None
    ) -> Any:  # noqa: ANN401 - the outcome
        """Set what is stored beside an image; a `revision` is added to the current."""
        sha256 = spec_of(data).sha256
        if revision is not None:
            try:
                revision += self.driven.ask(ReadAbout(sha256)).revision
            except AsciidError:
                revision = NEVER
        (outcome,) = self.driven.apply(SetAbout(sha256, about, revision, key_hash))
        if isinstance(outcome, int):
            assert self.driven.ask(ReadAbout(sha256)).revision == outcome
            return int
        return self.seen(outcome)

    def expire(self, wait: float, kind: Any, older_than: float) -> Any:  # noqa: ANN401 - the outcomes
        """Remove entries that expire after a while; return their hashes."""
        self.driven.pass_time(wait)
        page = self.driven.ask(FindExpired(kind, older_than, b""))
        assert page.rest == b""
        removing = RemoveExpired(kind, older_than, page.found)
        hashes = sorted(old.sha256 for old in page.found)
        return hashes, self.apply(removing, removing)

    def finish(self, actual: str | None) -> Any:  # noqa: ANN401 - the outcome
        """Store the last chunk of the upload that was hashed last."""
        if self.unverified is None:
            return None
        data = self.data_of(self.unverified.spec)
        index = self.unverified.spec.chunks - 1
        last = chunk_of(data, self.unverified.spec, index)
        hashed = self.ask(HashWith(self.unverified, index, last))
        return self.apply(Finish(self.unverified, index, last, actual or hashed))

    def read(self, start: int, length: int) -> Any:  # noqa: ANN401 - the answer
        """Read from the last image found, once discarded chunks are deleted."""
        if self.found is None or self.found.image.spec.size <= start:
            return None
        size = self.found.image.spec.size
        ranges = ((start, min(start + length, size)), (size - 1, size))
        while self.driven.apply(DeleteDiscarded()) == [True]:
            pass
        return self.ask(ReadRanges(self.found.image, ranges))


images = st.sampled_from(IMAGES)
clients = st.sampled_from(["", "a", "b"])
kinds = st.sampled_from(["uploads", "images", "staged", "gone", "dated", "dated"])
sizes = st.sampled_from([1, 3, 7, 40, PIECE + 1])
hashes = images.map(lambda data: spec_of(data).sha256)


keys = st.sampled_from([b"", bytes(32), bytes(range(32))])
abouts = st.builds(
    About,
    title=st.sampled_from(["", "Cat"]),
    listed=st.sampled_from([True, True, False]),
    expires=st.sampled_from([0, 0, 1, 1_000_000_030, 1_000_090_000]),
)
news = st.one_of(
    st.none(),
    st.builds(
        NewImage, st.one_of(st.none(), abouts), keys, st.sampled_from(["", "cp437"])
    ),
)


def register(  # noqa: PLR0913 - each varies
    data: bytes,
    chunk_size: int,
    client: str,
    more: int,
    new: NewImage | None,
    *,
    listed: bool,
) -> Register:
    """Register an image, or one of another length under its hash."""
    chunk_size = max(chunk_size, len(data) // 50)
    spec = ImageSpec(spec_of(data).sha256, len(data) + more, chunk_size)
    return Register(spec, client, new, listed)


def chunk(data: bytes, index: int, chunk_size: int, change: int) -> AddChunk:
    """Upload a chunk, the right one or another."""
    chunk_size = max(chunk_size, len(data) // 50)
    right = chunk_of(data, spec_of(data, chunk_size), index)
    sent = {0: right[:-1], 1: right.swapcase()}.get(change, right)
    return AddChunk(spec_of(data).sha256, index, sent)


operations = st.one_of(
    st.builds(
        register,
        images,
        sizes,
        clients,
        st.sampled_from([0, 0, 0, 2]),
        news,
        listed=st.booleans(),
    ),
    st.builds(chunk, images, st.integers(0, 50), sizes, st.integers(0, 9)),
    st.builds(
        lambda data, new, listed: Put(spec_of(data).sha256, data, new, listed),
        images,
        news,
        st.booleans(),
    ),
    st.builds(Remove, hashes, st.one_of(st.none(), st.none(), keys)),
    st.builds(BlockHash, hashes, st.sampled_from(["spam", "fraud"])),
    st.builds(UnblockHash, hashes),
    st.builds(UnblockHash, hashes),
    st.builds(DeleteDiscarded),
)
uploads = st.builds(upload_of, images, st.sampled_from([1_000_000, 9_000]))
queries = st.one_of(
    st.builds(FindComplete, hashes, st.sampled_from([0, 39, 10**6])),
    st.builds(IsComplete, hashes),
    st.builds(ReadStatus, hashes, st.sampled_from([0, 60])),
    st.builds(ReadBriefStatus, hashes, st.sampled_from([0, 60])),
    st.builds(MeasureUsage),
    st.builds(ReadAbout, hashes),
    st.builds(FindNeighbours, hashes),
    st.builds(
        lambda sha256, size: FindPrefix(sha256[:size]), hashes, st.integers(0, 5)
    ),
    st.builds(ListImages, st.none(), st.integers(0, 3)),
    st.builds(ListBlocked, st.one_of(st.just(""), hashes), st.integers(0, 3)),
)
commands = st.one_of(
    st.tuples(st.just("apply"), st.lists(operations, max_size=5).map(tuple)),
    st.tuples(st.just("apply"), uploads.map(tuple)),
    st.tuples(st.just("ask"), st.tuples(queries)),
    st.tuples(
        st.just("ask"), st.tuples(st.builds(Several, st.lists(queries, max_size=3)))
    ),
    st.tuples(st.just("begin"), st.just(())),
    st.tuples(st.just("add"), st.tuples(st.integers(0, 2), images)),
    st.tuples(st.just("adopt"), st.tuples(st.integers(0, 2), images, news)),
    st.tuples(
        st.just("set_about"),
        st.tuples(
            images,
            abouts,
            st.sampled_from([None, None, 0, 0, 1]),
            st.one_of(st.none(), keys),
        ),
    ),
    st.tuples(st.just("abandon"), st.tuples(st.integers(0, 2))),
    st.tuples(
        st.just("expire"),
        st.tuples(st.sampled_from([0, 1, 6]), kinds, st.sampled_from([5, 5, 50])),
    ),
    st.tuples(st.just("pass_time"), st.tuples(st.sampled_from([1, 4, 50]))),
    st.tuples(st.just("finish"), st.tuples(st.sampled_from([None, None, "0" * 64]))),
    st.tuples(
        st.just("read"),
        st.tuples(st.sampled_from([0, 5, PIECE - 1]), st.integers(1, 9)),
    ),
)


scripts = st.lists(commands, min_size=20, max_size=60)
Script: TypeAlias = list[tuple[str, tuple[Any, ...]]]


def faults_in(path: Path) -> list[Inconsistent]:
    """Return the records of a storage that do not agree, if there is a file."""
    if not (path / DATA_FILE).exists():
        return []
    with StorageFile(path) as storage:
        return list(RecordChecks(storage, leave_records_in(storage)).run())


class DifferentialTests(SynchronousTestCase):
    """All engines, side by side."""

    def play(self, player: Player, name: str, arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401 - what is seen
        """Have one engine do a command; return its visible outcome."""
        match name:
            case "pass_time":
                return player.driven.pass_time(*arguments)
            case "add":
                index, data = arguments
                number = player.number(index)
                return player.apply(AddPieces(number, 0, pieces_of(data)))
            case "adopt":
                index, data, new = arguments
                number, name_ = player.number(index), spec_of(data).sha256
                return player.apply(
                    AddPieces(number, 0, pieces_of(data)),
                    Adopt(number, name_, len(data), new),
                )
            case "abandon":
                return player.apply(Abandon(player.number(*arguments)))
        return getattr(player, name)(*arguments)

    @given(scripts)
    @settings(examples(40), suppress_health_check=list(HealthCheck))
    def test_same(self, script: Script) -> None:
        """The engines of one machine have the same outcomes for any script."""
        self.compare((DrivenLMDB, DrivenMemory, DrivenRemote), script)

    def test_database(self) -> None:
        """
        A database has the same outcomes as an embedded engine for any script.

        `ASCIID_DATABASE_SCRIPTS` is how many scripts there are, of about 40 commands.
        """
        clean_database()
        settled = settings(
            max_examples=int(os.environ.get(SCRIPTS, "6")),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )

        @settled
        @given(scripts)
        def compare(script: Script) -> None:
            self.compare((DrivenLMDB, DrivenPostgreSQL), script)

        compare()

    def compare(self, kinds: Sequence[type[Any]], script: Script) -> None:
        """Check that engines of those kinds have the same outcomes."""
        paths = [self.mktemp() for _ in kinds]
        players = [
            Player(kind(path, pending=LIMITS))
            for kind, path in zip(kinds, paths, strict=True)
        ]
        for player in players:
            player.driven.start()
        try:
            for name, arguments in script:
                first, *others = [
                    self.play(player, name, arguments) for player in players
                ]
                for other in others:
                    self.assertEqual(other, first, (name, arguments))
                state, *states = [player.state() for player in players]
                for other in states:
                    self.assertEqual(other, state, (name, arguments))
        finally:
            for player, path in zip(players, paths, strict=True):
                player.driven.stop()
                self.assertEqual(faults_in(Path(path)), [])
                shutil.rmtree(path, ignore_errors=True)
