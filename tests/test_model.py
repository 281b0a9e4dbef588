"""Tests of asciid.model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.model import EMPTY_SHA256, ImageSpec

SPECS = st.builds(
    ImageSpec,
    st.just(EMPTY_SHA256),
    size=st.integers(0, 300),
    chunk_size=st.integers(1, 120),
)


class ImageSpecTests(SynchronousTestCase):
    """Chunk arithmetic."""

    @given(SPECS)
    def test_chunks_partition_the_image(self, spec: ImageSpec) -> None:
        """The lengths of all chunks add up to the size, and no chunk is empty."""
        lengths = [spec.chunk_length(i) for i in range(spec.chunks)]
        self.assertEqual(sum(lengths), spec.size)
        self.assertTrue(all(0 < n <= spec.chunk_size for n in lengths))

    @given(SPECS, st.data())
    def test_chunks_between(self, spec: ImageSpec, data: st.DataObject) -> None:
        """A range of bytes needs exactly the chunks that hold one of its bytes."""
        start = data.draw(st.integers(0, spec.size))
        end = data.draw(st.integers(start, spec.size))
        needed = sorted({i // spec.chunk_size for i in range(start, end)})
        self.assertEqual(list(spec.chunks_between(start, end)), needed)

    def test_immutable(self) -> None:
        """A spec cannot be changed."""
        spec = ImageSpec(EMPTY_SHA256, 0, 1)
        with self.assertRaises(AttributeError):
            spec.size = 1  # type: ignore[misc]
