"""Random contents of storages, and all that can be asked about them."""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any, Protocol

from hypothesis import strategies as st
from msgspec.structs import replace

from asciid.errors import AsciidError
from asciid.model import About, AboutRecord, ListedImage, NewImage
from asciid.store.operations import (
    AddChunk,
    AddPieces,
    Adopt,
    Begin,
    BlockHash,
    Expired,
    Put,
    Register,
    Remove,
    RemoveExpired,
    SetAbout,
    UnblockHash,
)
from asciid.store.queries import (
    FindComplete,
    FindExpired,
    FindPrefix,
    Found,
    IsComplete,
    ListBlocked,
    ListImages,
    MeasureUsage,
    ReadAbout,
    ReadRanges,
    ReadStatus,
)
from asciid.store.rules import PIECE
from tests.engines._operations import pieces_of
from tests.store._support import chunk_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.engines._driven import Driven

DATA = [
    *(b"", b"x", b"/\\_/\\\n( o.o )\n", bytes(range(40)), b"=" * 999),
    *(b"ab" * (PIECE // 2 + 9), bytes(range(256)) * 1200),
]
"""The bytes of all images that contents may have."""

KEY_HASH = sha256_of(b"an edit key").digest()

AGES = (-1, 0, 25, 75, 125, 10_000)
"""Seconds; the waits are multiples of 50, or too short to matter."""

_abouts = st.builds(
    About,
    title=st.sampled_from(["", "Käse"]),
    tags=st.sampled_from([(), ("cat", "night")]),
    listed=st.booleans(),
    expires=st.sampled_from([0, 1_000_050_000, 2_000_000_000_000]),
)
_new = st.none() | st.builds(
    NewImage,
    about=st.none() | _abouts,
    key_hash=st.sampled_from([b"", KEY_HASH]),
    charset=st.sampled_from(["", "cp437"]),
)
_data = st.sampled_from(DATA)

_happened = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _data, _new, st.booleans()),
        st.tuples(st.just("stage"), _data, _new, st.booleans()),
        st.tuples(
            st.just("chunks"),
            _data,
            _new,
            st.sampled_from([7, 300, PIECE * 2]),
            st.integers(0, 2**9),
        ),
        st.tuples(st.just("about"), _data, _abouts),
        st.tuples(st.just("remove"), _data),
        st.tuples(st.just("expire"), _data),
        st.tuples(st.just("block"), _data, st.sampled_from(["spam", "Köln 5/26"])),
        st.tuples(st.just("unblock"), _data),
        st.tuples(st.just("wait"), st.sampled_from([0.001, 50.0])),
    ),
    max_size=20,
)


