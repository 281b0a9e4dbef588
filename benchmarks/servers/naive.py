"""
The naive reading of the design, written as one would write it in an afternoon.

Stock Klein under stock twisted.web; every operation is its own trip to a
thread; an image is a file that its chunks are written into and that is renamed
once it is whole and its hash is right.  Nothing is synced.

    naive.py PORT STORAGE
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256 as sha256_of
from pathlib import Path
from threading import Lock

from _quiet import serve
from klein import Klein
from twisted.internet.threads import deferToThread


class Upload:
    """An image that is registered and not complete."""

    def __init__(self, path: Path, size: int, chunk_size: int) -> None:
        self.path = path
        self.chunk_size = chunk_size
        self.missing = set(range(-(-size // chunk_size)))
        self.lock = Lock()


class NaiveImages:
    """Images in a directory."""

    app = Klein()

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self._uploads: dict[str, Upload] = {}

    @app.route("/image", methods=["POST"])
    async def register(self, request):  # noqa: ANN001, ANN201 - Klein's own way
        """Register an image."""
        body = json.loads(request.content.read())
        registered = await deferToThread(
            self._register, body["sha256"], body["size"], body["chunk_size"]
        )
        request.setResponseCode(201 if registered else 409)
        return b""

    @app.route("/image/<sha256>/chunks", methods=["POST"])
    async def add_chunk(self, request, sha256):  # noqa: ANN001, ANN201 - likewise
        """Store a chunk."""
        body = json.loads(request.content.read())
        upload = self._uploads.get(sha256)
        if upload is None:
            request.setResponseCode(404)
            return b""
        data = body["data"].encode("utf-8")
        status = await deferToThread(self._write, sha256, upload, body["id"], data)
        request.setResponseCode(status)
        return b""

    @app.route("/image/<sha256>", methods=["GET"])
    async def download(self, request, sha256):  # noqa: ANN001, ANN201 - likewise
        """Send a complete image."""
        try:
            content = await deferToThread((self._storage / sha256).read_bytes)
        except FileNotFoundError:
            request.setResponseCode(404)
            return b""
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return content

    def _register(self, sha256: str, size: int, chunk_size: int) -> bool:
        path = self._storage / f"{sha256}.part"
        if (self._storage / sha256).exists():
            return False
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        self._uploads[sha256] = Upload(path, size, chunk_size)
        return True

    def _write(self, sha256: str, upload: Upload, chunk_id: int, data: bytes) -> int:
        with upload.lock:
            if chunk_id not in upload.missing:
                return 409
            with upload.path.open("r+b") as file:
                file.seek(chunk_id * upload.chunk_size)
                file.write(data)
            upload.missing.remove(chunk_id)
            if upload.missing:
                return 201
            del self._uploads[sha256]
            if sha256_of(upload.path.read_bytes()).hexdigest() != sha256:
                upload.path.unlink()
                return 422
            upload.path.rename(self._storage / sha256)
            return 201


if __name__ == "__main__":
    serve(NaiveImages(Path(sys.argv[2])).app.resource())
