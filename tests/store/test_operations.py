"""Tests of asciid.store.operations."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from asciid.model import About, ImageSpec, NewImage
from asciid.store.operations import (
    Abandon,
    AddChunk,
    AddPieces,
    Adopt,
    AnyOperation,
    Begin,
    BlockHash,
    DeleteDiscarded,
    Expired,
    Finish,
    Operation,
    Probe,
    Put,
    Register,
    Remove,
    RemoveExpired,
    SetAbout,
    UnblockHash,
    Unverified,
)

SPEC = ImageSpec("ab" * 32, 700, 256)
NEW = NewImage(About("Cat", "A cat.\n", "me", "CC0-1.0", ("cat",), expires=5), b"k")


class OperationTests(SynchronousTestCase):
    """Operations are values."""

    def test_sent(self) -> None:
        """Each is the same value after encoding and decoding."""
        operations: list[Operation] = [
            Register(SPEC, "192.0.2.1", NEW, listed=False),
            AddChunk(SPEC.sha256, 2, b"\xff\x00"),
            Finish(Unverified(SPEC, 7), 2, b"x", SPEC.sha256),
            Remove(SPEC.sha256),
            Remove(SPEC.sha256, bytes(32)),
            DeleteDiscarded(),
            Begin(),
            AddPieces(7, 1, [b"a", b"bc"]),
            Adopt(7, SPEC.sha256, 3, NEW, listed=False),
            Put(SPEC.sha256, b"abc", NEW, listed=False),
            Abandon(7),
            RemoveExpired("uploads", 2.5, [Expired(7, SPEC.sha256)]),
            SetAbout(SPEC.sha256, About("Cat"), 5, bytes(32)),
            BlockHash(SPEC.sha256, "spam"),
            UnblockHash(SPEC.sha256),
            Probe(),
        ]
        sent = msgspec.msgpack.encode(operations)
        received = msgspec.msgpack.decode(sent, type=list[AnyOperation])
        self.assertEqual(received, operations)
        self.assertEqual({type(one) for one in operations}, set(AnyOperation.__args__))

    def test_sizes(self) -> None:
        """The size of an operation is that of the bytes of images in it."""
        self.assertEqual(AddChunk(SPEC.sha256, 0, b"abc").size, 3)
        self.assertEqual(Finish(Unverified(SPEC, 7), 0, b"ab", "").size, 2)
        self.assertEqual(AddPieces(7, 1, [b"a", b"bc"]).size, 3)
        self.assertEqual(Put(SPEC.sha256, b"abcd").size, 4)
        self.assertEqual(Begin().size, 0)
