"""Requests and responses as they are on the wire."""

from __future__ import annotations

from email.parser import BytesHeaderParser
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.web.server import Site
from zope.interface import implementer

from asciid.model import ImageSpec
from asciid.store import IImageReader
from asciid.testing import MemoryStore
from tests.api._support import Client, make_api, make_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twisted.internet.interfaces import IProtocolFactory
    from twisted.trial.unittest import SynchronousTestCase

    from asciid.api import ImageAPI
    from asciid.http import Limits
    from asciid.store import IImageStore

    Base = SynchronousTestCase
else:
    Base = object

COMPLETED = 1_700_000_000.75
LAST_MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"


@frozen
class RawAnswer:
    """A response, its fields by their names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def parse_response(data: bytes) -> RawAnswer:
    """Parse a response; no field may be repeated."""
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, _, lines = head.partition(b"\r\n")
    message = BytesHeaderParser().parsebytes(lines)
    fields = {name.lower(): str(value) for name, value in message.items()}
    if len(fields) != len(message.items()):
        raise AssertionError(head)
    length = fields.get("content-length")
    if body and length is not None and int(length) != len(body):
        raise AssertionError(head)
    return RawAnswer(int(status_line.split()[1]), fields, body)


@implementer(IImageReader)
class OneImage(MemoryStore):
    """A store of one image, and that image's reader; `hot` is being in memory."""

    def __init__(self, data: bytes, *, hot: bool = True) -> None:
        super().__init__()
        self.sha256 = sha256(data).hexdigest()
        self.spec = ImageSpec(self.sha256, len(data), 1_000)
        self.completed = COMPLETED
        self.data = data
        self.content = data if hot else None
        self.kept: object = None
        self.reads: list[tuple[int, int]] = []
        self.batches: list[int] = []

    def open(self, sha256: str) -> Deferred[IImageReader]:
        """Return itself."""
        return succeed(self) if sha256 == self.sha256 else super().open(sha256)

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """Read."""
        self.reads.append((start, end))
        return succeed(self.data[start:end])

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """Read several."""
        self.batches.append(len(ranges))

        async def read_all() -> Sequence[bytes]:
            return [await self.read(*each) for each in ranges]

        return Deferred.fromCoroutine(read_all())


class RawCase(Base):
    """Sends requests with any header fields; mix in one of the stacks."""

    api_options: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return the HTTP factory for `api`."""
        raise NotImplementedError

    def serve(self, store: IImageStore) -> None:
        """Serve `store` from now on."""
        options = {"max_image_size": 1_000_000, "max_chunk_size": 10_000}
        api = make_api(store, **{**options, **self.api_options})
        self.client = Client(self.factory(api))

    def ask(self, method: str, path: str, *lines: str, body: str = "") -> RawAnswer:
        """Send a request with these header lines on a connection of its own."""
        head = [f"{method} {path} HTTP/1.1", "Host: asciid.test", *lines]
        if body:
            head.append(
                f"Content-Length: {len(body.encode('utf-8', 'surrogateescape'))}"
            )
        return parse_response(self.client.raw("\r\n".join([*head, "", body])))

    def assert_problem(self, answer: RawAnswer, status: int, name: str) -> None:
        """Check that `answer` is a problem of that status and type."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.fields["content-type"], "application/problem+json")
        self.assertIn(f'"/problems/{name}"'.encode(), answer.body)

    def assert_fields(self, answer: RawAnswer, names: Iterable[str]) -> None:
        """Check that a response has exactly these fields and the common ones."""
        all_have = {"date", "server", "x-request-id"}
        self.assertEqual(set(answer.fields) - all_have, set(names))


class OnSite:
    """Stock `twisted.web.server.Site`."""

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return a stock Site."""
        return Site(api.app.resource(), reactor=MemoryReactorClock())


class OnAsciid:
    """The HTTP server that the daemon uses."""

    limits: Limits | None = None

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return the factory that the daemon uses."""
        return make_server(api, MemoryReactorClock(), self.limits)
