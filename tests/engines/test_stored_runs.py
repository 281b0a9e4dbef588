"""Tests of asciid.engines.lmdb._answers where the contract suite does not reach."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.model import ImageSpec
from tests.store._support import DrivenStore

CHUNKS = 350
"""Several times more than the keys that are read together."""

# The stored ids: a few runs, so that there are long ones, and single ids.
stored_ids = st.lists(
    st.tuples(st.integers(0, CHUNKS - 1), st.sampled_from([1, 2, 120, 260])),
    max_size=6,
).map(
    lambda runs: {
        chunk_id
        for first, length in runs
        for chunk_id in range(first, min(first + length, CHUNKS))
    }
)


class StoredRunsTests(SynchronousTestCase):
    """The chunk ids of one upload among those of others."""

    @given(stored_ids)
    @settings(max_examples=25)
    def test_missing(self, stored: set[int]) -> None:
        """The missing ids are those not stored, whatever other uploads have."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        specs = [ImageSpec(digit * 64, CHUNKS, 1) for digit in "abc"]
        # An image without its last byte is never complete.
        some = stored - {CHUNKS - 1}
        for spec, chunk_ids in zip(specs, (range(9), some, range(9)), strict=True):
            driven.run(driven.store.register(spec))
            adding = [
                driven.store.add_chunk(spec.sha256, chunk_id, b"+")
                for chunk_id in chunk_ids
            ]
            for added in adding:
                driven.run(added)
        status = driven.run(driven.store.status(specs[1].sha256))
        driven.stop()
        missing = {
            chunk_id
            for first, last in status.missing
            for chunk_id in range(first, last + 1)
        }
        self.assertEqual(missing, set(range(CHUNKS)) - some)
        self.assertEqual(status.received, len(some))
