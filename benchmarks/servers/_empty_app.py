"""A Klein app that reads a small JSON body and answers 201, empty."""

from __future__ import annotations

import json

from klein import Klein

app = Klein()


@app.route("/image", methods=["POST"])
def register(request) -> bytes:  # noqa: ANN001 - Klein's own way
    """Read the body and keep nothing."""
    json.loads(request.content.read())
    request.setResponseCode(201)
    return b""
