"""Uploads without end, and a record of the acknowledged writes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from tests.integration._case import Art

if TYPE_CHECKING:
    from tests.integration._case import DaemonTestCase
    from tests.integration._daemon import Daemon

__all__ = ["Load"]

_GONE = (ConnectError, ConnectionClosed, RequestTransmissionFailed, ResponseFailed)
"""How a request ends when the daemon has."""

_PAUSE = 0.02
"""Seconds between the images of a client."""


@define(eq=False)
class _Upload:
    """An image and its acknowledged writes."""

    art: Art
    chunks: list[int] = field(factory=list)
    complete: bool = False


@define(eq=False)
class Load:
    """Several clients that upload one image after another to one daemon."""

    case: DaemonTestCase
    daemon: Daemon
    clients: int = 8
    uploads: list[_Upload] = field(init=False, factory=list)
    """Those whose registration was acknowledged."""
    _stopping: bool = field(init=False, default=False)

    @property
    def acknowledged(self) -> int:
        """How many requests were answered with 201."""
        return sum(1 + len(upload.chunks) for upload in self.uploads)

    def start(self) -> Deferred[list[None]]:
        """Start; the Deferred fires when the daemon has exited."""
        return gatherResults(
            [Deferred.fromCoroutine(self._client()) for _ in range(self.clients)]
        )

    async def _client(self) -> None:
        try:
            while True:
                await self._upload_one()
                # Leaves the processor to what is tested under load.
                await self.case.sleep(_PAUSE)
        except _GONE:
            return

    async def _upload_one(self) -> None:
        upload = _Upload(Art.random(random.randint(20, 1500)))
        answer = await self.case.register(self.daemon, upload.art)
        if answer.status == 503:  # it is stopping, and will exit soon
            return
        self.case.assertEqual(answer.status, 201)
        self.uploads.append(upload)
        for chunk_id in upload.art.ids:
            answer = await self.case.upload(self.daemon, upload.art, chunk_id)
            if answer.status == 503:
                return
            self.case.assertEqual(answer.status, 201)
            upload.chunks.append(chunk_id)
        upload.complete = True

    async def check(self, daemon: Daemon) -> None:
        """Check that `daemon` has all that was acknowledged, and nothing half."""
        await gatherResults(
            [
                Deferred.fromCoroutine(self._check_some(daemon, self.uploads[i::8]))
                for i in range(8)
            ]
        )

    async def _check_some(self, daemon: Daemon, uploads: list[_Upload]) -> None:
        for upload in uploads:
            answer = await self.case.register(daemon, upload.art)
            self.case.assertEqual(answer.status, 409)
            for chunk_id in upload.chunks:
                await self.case.assert_stored(daemon, upload.art, chunk_id)
            answer = await self.case.download(daemon, upload.art)
            if answer.status == 200 or upload.complete:
                self.case.assertEqual(answer.body, upload.art.text.encode())
            else:
                self.case.assertEqual(answer.status, 404)
