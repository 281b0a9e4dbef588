"""Tests of asciid.engines.remote._messages."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from asciid import errors
from asciid.engines.remote._messages import FromWorker, FromWriter, Outcomes, refused
from asciid.errors import AsciidError, StorageFailedError
from asciid.store.operations import Completed, Unverified
from tests.store._support import spec_of

HASH = "ab" * 32

ERRORS: list[AsciidError] = [
    errors.ChunkExistsError(HASH, 3, identical=True),
    errors.ChunkOutOfRangeError(7, 5),
    errors.ChunkSizeError(1, expected=2, actual=3),
    errors.ClientUploadsError(9),
    errors.CommitFailedError(),
    errors.HashMismatchError(HASH, "cd" * 32),
    errors.ImageExistsError(HASH),
    errors.ImageGoneError(HASH),
    errors.ImageIncompleteError(HASH),
    errors.ImageNotFoundError(HASH),
    errors.DatabaseUnavailableError(),
    errors.StorageFailedError(),
    errors.StorageFullError(),
    errors.StorageUnreadableError(),
    errors.AboutChangedError("0" * 64, 5),
    errors.EditKeyError("0" * 64),
    errors.ImageBlockedError("spam"),
    errors.InvalidAboutError("title", "201 bytes (limit 200)"),
    errors.StoreBusyError(),
    errors.StoreClosedError(),
    errors.TooManyUploadsError(8),
    errors.WriterGoneError(),
    errors.WriterUnavailableError(),
]
NOT_SENT = {"AsciidError", "StoreVersionError"}
"""A store meets these only at its start."""


def sent(message: Any) -> Any:  # noqa: ANN401 - any message
    """Return what arrives of a message."""
    return msgspec.msgpack.decode(
        msgspec.msgpack.encode(message), type=FromWorker | FromWriter
    )


class MessageTests(SynchronousTestCase):
    """Decoding reverses encoding."""

    def test_every_error(self) -> None:
        """Every error of a store is decoded to the same type and text."""
        self.assertEqual(
            {type(error).__name__ for error in ERRORS}, {*errors.__all__} - NOT_SENT
        )
        arrived = sent(Outcomes(1, [refused(error) for error in ERRORS]))
        for error, outcome in zip(ERRORS, arrived.outcomes, strict=True):
            received = outcome.exception()
            self.assertIs(type(received), type(error))
            self.assertEqual(str(received), str(error))
            self.assertEqual(vars(received), vars(error))

    def test_foreign_error(self) -> None:
        """What no store promises arrives as a failure of the storage."""
        failure = refused(ZeroDivisionError("secret")).exception()
        self.assertIsInstance(failure, StorageFailedError)

    def test_outcomes(self) -> None:
        """Every kind of outcome is decoded to the same value."""
        spec = spec_of(b"cat")
        outcomes: list[Any] = [
            None,
            True,
            False,
            3,
            Completed(spec, 1_000, b"cat"),
            Completed(spec, 1_000, None),
            Completed(spec, 1_000, None, keeps_record=True),
            Unverified(spec, 7),
        ]
        self.assertEqual(sent(Outcomes(2, outcomes)), Outcomes(2, outcomes))