def _after_uploads(
    order: list[bytes], happened: list[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Have images become complete within one millisecond, and others over time."""
    slow, pending, expired, blocked, *_ = order
    others = order[2:]
    return [
        ("chunks", slow, None, 7, 0b1),
        ("chunks", pending, None, 7, 0b1),
        ("wait", 50.0),
        *(("put", data, None, True) for data in others),
        ("chunks", slow, None, 7, 0b111_111_111),
        ("chunks", pending, None, 7, 0b10),
        ("expire", expired),
        ("block", blocked, "spam"),
        *happened,
    ]


contents = st.builds(_after_uploads, st.permutations(DATA), _happened)
"""What happened in a storage, in order."""


def fill(driven: Driven, happened: Sequence[tuple[Any, ...]]) -> None:
    """Have it happen in the storage of a started engine."""
    for name, *arguments in happened:
        _DO[name](driven, *arguments)


def seconds_of(happened: Sequence[tuple[Any, ...]]) -> float:
    """Return how long that took."""
    return float(sum(one[1] for one in happened if one[0] == "wait"))


class Asked(Protocol):
    """A storage that can be asked."""

    def ask(self, query: Any) -> Any:  # noqa: ANN401 - any query
        """Return the answer to a query."""


def answers(driven: Asked) -> dict[Any, Any]:
    """Return the answers to all queries, without the numbers of uploads."""
    found: dict[Any, Any] = {}
    for data in DATA:
        sha256 = spec_of(data).sha256
        number = None
        complete = _ask(driven, FindComplete(sha256, PIECE))
        if isinstance(complete, Found):
            image, number = complete.image, complete.image.number
            ranges = [(0, len(data)), (len(data) // 3, len(data) // 2)]
            found["bytes", sha256] = driven.ask(ReadRanges(image, ranges))
            complete = image.spec, image.completed, complete.content
        found["complete", sha256] = complete
        found["is complete", sha256] = _ask(driven, IsComplete(sha256))
        for lifetime in (0, 100):
            status = _ask(driven, ReadStatus(sha256, lifetime))
            found["status", sha256, lifetime] = status
        about = _ask(driven, ReadAbout(sha256))
        found["about", sha256] = _about(about, number)
        found["prefix", sha256] = driven.ask(FindPrefix(sha256[:4]))
    found["listing"] = [_listed(one) for one in _listing(driven)]
    found["blocked"] = driven.ask(ListBlocked("", 1_000))
    usage = driven.ask(MeasureUsage())
    found["usage"] = usage.images, usage.pending, usage.listed, usage.blocked
    for kind in ("uploads", "images", "gone", "dated"):
        for age in AGES:
            page = driven.ask(FindExpired(kind, age, b""))
            found[kind, age] = sorted(one.sha256 for one in page.found)
    return found


def _ask(driven: Asked, query: Any) -> Any:  # noqa: ANN401 - any query
    try:
        return driven.ask(query)
    except AsciidError as error:
        return type(error), str(error)


def _listing(driven: Asked) -> list[ListedImage]:
    """Return the listing, read two by two."""
    found: list[ListedImage] = []
    while page := driven.ask(ListImages(found[-1].cursor if found else None, 2)):
        found.extend(page)
    return found


def _listed(image: ListedImage) -> Any:  # noqa: ANN401 - to compare
    return image.spec, image.completed, _about(image.record, image.number)


def _about(about: Any, number: int | None) -> Any:  # noqa: ANN401 - to compare
    """Return a record; without a stored one the revision is the upload's number."""
    if isinstance(about, AboutRecord):
        default = AboutRecord(About(), about.revision)
        if about == default and number in {None, about.revision}:
            return replace(about, revision=0)
    return about


def _put(driven: Driven, data: bytes, new: NewImage | None, *listed: bool) -> None:
    driven.apply(Put(spec_of(data).sha256, data, new, *listed))


def _stage(driven: Driven, data: bytes, new: NewImage | None, *listed: bool) -> None:
    (number,) = driven.apply(Begin())
    driven.apply(AddPieces(number, 0, pieces_of(data)))
    driven.apply(Adopt(number, spec_of(data).sha256, len(data), new, *listed))


def _chunks(
    driven: Driven, data: bytes, new: NewImage | None, size: int, some: int
) -> None:
    """Register an image and send those of its chunks that bits of `some` name."""
    # Not too many chunks of the larger ones.
    spec = spec_of(data, max(size, len(data) // 12))
    driven.apply(Register(spec, "", new))
    for i in range(spec.chunks):
        if some >> i % 9 & 1:
            # The last chunk of a large one would have to be verified by a store.
            driven.apply(AddChunk(spec.sha256, i, chunk_of(data, spec, i)))


def _expire(driven: Driven, data: bytes) -> None:
    """Have a complete image expire."""
    sha256 = spec_of(data).sha256
    found = _ask(driven, FindComplete(sha256, 0))
    if isinstance(found, Found):
        old = Expired(found.image.number, sha256)
        driven.apply(RemoveExpired("images", -1, [old]))


_DO: dict[str, Callable[..., object]] = {
    "put": _put,
    "stage": _stage,
    "chunks": _chunks,
    "expire": _expire,
    "about": lambda driven, data, about: driven.apply(
        SetAbout(spec_of(data).sha256, about)
    ),
    "remove": lambda driven, data: driven.apply(Remove(spec_of(data).sha256)),
    "block": lambda driven, data, why: driven.apply(
        BlockHash(spec_of(data).sha256, why)
    ),
    "unblock": lambda driven, data: driven.apply(UnblockHash(spec_of(data).sha256)),
    "wait": lambda driven, seconds: driven.pass_time(seconds),
}
