"""How much memory a process takes, and a client that uploads very many images."""

from __future__ import annotations

import json
import selectors
import socket
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Memory", "upload_many"]

_CONNECTIONS = 64
_PATIENCE = 90


@frozen
class Memory:
    """Resident memory of a process, in MiB."""

    anonymous: float
    file: float
    """Pages of mapped files, which the system can take back at any time."""

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Return what `pid` has now."""
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in text.splitlines())
        anonymous, file = (
            int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")
        )
        return cls(anonymous, file)

    def __str__(self) -> str:
        return f"{self.anonymous:.0f}+{self.file:.0f}"


def _post(target: str, document: object) -> bytes:
    body = json.dumps(document)
    return (
        f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json"
        f"\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _requests(numbers: Iterator[int]) -> Iterator[bytes]:
    """Make the requests that register and upload images of 400 bytes."""
    for number in numbers:
        data = f"{number:08}" * 50
        digest = sha256(data.encode()).hexdigest()
        size = len(data)
        yield _post("/image", {"sha256": digest, "size": size, "chunk_size": size})
        yield _post(f"/image/{digest}/chunks", {"id": 0, "size": size, "data": data})


@define(eq=False)
class _Client:
    """One connection, with one request under way."""

    socket: socket.socket
    _requests: Iterator[bytes]
    _received: bytes = field(init=False, default=b"")

    def send(self) -> bool:
        """Send the next request; return whether there was one."""
        request = next(self._requests, None)
        if request is not None:
            self.socket.sendall(request)
        return request is not None

    def receive(self) -> bool:
        """Read; return whether the response, which must be 201, is complete."""
        self._received += self.socket.recv(2**16)
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length):
            return False
        if not head.startswith(b"HTTP/1.1 201 "):
            raise AssertionError(self._received)
        self._received = b""
        return True


def upload_many(port: int, numbers: range) -> None:
    """Register and upload the small images of these numbers, all different."""
    remaining = iter(numbers)
    with selectors.DefaultSelector() as selector:
        for _ in range(_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), _PATIENCE)
            client = _Client(connection, _requests(remaining))
            if client.send():
                selector.register(connection, selectors.EVENT_READ, client)
            else:
                connection.close()
        while selector.get_map():
            ready = selector.select(_PATIENCE)
            if not ready:
                message = "no response"
                raise TimeoutError(message)
            for key, _ in ready:
                client = key.data
                if client.receive() and not client.send():
                    selector.unregister(client.socket)
                    client.socket.close()
