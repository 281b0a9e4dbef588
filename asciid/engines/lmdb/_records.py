"""
The format of the storage file, version 2.

An LMDB environment with named databases; numbers are big-endian, so that keys
sort by number, times are milliseconds since the epoch, and stamps are those of
`asciid.engines._stamps` in milliseconds:

``images``
    SHA-256 (32 bytes) -> upload number, size, chunk size, piece size: how long
    the values in ``chunks`` are, all but the last.  That is the chunk size but
    for images stored in one request.  Written at registration and not again
    at completion: keys are random, so every write here is a page of its own.
``uploads``
    upload number -> SHA-256, bytes still missing, time of registration, stamp
    of the last activity.  Only pending uploads.
``chunks``
    upload number, chunk id -> the chunk's bytes; and, once the image is
    complete, upload number, `SEAL_ID` -> times of registration and completion,
    stamp of the completion.
    The upload number only grows, so concurrent uploads write neighbouring
    pages, and an image is one cursor walk.
``staged``
    upload number -> stamp of the last activity.  Images that are received in one
    request and belong to no hash before they are verified.
``discarded``
    upload number -> nothing.  Uploads whose chunks are still to be deleted.
``gone``
    SHA-256 -> stamp of the removal.  Images that have expired, for a while.  A hash
    in ``images`` is not gone, whatever is here.
``quarantined``
    SHA-256, time -> the value in ``images``, the time of completion or 0 if it is not
    known, and the value in ``about`` or nothing.  Images found to be damaged; their
    chunks are kept.
``about``
    upload number -> stamp at which the image is to be deleted, or 0, SHA-256, and
    `AboutRecord`.  What is stored beside images and pending uploads, unless it is the
    default.  New records are neighbours, as those of chunks are.
``listing``
    time of completion, upload number -> SHA-256, size, chunk size.  Complete images
    that are listed, which all are whose record in ``about`` does not say otherwise.
    The values are those in ``images``, where each would be on a page of its own.
``dated``
    stamp, upload number -> SHA-256.  Images and pending uploads whose record in
    ``about`` has that stamp.
``blocked``
    SHA-256 -> time, reason.  Hashes that are refused; none of them is in ``images``.

The unnamed database holds the format version and the next upload number.  An
image is complete if it has its seal.  Each record begins with a version byte.

Format 1 has no ``about``, ``listing``, ``dated`` and ``blocked``, and of the values in
``quarantined`` the first only.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import NamedTuple

import msgspec

from asciid.model import AboutRecord, BlockedHash, ImageSpec

__all__ = [
    "FORMAT_KEY",
    "FORMAT_VERSION",
    "NEXT_UPLOAD_KEY",
    "OLD_FORMAT_VERSION",
    "SEAL_ID",
    "DatedAbout",
    "ImageRecord",
    "ListedRecord",
    "QuarantineRecord",
    "Seal",
    "UploadRecord",
    "chunk_id_of",
    "chunk_key",
    "pack_blocked",
    "pack_listed",
    "pack_seal",
    "pack_upload",
    "place_key",
    "place_of",
    "unpack_blocked",
    "upload_key",
    "upload_number_of",
]

FORMAT_KEY = b"asciid-format"
FORMAT_VERSION = b"2"
OLD_FORMAT_VERSION = b"1"
"""The format that `asciid.engines.lmdb._format_conversion` converts."""
NEXT_UPLOAD_KEY = b"asciid-next-upload"

SEAL_ID = 2**32 - 1
"""The chunk id that no chunk has: it sorts behind all of an upload's chunks."""

_RECORD_VERSION = 1
_CHUNK_KEY = struct.Struct(">QI")
_UPLOAD_KEY = struct.Struct(">Q")
_IMAGE = struct.Struct(">BQQQQ")
_UPLOAD = struct.Struct(">B32sQQQ")
_SEAL = struct.Struct(">BQQQ")
_PLACE = struct.Struct(">QQ")
_STAMPED = struct.Struct(">BQ")
_LISTED = struct.Struct(">32sQQ")
_ABOUT = struct.Struct(">BQ32s")

chunk_key = _CHUNK_KEY.pack
"""Make the key of a chunk from an upload number and a chunk id."""

upload_key = _UPLOAD_KEY.pack
"""Make the key of an upload from its number."""

place_key = _PLACE.pack
"""Make a key of ``listing`` or ``dated`` from a time and an upload number."""

pack_upload = partial(_UPLOAD.pack, _RECORD_VERSION)
"""Make a record of ``uploads`` from the members of an `UploadRecord`."""

pack_seal = partial(_SEAL.pack, _RECORD_VERSION)
"""Make the record of a seal from the members of a `Seal`."""

