"""An HTTP client that distinguishes complete responses from incomplete ones."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["Answer", "Connection", "GoneError", "HalfAnswerError"]

_PATIENCE = 90
"""Seconds without a response after which the test has failed."""


class GoneError(Exception):
    """The connection ended before the answer began."""


class HalfAnswerError(GoneError):
    """The connection ended within the answer."""


@frozen
class Answer:
    """A response, with its body."""

    status: int
    content_type: str
    body: bytes
    fields: Mapping[str, str] = field(factory=dict)
    """The header; names are in lower case."""

    @property
    def document(self) -> dict[str, Any]:
        """The JSON in the body."""
        return dict(json.loads(self.body))

    @property
    def is_problem(self) -> bool:
        """Whether it is a problem document with the same status."""
        return (
            self.content_type == "application/problem+json"
            and self.document["status"] == self.status
        )


@define(eq=False)
class Connection:
    """A blocking connection to a daemon on 127.0.0.1."""

    port: int
    timeout: float = _PATIENCE
    _socket: socket.socket | None = field(init=False, default=None)
    _received: bytes = field(init=False, default=b"")

    def __enter__(self) -> Self:
        """Return the connection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def post(self, target: str, document: object) -> Answer:
        """Send JSON."""
        body = json.dumps(document).encode()
        return self.request("POST", target, body, "application/json")

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str = "text/plain",
        **fields: str,
    ) -> Answer:
        """
        Send a request and read the whole answer.

        `fields` are further header fields, with underscores for hyphens.

        Errors: `GoneError`, `HalfAnswerError`, `TimeoutError`.
        """
        more = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._received = b""
        try:
            if self._socket is None:
                address = ("127.0.0.1", self.port)
                self._socket = socket.create_connection(address, self.timeout)
            self._socket.sendall(head.encode() + body)
            return self._read_answer()
        except (GoneError, TimeoutError):
            self.close()
            raise
        except OSError as error:
            self.close()
            raise (HalfAnswerError if self._received else GoneError) from error

    def _read_answer(self) -> Answer:
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, body = self._received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        fields = {name.lower(): value.strip() for name, value in pairs}
        length = int(fields.get("content-length", 0))
        start = len(self._received) - len(body)
        while len(self._received) < start + length:
            self._receive()
        if fields.get("connection") == "close":
            self.close()
        content_type = fields.get("content-type", "")
        body = self._received[start : start + length]
        return Answer(int(status.split()[1]), content_type, body, fields)

    def _receive(self) -> None:
        data = b"" if self._socket is None else self._socket.recv(2**18)
        if not data:
            raise HalfAnswerError if self._received else GoneError
        self._received += data
