"""Relations between the parts of a valid request, for schemathesis."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import schemathesis

if TYPE_CHECKING:
    from schemathesis import Case, HookContext


@schemathesis.hook
def before_call(
    context: HookContext,  # noqa: ARG001 - the hook's signature
    case: Case[Any],
    kwargs: dict[str, Any],  # noqa: ARG001 - likewise
) -> None:
    """Give a valid request the size and the hashes of its content."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    body: Any = case.body
    if isinstance(body, dict):
        # To JSON Schema 5.0 is an integer; in the contract it is not.
        for name, value in body.items():
            body[name] = int(value) if isinstance(value, float) else value
    digest = case.headers.pop("Content-Digest", None)
    match case.operation.definition.raw["operationId"]:
        case "add_chunk":
            body["size"] = len(body["data"].encode())
        case "upload":
            hashed = sha256(body.encode())
            case.path_parameters["sha256"] = hashed.hexdigest()
            if digest is not None:
                encoded = b64encode(hashed.digest()).decode()
                case.headers["Content-Digest"] = f"sha-256=:{encoded}:"
