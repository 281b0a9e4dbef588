"""Holds responses to the served contract."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from tests.api._raw import RawAnswer

__all__ = ["Contract"]

_HTTP = {
    "connection",
    "content-length",
    "content-type",
    "date",
    "server",
    "transfer-encoding",
}
"""Fields that OpenAPI leaves to HTTP, or says in other ways."""


class Contract:
    """An OpenAPI document, whose nodes are named by JSON pointers."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Any = Registry().with_resource("urn:contract", resource)

    def node(self, pointer: str) -> Any:  # noqa: ANN401 - JSON
        """Return a node; raise `KeyError` if there is none."""
        node: Any = self.document
        for key in pointer.split("/")[1:]:
            name = key.replace("~1", "/").replace("~0", "~")
            node = node[int(name) if isinstance(node, list) else name]
        return node

    def follow(self, pointer: str) -> str:
        """Return where a reference at `pointer` leads, or else `pointer`."""
        reference = self.node(pointer).get("$ref")
        return pointer if reference is None else reference.removeprefix("#")

    def validate(self, pointer: str, value: object) -> None:
        """Raise `ValidationError` unless `value` fits the schema at `pointer`."""
        schema = {"$ref": f"urn:contract#{pointer}"}
        Draft202012Validator(schema, registry=self._registry).validate(value)

    def operation(self, method: str, path: str) -> str:
        """
        Return the pointer to the operation that a request is.

        If its path has no such method, it is any operation of that path.
        """
        for template, operations in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\{.*?\}", "[^/]+", template), path):
                name = method.lower() if method.lower() in operations else "options"
                return f"/paths/{template.replace('/', '~1')}/{name}"
        message = f"the contract has no path {path}"
        raise AssertionError(message)

    def check(self, method: str, path: str, answer: RawAnswer, body: object) -> None:
        """Raise unless `answer`, with that `body`, is announced for the request."""
        operation = self.operation(method, path)
        response = self.follow(f"{operation}/responses/{answer.status}")
        announced = self.node(response)
        self._check_fields(f"{response}/headers", announced["headers"], answer.fields)
        content = announced.get("content", {})
        if method == "HEAD" or not content:
            if answer.body:
                message = f"{answer.status} to {method} has a body: {answer.body!r}"
                raise AssertionError(message)
            return
        media_type = answer.fields["content-type"].partition(";")[0]
        if media_type not in content:
            message = f"{answer.status} to {method} {path} may not be {media_type}"
            raise AssertionError(message)
        escaped = media_type.replace("/", "~1")
        self.validate(f"{response}/content/{escaped}/schema", body)

    def _check_fields(
        self, pointer: str, announced: dict[str, Any], fields: dict[str, str]
    ) -> None:
        unknown = set(fields) - {name.lower() for name in announced} - _HTTP
        if unknown:
            message = f"{pointer} does not have {sorted(unknown)}"
            raise AssertionError(message)
        for name in announced:
            header = self.follow(f"{pointer}/{name}")
            value = fields.get(name.lower())
            if value is not None:
                is_number = self.node(header)["schema"].get("type") == "integer"
                self.validate(f"{header}/schema", int(value) if is_number else value)
            elif self.node(header).get("required"):
                message = f"{name} is missing from {fields}"
                raise AssertionError(message)
