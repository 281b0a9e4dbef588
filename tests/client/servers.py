"""A right server and several wrong ones, in memory, for a simulation to meet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

__all__ = ["Server"]


class Server:
    """
    Hosts images as the base protocol says; subclasses and patches get it wrong.

    `images` holds the chunks received by hash, `order` the ids in their order,
    `authorizations` the last Authorization of each method.
    """

    app = Klein()

    def __init__(self) -> None:
        self.images: dict[str, dict[int, str]] = {}
        self.order: list[int] = []
        self.registered: list[Any] = []
        self.authorizations: dict[str, str | None] = {}
        self.duplicate = 409
        self.chunk_status = 201
        self.repetition = 409
        self.location = True
        self.media_type = "text/plain; charset=utf-8"
        self.tail = ""
        self.drop = ""
        self.problem = b'{"detail": "Too bad."}'

    @app.route("/image", methods=["POST"])
    def register(self, request: IRequest) -> bytes | Deferred[bytes]:
        """Register an image, or refuse to do so again."""
        self.note(request)
        if self.drop == "register":
            return self.lose(request)
        document = json.load(request.content)
        self.registered.append(document)
        if document["sha256"] in self.images:
            request.setResponseCode(self.duplicate)
            return self.problem
        self.images[document["sha256"]] = {}
        if self.location:
            request.setHeader("Location", f"/image/{document['sha256']}")
        request.setResponseCode(201)
        return b""

    @app.route("/image/<sha256>/chunks", methods=["POST"])
    def add_chunk(self, request: IRequest, sha256: str) -> bytes | Deferred[bytes]:
        """Keep a chunk whose size is right."""
        self.note(request)
        if self.drop == "chunk":
            return self.lose(request)
        document = json.load(request.content)
        self.order.append(document["id"])
        if document["id"] in self.images[sha256]:
            request.setResponseCode(self.repetition)
            return self.problem
        right = len(document["data"].encode()) == document["size"]
        request.setResponseCode(self.chunk_status if right else 400)
        self.images[sha256][document["id"]] = document["data"]
        return b"" if self.chunk_status == 201 else self.problem

    @app.route("/image/<sha256>")
    def download(self, request: IRequest, sha256: str) -> bytes | Deferred[bytes]:
        """Return the chunks in order."""
        self.note(request)
        if self.drop == "download":
            return self.lose(request)
        request.setHeader("Content-Type", self.media_type)
        chunks = self.images[sha256]
        text = "".join(chunks[chunk_id] for chunk_id in sorted(chunks))
        return (text + self.tail).encode()

    def note(self, request: IRequest) -> None:
        """Record the token of the request, by method."""
        method = request.method.decode()
        self.authorizations[method] = request.getHeader("Authorization")

    def lose(self, request: Any) -> Deferred[bytes]:  # noqa: ANN401 - IRequest hides it
        """Drop the connection instead of an answer."""
        request.transport.loseConnection()
        return Deferred()
