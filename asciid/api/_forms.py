"""Splits the body of a form, multipart/form-data (RFC 7578), as it arrives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from asciid.api._about_fields import NAMES, field_text
from asciid.api._refusals import MalformedFormError
from asciid.errors import InvalidAboutError

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["FORM_OVERHEAD", "Form", "is_form", "is_multipart"]

FORM_OVERHEAD = 256 * 1024
"""Bytes that the body of a form may have besides the file."""

_MAX_PARTS = 16
_MAX_FIELD = 8 * 1024
_MAX_HEADER = 1024
_MAX_HEADERS = 4
_FILE = "file"
_CHARSET = "charset"
_KEPT = frozenset({*NAMES, _CHARSET})

# RFC 2046, section 5.1.1, where the last character is no space.
_find_boundary = re.compile(
    rb";\s*boundary=(?:\"([0-9A-Za-z'()+_,./:=? -]{1,70})\"|([0-9A-Za-z'+_.-]{1,70}))"
    rb"(?=\s*(?:;|\Z))",
    re.IGNORECASE,
).search


class FileSink(Protocol):
    """Receives the content of the file."""

    def __call__(self, piece: bytes, /) -> Awaitable[None] | None:
        """Take the next piece; the one after it must wait for the result."""


def is_multipart(content_type: bytes | None) -> bool:
    """Return whether a Content-Type is multipart."""
    return (content_type or b"").lstrip().lower().startswith(b"multipart/")


def is_form(content_type: bytes | None) -> bool:
    """Return whether a Content-Type is that of a form with files."""
    media_type = (content_type or b"").partition(b";")[0]
    return media_type.strip().lower() == b"multipart/form-data"


class Form:
    """
    The fields of a form, and its file, which is passed on to `sink`.

    The file is the part with the name ``file``, or with any name if it has a file name.

    Errors: `MalformedFormError`.
    """

    def __init__(self, content_type: bytes, sink: FileSink) -> None:
        boundary = _find_boundary(content_type)
        if boundary is None:
            message = "Content-Type has no boundary"
            raise MalformedFormError(message)
        self.fields: dict[str, str] = {}
        """
        The values of ``charset`` and of the fields of `NAMES`.

        Of a repeated one that is the last value, but for tags, which are joined.
        """
        self.file_name = ""
        """The file name that the client sent, without directories."""
        self.file_charset: str | None = None
        """The charset in the file's own Content-Type."""
        self._sink = sink
        self._parser = PushMultipartParser(
            boundary[1] or boundary[2],
            max_header_size=_MAX_HEADER,
            max_header_count=_MAX_HEADERS,
            max_segment_count=_MAX_PARTS,
        )
        self._has_file = False
        self._in_file = False
        self._empty = False
        self._name = ""
        self._value = bytearray()

    async def receive(self, piece: bytes) -> None:
        """
        Process the next piece of the body.

        Errors: `MalformedFormError`, `InvalidAboutError`, those of the sink.
        """
        try:
            for event in self._parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end_part()
                elif self._in_file:
                    self._empty = False
                    ready = self._sink(bytes(event))
                    if ready is not None:
                        await ready
                else:
                    self._add(bytes(event))
        except MultipartError as error:
            raise MalformedFormError(_reason(error)) from error

    def end(self) -> None:
        """
        Check that the form is complete and has a file.

        Errors: `MalformedFormError`.
        """
        try:
            self._parser.close()
        except MultipartError as error:
            raise MalformedFormError(_reason(error)) from error
        if not self._has_file:
            message = f"no file was sent: the field {_FILE} is missing"
            raise MalformedFormError(message)

    def _begin(self, part: MultipartSegment) -> None:
        self._name = part.name or ""
        self._value.clear()
        self._in_file = self._name == _FILE or part.filename is not None
        if not self._in_file:
            return
        if self._has_file:
            message = "more than one file was sent: send each in a form of its own"
            raise MalformedFormError(message)
        self._has_file = True
        # A browser sends an empty part without a name where no file was chosen.
        self._empty = part.filename == ""
        self.file_name = re.split(r"[/\\]", part.filename or "")[-1]
        self.file_charset = part.charset

    def _end_part(self) -> None:
        if self._in_file:
            self._has_file = not self._empty
        if self._in_file or self._name not in _KEPT:
            return
        text = field_text(self._name, bytes(self._value))
        before = self.fields.get(self._name)
        if self._name == "tags" and before:
            text = f"{before}, {text}"
        self.fields[self._name] = text

    def _add(self, piece: bytes) -> None:
        if self._name not in _KEPT:
            return
        if len(self._value) + len(piece) > _MAX_FIELD:
            raise InvalidAboutError(self._name, f"too long (limit {_MAX_FIELD} bytes)")
        self._value += piece


def _reason(error: MultipartError) -> str:
    # The texts of the parser are constant, but for further arguments.
    text = str(error.args[0]) if error.args else "invalid"
    return text[:1].lower() + text[1:]
