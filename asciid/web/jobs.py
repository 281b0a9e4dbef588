"""
What the renderer is asked for, and its answers, as they are sent between processes.

A message is msgpack behind its length.  After its start the renderer sends one `Ready`;
then it answers each job with one result, in order.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from asciid.web.pages import (
    ChoicesPage,
    EmbedPage,
    GalleryPage,
    ProblemPage,
    UploadPage,
    ViewerPage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ANSWERS",
    "BLOCKED_AT_START",
    "JOBS",
    "MAX_CARD_TEXT",
    "MAX_MESSAGE",
    "MAX_TEXT",
    "PREFIX",
    "PRINTED",
    "TIME_LIMIT",
    "AnyAnswer",
    "AnyJob",
    "CSSJob",
    "CardsJob",
    "ChoicesJob",
    "EmbedJob",
    "Failed",
    "GalleryJob",
    "MessageReader",
    "Missing",
    "PNGJob",
    "ProblemJob",
    "Ready",
    "Refused",
    "Rendered",
    "SVGJob",
    "UploadJob",
    "ViewerJob",
    "decode_answer",
    "decode_job",
    "framed",
]

JOBS = 0
"""The descriptor of the renderer from which it reads jobs."""

ANSWERS = 1
"""The descriptor to which it writes answers."""

PRINTED = 2
"""Its standard error."""

BLOCKED_AT_START = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""
Signals that are blocked in the renderer until it ignores them.

They are for the daemon, which may still need it while it stops.
"""

TIME_LIMIT = 5.0
"""Seconds that a job may take."""

MAX_CARD_TEXT = 64 * 1024
"""Maximum bytes of an image that a card is made of: its beginning."""

MAX_TEXT = 1024 * 1024
"""Maximum bytes of an image that is rendered; pages of larger ones show no art."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Maximum bytes of a message."""

PREFIX = 4
"""Bytes of the length before a message."""


class _Job(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The base class of jobs.  The text of an image is UTF-8, as it is stored."""


class CardsJob(_Job, frozen=True, kw_only=True):
    """Render cards, and keep them for galleries; by the hashes of the images."""

    texts: dict[str, bytes]
    """At most `MAX_CARD_TEXT` bytes each, which may end within a character."""
    charsets: dict[str, str] = {}
    """How they have to be shown, as in `Card`, where it is not empty."""


class GalleryJob(_Job, frozen=True, kw_only=True):
    """
    Render a gallery, of cards that were kept; else the answer is `Missing`.

    The images in `absent` were removed: their cards are empty unless kept.
    """

    page: GalleryPage
    absent: tuple[str, ...] = ()


class ViewerJob(_Job, frozen=True, kw_only=True):
    """Render the page of an image, without the art if there is no text."""

    page: ViewerPage
    text: bytes | None


class EmbedJob(_Job, frozen=True, kw_only=True):
    """Render an image for a frame, without the art if there is no text."""

    page: EmbedPage
    text: bytes | None


class UploadJob(_Job, frozen=True, kw_only=True):
    """Render the page that sends images."""

    page: UploadPage


class ChoicesJob(_Job, frozen=True, kw_only=True):
    """Render the choices of an ambiguous address."""

    page: ChoicesPage


class ProblemJob(_Job, frozen=True, kw_only=True):
    """Render why a page is not served."""

    page: ProblemPage


class SVGJob(_Job, frozen=True, kw_only=True):
    """Render an image as SVG; title and description are for screen readers."""

    text: bytes
    title: str = ""
    description: str = ""
    charset: str = ""
    """How it has to be shown, as in `PageImage`."""


class PNGJob(_Job, frozen=True, kw_only=True):
    """Render an image as PNG."""

    text: bytes
    charset: str = ""
    """How it has to be shown, as in `PageImage`."""


class CSSJob(_Job, frozen=True, kw_only=True):
    """Render the style sheet of the colours of an image."""

    text: bytes
    charset: str = ""
    """How it has to be shown, as in `PageImage`."""


AnyJob: TypeAlias = (
    CardsJob
    | GalleryJob
    | ViewerJob
    | EmbedJob
    | UploadJob
    | ChoicesJob
    | ProblemJob
    | SVGJob
    | PNGJob
    | CSSJob
)


class _Answer(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The base class of what the renderer sends."""


class Ready(_Answer, frozen=True, kw_only=True):
    """The renderer has started; `version` is its release."""

    version: str


class Rendered(_Answer, frozen=True, kw_only=True):
    """The result of a job."""

    body: bytes
    """A page or file; empty for `CardsJob`."""
    gzip: bytes = b""
    """The same in the content coding gzip; empty where that would not be shorter."""


class Missing(_Answer, frozen=True, kw_only=True):
    """The cards of these images are needed first; there may be more."""

    hashes: tuple[str, ...]


class Refused(_Answer, frozen=True, kw_only=True):
    """The image cannot be rendered like this, and never will be."""

    reason: str


class Failed(_Answer, frozen=True, kw_only=True):
    """The job failed unexpectedly; `report` is for the log."""

    report: str


AnyAnswer: TypeAlias = Ready | Rendered | Missing | Refused | Failed

_encode = msgspec.msgpack.Encoder().encode
_decode_job = msgspec.msgpack.Decoder(AnyJob).decode
_decode_answer = msgspec.msgpack.Decoder(AnyAnswer).decode


def framed(message: AnyJob | AnyAnswer) -> bytes:
    """Return a message as it is sent."""
    body = _encode(message)
    return len(body).to_bytes(PREFIX, "big") + body


def decode_job(body: bytes) -> AnyJob:
    """
    Return the job in a message.

    Errors: `msgspec.MsgspecError`.
    """
    job: AnyJob = _decode_job(body)
    return job


def decode_answer(body: bytes) -> AnyAnswer:
    """
    Return the answer in a message.

    Errors: `msgspec.MsgspecError`.
    """
    answer: AnyAnswer = _decode_answer(body)
    return answer


class MessageReader:
    """Puts the messages together that arrive in pieces."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0
        self._needed = PREFIX

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Yield the messages that are complete with `data`.

        Errors: `ValueError` if one is longer than `MAX_MESSAGE`.
        """
        self._pieces.append(data)
        self._length += len(data)
        while self._length >= self._needed:
            buffer = b"".join(self._pieces)
            self._pieces = [buffer]
            size = PREFIX + int.from_bytes(buffer[:PREFIX], "big")
            if size > PREFIX + MAX_MESSAGE:
                message = f"message too long: {size} bytes (limit {MAX_MESSAGE})"
                raise ValueError(message)
            self._needed = size
            if self._length >= size:
                rest = buffer[size:]
                self._pieces, self._length, self._needed = [rest], len(rest), PREFIX
                yield buffer[PREFIX:size]
