"""
The contract of the service: an OpenAPI 3.1 document.

Its source is ``openapi.json`` beside this module, with two members that are not served:
the responses in ``x-every-operation`` are added to each operation without its own for
that status, and the header fields in ``x-every-response`` to each response.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from asciid import __version__
from asciid.api._document import Document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.net.body_limits import InputLimits

__all__ = ["METHODS", "contract_document", "load_contract", "served_contract"]

METHODS = ("get", "head", "post", "put", "delete", "options")
"""The members of an OpenAPI path that are operations."""

_UNAUTHORIZED = "401"
_EDIT_KEY: dict[str, list[str]] = {"editKey": []}


def load_contract(limits: InputLimits) -> dict[str, Any]:
    """Return the full OpenAPI document, with `limits` in its schemas."""
    source = files("asciid.api").joinpath("openapi.json").read_bytes()
    contract: dict[str, Any] = msgspec.json.decode(source)
    contract["info"]["version"] = __version__
    for schema, limit, value in (
        ("ImageSize", "maximum", limits.max_image_size),
        ("Image", "maxLength", limits.max_image_size),
        ("ChunkSize", "maximum", limits.max_chunk_size),
        ("ChunkText", "maxLength", limits.max_chunk_size),
    ):
        contract["components"]["schemas"][schema][limit] = value
    shared_responses = contract.pop("x-every-operation")["responses"]
    shared_headers = contract.pop("x-every-response")["headers"]
    for operation in _operations(contract):
        responses = {**shared_responses, **operation["responses"]}
        operation["responses"] = dict(sorted(responses.items()))
    for response in _responses(contract):
        response["headers"] = {**shared_headers, **response.get("headers", {})}
    return contract


def served_contract(
    limits: InputLimits, *, metrics: bool, tokens: bool
) -> dict[str, Any]:
    """
    Return the parts of `load_contract` that apply to a service.

    `metrics`: whether it has ``/metrics``; `tokens`: whether it requires them.
    """
    contract = load_contract(limits)
    if not metrics:
        del contract["paths"]["/metrics"]
    if not tokens:
        for operation in _operations(contract):
            schemes = operation.pop("security", ())
            if _EDIT_KEY in schemes:
                operation["security"] = [_EDIT_KEY]
            operation["responses"].pop(_UNAUTHORIZED, None)
        del contract["components"]["securitySchemes"]["token"]
        del contract["components"]["responses"]["Unauthorized"]
    return contract


@lru_cache(maxsize=4)
def contract_document(limits: InputLimits, *, metrics: bool, tokens: bool) -> Document:
    """Return `served_contract` as JSON; the last ones are kept."""
    contract = served_contract(limits, metrics=metrics, tokens=tokens)
    return Document(msgspec.json.encode(contract), b"application/json")


def _operations(contract: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in contract["paths"].values():
        yield from (path[method] for method in METHODS if method in path)


def _responses(contract: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from contract["components"]["responses"].values()
    for operation in _operations(contract):
        for response in operation["responses"].values():
            if "$ref" not in response:
                yield response
