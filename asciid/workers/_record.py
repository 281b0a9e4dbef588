"""Keeps state beyond the writer's exit: start of the daemon, exits, and counters."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Record",
    "load_counters",
    "recorded_exits",
    "recorded_start",
    "save_counters",
]

_HEAD = struct.Struct(">Qd")
"""Unexpected exits, and the start of the daemon in seconds since the epoch."""

_COUNTERS = struct.Struct(">QI")
"""The length of the content, and its CRC-32."""

_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


class Record:
    """
    A file in memory that the parent writes, and that the writer inherits.

    So the writer needs no message, and its successor, perhaps after a crash, finds the
    counters of before.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("asciid-record")
        self._exits = 0
        self._started = time.time()
        self._write()

    def count_exit(self) -> None:
        """Count an unexpected exit of a process."""
        self._exits += 1
        self._write()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)

    def _write(self) -> None:
        os.pwrite(self.descriptor, _HEAD.pack(self._exits, self._started), 0)


def recorded_exits(descriptor: int) -> int:
    """Return how many unexpected exits there were."""
    exits: int = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))[0]
    return exits


def recorded_start(descriptor: int) -> float:
    """Return when the daemon started, in seconds since the epoch."""
    started: float = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))[1]
    return started


def save_counters(descriptor: int, snapshots: Mapping[str, bytes]) -> None:
    """Save snapshots (see `asciid.metrics.snapshot`) by the names of processes."""
    content = msgspec.msgpack.encode(snapshots)
    head = _COUNTERS.pack(len(content), crc32(content))
    os.pwrite(descriptor, head + content, _HEAD.size)


def load_counters(descriptor: int) -> Mapping[str, bytes]:
    """Return the last saved counters; none if the process was killed while saving."""
    head = os.pread(descriptor, _COUNTERS.size, _HEAD.size)
    if len(head) < _COUNTERS.size:
        return {}
    length, checksum = _COUNTERS.unpack(head)
    content = os.pread(descriptor, length, _HEAD.size + _COUNTERS.size)
    return _decoder.decode(content) if crc32(content) == checksum else {}
