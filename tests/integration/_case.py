"""Base of the tests with real daemons: a test case and a client."""

from __future__ import annotations

import json
import random
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from asciid.model import ImageSpec
from tests.integration._daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "Art", "DaemonTestCase"]


@frozen
class Answer:
    """A response, with its body."""

    status: int
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document in the body."""
        document = json.loads(self.body)
        if self.headers["content-type"] != "application/problem+json":
            raise AssertionError(self.headers["content-type"])
        return dict(document)


@frozen
class Art:
    """An image and how it is cut; ASCII, so that any cut falls between characters."""

    text: str
    chunk_size: int

    @classmethod
    def random(cls, size: int = 700, chunk_size: int = 256) -> Art:
        """Return an image that no other test has."""
        return cls("".join(random.choices("/\\_|-(). o\n", k=size)), chunk_size)

    @property
    def spec(self) -> ImageSpec:
        """The registration's members."""
        data = self.text.encode()
        return ImageSpec(sha256(data).hexdigest(), len(data), self.chunk_size)

    @property
    def ids(self) -> list[int]:
        """The ids of its chunks, in random order."""
        chunks = self.spec.chunks
        return random.sample(range(chunks), chunks)

    @property
    def registration(self) -> dict[str, Any]:
        """The body that registers it."""
        spec = self.spec
        return {
            "sha256": spec.sha256,
            "size": spec.size,
            "chunk_size": spec.chunk_size,
        }

    def chunk(self, chunk_id: int) -> dict[str, Any]:
        """Return the body that uploads one chunk."""
        data = self.text[chunk_id * self.chunk_size :][: self.chunk_size]
        return {"id": chunk_id, "size": len(data), "data": data}


class DaemonTestCase(TestCase):
    """Starts daemons and speaks to them with treq."""

    timeout = 120

    def setUp(self) -> None:
        """Make an empty directory and a client."""
        from twisted.internet import reactor  # noqa: PLC0415 - tests run on it

        self.reactor: Any = reactor
        self.directory = Path(self.mktemp()).resolve()
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = 16
        self.addCleanup(pool.closeCachedConnections)
        self.client = HTTPClient(Agent(reactor, pool=pool))

    def daemon(self, *options: str, **fields: Any) -> Daemon:  # noqa: ANN401 - Daemon's
        """Start a daemon that does not outlive the test."""
        daemon = Daemon(self.directory, options, **fields)
        self.addCleanup(daemon.kill)
        return daemon.start()

    async def sleep(self, seconds: float) -> None:
        """Let the reactor run."""
        await deferLater(self.reactor, seconds)

    async def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        content_type: str | None = "application/json",
    ) -> Answer:
        """Send a request and read the whole response."""
        headers = Headers()
        if content_type is not None:
            headers.setRawHeaders("Content-Type", [content_type])
        response = await self.client.request(method, url, data=body, headers=headers)
        fields = {
            name.decode().lower(): values[-1].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        return Answer(response.code, fields, await response.content())

    async def post(self, url: str, document: object) -> Answer:
        """Send JSON."""
        return await self.request("POST", url, json.dumps(document).encode())

    async def register(self, daemon: Daemon, art: Art) -> Answer:
        """Register an image."""
        return await self.post(f"{daemon.url}/image", art.registration)

    async def upload(self, daemon: Daemon, art: Art, chunk_id: int) -> Answer:
        """Upload one chunk."""
        url = f"{daemon.url}/image/{art.spec.sha256}/chunks"
        return await self.post(url, art.chunk(chunk_id))

    async def download(self, daemon: Daemon, art: Art) -> Answer:
        """Download an image."""
        url = f"{daemon.url}/image/{art.spec.sha256}"
        return await self.request("GET", url, content_type=None)

    async def upload_all(self, daemon: Daemon, art: Art) -> None:
        """Register an image and upload all of it."""
        answers = [await self.register(daemon, art)]
        answers += [await self.upload(daemon, art, chunk_id) for chunk_id in art.ids]
        self.assertEqual({answer.status for answer in answers}, {201})

    async def assert_downloads(self, daemon: Daemon, art: Art) -> None:
        """Check that the image is served byte for byte."""
        answer = await self.download(daemon, art)
        self.assertEqual((answer.status, answer.body), (200, art.text.encode()))

    async def assert_stored(self, daemon: Daemon, art: Art, chunk_id: int) -> None:
        """Check that the chunk is stored: a repetition is answered as such."""
        answer = await self.upload(daemon, art, chunk_id)
        self.assertEqual(answer.status, 409, f"chunk {chunk_id}: {answer.body!r}")
        self.assertTrue(answer.problem["identical"])
