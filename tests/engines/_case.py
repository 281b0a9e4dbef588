"""An engine that a test drives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asciid.store.operations import Completed
from tests.engines._operations import upload_of
from tests.store._support import spec_of

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase

    from asciid.model import ImageSpec, NewImage
    from tests.engines._driven import Driven

    Base = SynchronousTestCase
else:
    Base = object

__all__ = ["EngineCase"]


class EngineCase(Base):
    """Tests of an engine of the `kind` that a subclass names."""

    kind: type[Any]

    def setUp(self) -> None:
        """Start an engine."""
        self.begin()
        self.addCleanup(self.stop)

    def begin(self, **options: Any) -> None:  # noqa: ANN401 - as the engines
        """Start an engine with those options."""
        self.driven: Driven = self.kind(self.mktemp(), **options)
        self.driven.start()
        self.running = True

    def stop(self) -> None:
        """Stop the engine, unless the test has."""
        if self.running:
            self.running = False
            self.driven.stop()

    def upload(
        self, data: bytes, chunk_size: int = 4, new: NewImage | None = None
    ) -> ImageSpec:
        """Store an image."""
        *_, last = self.driven.apply(*upload_of(data, chunk_size, new))
        self.assertIsInstance(last, Completed)
        return spec_of(data, chunk_size)