pack_listed = _LISTED.pack
"""Make a record of ``listing`` from the members of a `ListedRecord`."""


def place_of(key: bytes | memoryview) -> tuple[int, int]:
    """Return the time and the upload number in a key that `place_key` made."""
    time, number = _PLACE.unpack(key)
    return time, number


def chunk_id_of(key: bytes | memoryview) -> int:
    """Return the chunk id in a key that `chunk_key` made."""
    chunk_id: int = _CHUNK_KEY.unpack(key)[1]
    return chunk_id


def upload_number_of(key: bytes | memoryview) -> int:
    """Return the number in a key that `upload_key` made."""
    number: int = _UPLOAD_KEY.unpack(key)[0]
    return number


class ImageRecord(NamedTuple):
    """A record of ``images``."""

    number: int
    size: int
    chunk_size: int
    piece_size: int

    def spec(self, sha256: str) -> ImageSpec:
        """Return the spec that the image was registered with."""
        return ImageSpec(sha256, self.size, self.chunk_size)

    def listed(self, digest: bytes) -> ListedRecord:
        """Return the record of ``listing`` of the image with that hash."""
        return ListedRecord(digest, self.size, self.chunk_size)

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return _IMAGE.pack(_RECORD_VERSION, *self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> ImageRecord:
        """Read a result of `pack`."""
        return cls._make(_IMAGE.unpack(data)[1:])


class ListedRecord(NamedTuple):
    """A record of ``listing``."""

    digest: bytes
    size: int
    chunk_size: int

    @property
    def spec(self) -> ImageSpec:
        """The spec that the image was registered with."""
        return ImageSpec(self.digest.hex(), self.size, self.chunk_size)

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack_listed(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> ListedRecord:
        """Read a result of `pack`."""
        return cls._make(_LISTED.unpack(data))


class UploadRecord(NamedTuple):
    """A record of ``uploads``; times in milliseconds."""

    digest: bytes
    missing: int
    created: int
    active: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack_upload(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> UploadRecord:
        """Read a result of `pack`."""
        return cls._make(_UPLOAD.unpack(data)[1:])


class Seal(NamedTuple):
    """The mark of a complete image; times in milliseconds."""

    created: int
    completed: int
    stamp: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack_seal(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Seal:
        """Read a result of `pack`."""
        return cls._make(_SEAL.unpack(data)[1:])


_encode_about = msgspec.msgpack.Encoder().encode
_decode_about = msgspec.msgpack.Decoder(AboutRecord).decode


class DatedAbout(NamedTuple):
    """A record of ``about``."""

    deadline: int
    """The stamp at which `About.expires` passes; 0: never."""
    digest: bytes
    """The hash of the image."""
    record: AboutRecord

    def pack(self) -> bytes:
        """Return the record's bytes."""
        head = _ABOUT.pack(_RECORD_VERSION, self.deadline, self.digest)
        return head + _encode_about(self.record)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> DatedAbout:
        """
        Read a result of `pack`.

        Errors: `struct.error`.
        """
        _, deadline, digest = _ABOUT.unpack(data[: _ABOUT.size])
        try:
            return cls(deadline, digest, _decode_about(data[_ABOUT.size :]))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise struct.error(str(error)) from error


class QuarantineRecord(NamedTuple):
    """A record of ``quarantined``."""

    image: bytes
    """The value in ``images``, as it was."""
    completed: int = 0
    """0 if that is not known."""
    about: bytes = b""
    """The value in ``about``, as it was; empty if there was none."""

    def pack(self) -> bytes:
        """Return the record's bytes; of format 1, if there is nothing else in it."""
        if not self.completed and not self.about:
            return self.image
        return self.image + _UPLOAD_KEY.pack(self.completed) + self.about

    @classmethod
    def unpack(cls, data: bytes) -> QuarantineRecord:
        """Read a result of `pack`, or a record of format 1."""
        image, rest = data[: _IMAGE.size], data[_IMAGE.size :]
        if len(rest) < _UPLOAD_KEY.size:
            return cls(data)
        size = _UPLOAD_KEY.size
        return cls(image, upload_number_of(rest[:size]), rest[size:])


def pack_blocked(blocked: BlockedHash) -> bytes:
    """Return a record of ``blocked``."""
    return _STAMPED.pack(_RECORD_VERSION, blocked.since) + blocked.reason.encode()


def unpack_blocked(digest: bytes | memoryview, data: bytes | memoryview) -> BlockedHash:
    """Read a result of `pack_blocked`."""
    _, since = _STAMPED.unpack(data[: _STAMPED.size])
    reason = bytes(data[_STAMPED.size :]).decode()
    return BlockedHash(bytes(digest).hex(), reason, since)
