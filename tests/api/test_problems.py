"""Tests of asciid.api._problems."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import ServiceUnavailable

from asciid import errors
from asciid.api import _refusals, problem_for_status
from asciid.api._problems import problem_for
from asciid.testing import MemoryStore
from tests.api._support import make_api


class TableTests(SynchronousTestCase):
    """The table from errors to problems."""

    def test_complete(self) -> None:
        """Each error a request can meet has a problem of its own."""
        names = set()
        met = [
            getattr(module, name)
            for module in (errors, _refusals)
            for name in module.__all__
            if name not in ("AsciidError", "StoreVersionError")
            # A storage that fails has one problem for reads and writes.
            and name != "StorageUnreadableError"
        ]
        for error in met:
            problem = problem_for(_example(error))
            self.assertNotEqual(problem.status, 500, error)
            names.add(problem.name)
        self.assertEqual(len(names), len(met))

    def test_too_many_bodies(self) -> None:
        """A body beyond the limit on all of them is 503, with Retry-After."""
        problem = problem_for(ServiceUnavailable("Too many."))
        self.assertEqual((problem.status, problem.name), (503, "too-many-bodies"))
        self.assertEqual(problem.headers, {b"Retry-After": b"1"})
        self.assertEqual(problem.detail, "Too many.")

    def test_below_the_routes(self) -> None:
        """An error in HTTP itself has a problem document too."""
        self.assertEqual(
            json.loads(problem_for_status(431, "Too many fields.")),
            {
                "type": "about:blank",
                "title": "Request Header Fields Too Large",
                "status": 431,
                "detail": "Too many fields.",
                "code": "431 Request Header Fields Too Large",
                "message": "Too many fields.",
            },
        )


class BodyLimitTests(SynchronousTestCase):
    """How much of a body is worth reading."""

    def test_chunks_may_be_escaped(self) -> None:
        """A chunk of the largest size fits, every character of it escaped."""
        api = make_api(MemoryStore(), max_image_size=10, max_chunk_size=1_000)
        body = {"id": 2**32, "size": 1_000, "data": "\x1b" * 1_000}
        self.assertLess(len(json.dumps(body)), api.body_limits["add_chunk"])
        self.assertLess(api.body_limits["add_chunk"], 30_000)

    def test_names_are_endpoints(self) -> None:
        """The limits are for routes that exist."""
        api = make_api(MemoryStore(), max_image_size=10, max_chunk_size=10)
        self.assertLessEqual(set(api.body_limits), set(api.app.endpoints))


def _example(error: type[Exception]) -> Exception:
    """Make an exception of that class."""
    sha256 = "0" * 64
    examples = (
        errors.ChunkExistsError(sha256, 0, identical=True),
        errors.ChunkOutOfRangeError(5, 1),
        errors.ChunkSizeError(0, expected=1, actual=2),
        errors.ClientUploadsError(5),
        errors.TooManyUploadsError(5),
        errors.HashMismatchError(sha256, "1" * 64),
        errors.ImageExistsError(sha256),
        errors.ImageGoneError(sha256),
        errors.ImageIncompleteError(sha256),
        errors.ImageNotFoundError(sha256),
        _refusals.ImageTooLargeError(limit=1, actual=2),
        _refusals.PreconditionFailedError(b"If-Match"),
        _refusals.ChunkTooLargeError(limit=1, actual=2),
        _refusals.DigestMismatchError(b"sha-256"),
        _refusals.RangeNotSatisfiableError(5),
        _refusals.NotReadyError({}),
        _refusals.NotUTF8Error(5, "invalid byte"),
        _refusals.UploadRateError(1.5),
        _refusals.MalformedFormError("no file"),
        _refusals.UndecodableTextError("no text", offset=5, charsets=("cp437",)),
        errors.AboutChangedError(sha256, 2),
        errors.EditKeyError(sha256),
        errors.ImageBlockedError("not ours"),
        errors.InvalidAboutError("title", "201 bytes (limit 200)"),
    )
    return next((e for e in examples if type(e) is error), None) or error()
