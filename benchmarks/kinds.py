"""The requests of each kind, to measure the kinds apart."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from script import Image, Request, art_of, exercise, get, put, status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIX = "exercise"
"""Each kind of the exercise as often as it occurs there: 5 requests an image."""

REGISTER = "register"
CHUNK = "chunk"
LAST_CHUNK = "last chunk"
COLD_GET = "cold GET"
HOT_GET = "hot GET"
NOT_MODIFIED = "304"
STATUS = "status"
PUT = "PUT"
NOT_FOUND = "404"

KINDS = (
    *(REGISTER, CHUNK, LAST_CHUNK, HOT_GET, COLD_GET),
    *(NOT_MODIFIED, STATUS, PUT, NOT_FOUND),
)
"""In the order of the table."""


class Sizes(NamedTuple):
    """How many images are used of each kind, one after the other."""

    warm_up: int
    """Not measured."""
    smaller: int
    larger: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def difference(self) -> int:
        """Images of the larger load minus those of the smaller one."""
        return self.larger - self.smaller

    def parts(self, images: list[Image]) -> Iterator[list[Image]]:
        """Split as many images as these are."""
        begin = 0
        for size in self:
            yield images[begin : begin + size]
            begin += size


class Load(NamedTuple):
    """The requests of one kind."""

    kind: str
    parts: tuple[list[Image], ...]
    """Warm-up, smaller and larger load; each image has the requests of this kind."""
    requests: int
    """Requests that the larger load has more."""


def _load(kind: str, images: Iterable[Image], sizes: Sizes) -> Load:
    parts = tuple(sizes.parts(list(images)))
    _, smaller, larger = (
        sum(len(step) for image in part for step in image) for part in parts
    )
    return Load(kind, parts, larger - smaller)


def stored(sizes: Sizes) -> list[Image]:
    """
    Return uploads of the images that `loads` downloads.

    The server must have carried them out and been restarted: its cache is empty.
    """
    return [image[:2] for image in exercise(sizes.total, seed=11)]


def loads(sizes: Sizes) -> Iterator[Load]:
    """Return the loads, to be sent in this order to one server."""
    downloads = [image[2][0] for image in exercise(sizes.total, seed=11)]
    yield _load(COLD_GET, ([[request]] for request in downloads), sizes)
    yield _load(HOT_GET, ([[request]] for request in downloads), sizes)
    yield _load(NOT_MODIFIED, ([[_revalidate(each)]] for each in downloads), sizes)
    rng = random.Random(12)
    unknown = (get(rng.randbytes(32).hex(), status=404) for _ in range(sizes.total))
    yield _load(NOT_FOUND, ([[request]] for request in unknown), sizes)
    uploads = list(exercise(sizes.total, seed=13))
    yield _load(REGISTER, ([image[0]] for image in uploads), sizes)
    yield _load(CHUNK, ([image[1][:-1]] for image in uploads), sizes)
    yield _load(STATUS, ([[_status(image)]] for image in uploads), sizes)
    yield _load(LAST_CHUNK, ([image[1][-1:]] for image in uploads), sizes)
    whole = (put(art) for art in art_of(sizes.total, seed=14))
    yield _load(PUT, ([[request]] for request in whole), sizes)
    yield _load(MIX, exercise(sizes.total, seed=15), sizes)


def _revalidate(download: Request) -> Request:
    digest = download.data.split()[1].rpartition(b"/")[2].decode("ascii")
    return get(digest, fields={"If-None-Match": f'"{digest}"'}, status=304)


def _status(upload: Image) -> Request:
    path = upload[1][0].data.split()[1].decode("ascii")
    return status(path.split("/")[2])
