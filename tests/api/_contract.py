"""Holds responses to the served contract, and the contract to responses."""

from __future__ import annotations

import json
import re
from copy import copy, deepcopy
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from asciid.api._contract import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator

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
"""Fields that OpenAPI does not describe, or describes in other ways."""

JSON = Any
"""A value as `json.loads` returns it."""

_ANY = object()
"""Stands for every value that a schema allows."""


def _is_moment(value: object) -> bool:
    # RFC 3339 requires an offset.
    return (
        not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None
    )


_FORMATS = FormatChecker(formats=())
_FORMATS.checks("date-time", raises=ValueError)(_is_moment)


class Contract:
    """
    An OpenAPI document, whose nodes are named by JSON pointers.

    Clients ignore members that they do not know, and so its schemas allow them.
    Here response bodies may have no member that it does not name.

    What `check` finds of the `documented_parts` is added to `seen`.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[str] = set()
        resource = Resource.from_contents(
            _closed(document), default_specification=DRAFT202012
        )
        self._registry: Any = Registry().with_resource("urn:contract", resource)
        source = files("asciid.api").joinpath("openapi.json").read_bytes()
        self._shared = json.loads(source)["x-every-response"]["headers"]
        self._nodes: dict[str, JSON] = {}
        self._patterns = {
            template: re.compile(re.sub(r"\{.*?\}", "[^/]+", template))
            for template in document["paths"]
        }
        self._valid: set[tuple[str, object]] = set()
        """Header fields, by pointers to their schemas, that need no further check."""

    def noting(self, seen: set[str]) -> Contract:
        """Return the same contract, which adds to `seen`."""
        other = copy(self)
        other.seen = seen
        return other

    def node(self, pointer: str) -> JSON:
        """Return a node; raises `KeyError` if it does not exist."""
        if pointer in self._nodes:
            return self._nodes[pointer]
        node: Any = self.document
        for key in pointer.split("/")[1:]:
            name = key.replace("~1", "/").replace("~0", "~")
            node = node[int(name) if isinstance(node, list) else name]
        self._nodes[pointer] = node
        return node

    def follow(self, pointer: str) -> str:
        """Return where a reference at `pointer` leads, or else `pointer`."""
        reference = self.node(pointer).get("$ref")
        return pointer if reference is None else reference.removeprefix("#")

    def validate(self, pointer: str, value: object) -> None:
        """Raise `ValidationError` unless `value` fits the schema at `pointer`."""
        schema = {"$ref": f"urn:contract#{pointer}"}
        Draft202012Validator(
            schema, registry=self._registry, format_checker=_FORMATS
        ).validate(value)

    def operation(self, method: str, path: str) -> str:
        """
        Return the pointer to the operation that a request is.

        If its path has no such method, it is any operation of that path.
        """
        paths = self.document["paths"]
        templates = self._templates(path)
        template = next(
            (each for each in templates if method.lower() in paths[each]), templates[0]
        )
        name = method.lower() if method.lower() in paths[template] else "options"
        return f"/paths/{template.replace('/', '~1')}/{name}"

    def methods(self, path: str) -> set[str]:
        """Return the methods of a path, in lower case."""
        paths = self.document["paths"]
        return {
            method
            for template in self._templates(path)
            for method in set(paths[template]) & set(METHODS)
        }

    def _templates(self, path: str) -> list[str]:
        """Return the paths of the document that a path matches, the best first."""
        path = path.partition("?")[0]
        templates = [
            template
            for template, pattern in self._patterns.items()
            if pattern.fullmatch(path)
        ]
        if not templates:
            message = f"the contract has no path {path}"
            raise AssertionError(message)
        # OpenAPI: concrete paths match before those with parameters.
        return sorted(templates, key=lambda template: template.count("{"))

    def check(self, method: str, path: str, answer: RawAnswer, body: object) -> None:
        """Raise unless `answer`, with that `body`, is announced for the request."""
        operation = self.operation(method, path)
        response = self.follow(f"{operation}/responses/{answer.status}")
        announced = self.node(response)
        self._check_fields(f"{response}/headers", announced["headers"], answer.fields)
        content = announced.get("content", {})
        media_type = answer.fields.get("content-type", "").partition(";")[0]
        if method == "HEAD" or not content:
            if answer.body:
                message = f"{answer.status} to {method} has a body: {answer.body!r}"
                raise AssertionError(message)
        elif media_type not in content:
            message = f"{answer.status} to {method} {path} may not be {media_type}"
            raise AssertionError(message)
        else:
            schema = f"{response}/content/{media_type.replace('/', '~1')}/schema"
            self.validate(schema, body)
            self.seen |= set(self._parts_of(schema, body))
        self.seen |= {
            self._header(response, name)
            for name in announced["headers"]
            if name.lower() in answer.fields
        }
        path_item = operation.rpartition("/")[0]
        operations = {method.lower()} & set(self.node(path_item))
        self.seen |= {
            f"{path_item}/{each}/responses/{answer.status}"
            # A method that the path does not have is announced with all that it has.
            for each in operations or set(self.node(path_item)) & set(METHODS)
        }

    def documented_parts(self) -> set[str]:
        """
        Return all that the document says can be in a response.

        That is each status of an operation, and of each response each header field,
        media type, member of the body, and value or type if there is a choice.
        """
        parts = set()
        for path, operations in self.document["paths"].items():
            for method in set(METHODS) & set(operations):
                for status in operations[method]["responses"]:
                    pointer = f"/paths/{path.replace('/', '~1')}/{method}"
                    parts.add(f"{pointer}/responses/{status}")
                    parts |= self._parts_of_response(
                        self.follow(f"{pointer}/responses/{status}")
                    )
        return parts

    def _parts_of_response(self, response: str) -> set[str]:
        parts = {self._header(response, n) for n in self.node(response)["headers"]}
        for media_type in self.node(response).get("content", ()):
            schema = f"{response}/content/{media_type.replace('/', '~1')}/schema"
            parts |= set(self._parts_of(schema, _ANY))
        return parts

    def _header(self, response: str, name: str) -> str:
        """Return a header field as a part: one that all responses share is one part."""
        header = f"{response}/headers/{name}"
        return name if self.node(header) == self._shared.get(name) else header

    def _parts_of(self, pointer: str, value: JSON) -> Iterator[str]:
        """Yield the parts of the schema at `pointer`; all of it for `_ANY`."""
        yield pointer
        schema = self.node(pointer)
        if "$ref" in schema:
            yield from self._parts_of(self.follow(pointer), value)
        for below, member in _members(schema, value):
            yield from self._parts_of(f"{pointer}/{below}", member)
        for choice in _choices(schema):
            if value is _ANY or Draft202012Validator(choice).is_valid(value):
                yield f"{pointer} {choice}"

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
            if value is not None and (header, value) not in self._valid:
                is_number = self.node(header)["schema"].get("type") == "integer"
                self.validate(f"{header}/schema", int(value) if is_number else value)
                self._valid.add((header, value))
            elif value is None and self.node(header).get("required"):
                message = f"{name} is missing from {fields}"
                raise AssertionError(message)


def _members(schema: dict[str, Any], value: JSON) -> Iterator[tuple[str, JSON]]:
    """Yield where the schema of each member of a value is, with the member."""
    every = value is _ANY
    for name in schema.get("properties", ()):
        if every or name in value:
            yield f"properties/{name}", _ANY if every else value[name]
    if "items" in schema:
        for each in (_ANY,) if every else value:
            yield "items", each
    if isinstance(schema.get("additionalProperties"), dict):
        for each in (_ANY,) if every else value.values():
            yield "additionalProperties", each


def _choices(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema for each value that another one lists, or else for each type."""
    if schema.get("type") == "boolean":
        schema = {"enum": [True, False]}
    for value in schema.get("enum", ()):
        yield {"const": value}
    if isinstance(schema.get("type"), list):
        for name in schema["type"]:
            yield {"type": name}


def _closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy whose response bodies have only the members that it names."""
    closed = deepcopy(document)
    responses = list(closed["components"]["responses"].values())
    for operations in closed["paths"].values():
        for method in set(METHODS) & set(operations):
            responses += operations[method]["responses"].values()
    for response in responses:
        for media in response.get("content", {}).values():
            _close(media["schema"])
    # These are extended by those that refer to them, which are closed.
    for schema in closed["components"]["schemas"].values():
        _close_members(schema)
    return closed


def _close(schema: dict[str, Any]) -> None:
    schema["unevaluatedProperties"] = False
    _close_members(schema)


def _close_members(schema: dict[str, Any]) -> None:
    for member in schema.get("properties", {}).values():
        _close(member)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            _close(schema[name])
