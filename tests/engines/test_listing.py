"""Tests of asciid.engines.lmdb._listing: what only many images show."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _listing
from asciid.engines.lmdb._records import upload_key
from asciid.model import About, NewImage
from asciid.store.operations import Put
from asciid.store.queries import FindPrefix, ListImages, PickRandom
from tests.engines import _damage
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from collections.abc import Sequence

LISTED = 20
UNLISTED = NewImage(About(listed=False))


class ListingTests(SynchronousTestCase):
    """A file with images of which some are listed."""

    def setUp(self) -> None:
        """Start a store, and have it take few images for many."""
        self.patch(_listing, "MAX_LISTED", 5)
        self.patch(_listing, "MAX_SKIPPED", 10)
        self.driven = DrivenStore(self.mktemp())
        self.driven.start()
        self.addCleanup(self.driven.stop)
        self.random = Random(7)

    def store(self, names: Sequence[str], new: NewImage | None = None) -> set[str]:
        """Store images, one a second; return their hashes."""
        hashes = set()
        for name in names:
            self.driven.pass_time(1)
            sha256 = spec_of(name.encode()).sha256
            self.driven.run(self.driven.engine.apply([Put(sha256, name.encode(), new)]))
            hashes.add(sha256)
        return hashes

    def draw(self, times: int) -> Counter[str | None]:
        """Return how often each hash is drawn."""
        queries = [PickRandom(self.random.getrandbits(256)) for _ in range(times)]
        return Counter(
            self.driven.run(self.driven.engine.ask(query)) for query in queries
        )

    def test_random_of_many(self) -> None:
        """Each listed image is drawn, and none is drawn far too often."""
        listed = self.store([f"listed {number}" for number in range(LISTED)])
        self.store([f"unlisted {number}" for number in range(LISTED)], UNLISTED)
        self.driven.run(self.driven.store.register(spec_of(b"pending")))
        drawn = self.draw(100 * LISTED)
        self.assertEqual(set(drawn), listed)
        self.assertLess(max(drawn.values()), 700)

    def test_random_of_mostly_unlisted(self) -> None:
        """If hardly any image is listed, each of those is still drawn."""
        self.patch(_listing, "MAX_SKIPPED", 0)
        listed = self.store([f"listed {number}" for number in range(LISTED)])
        self.store([f"unlisted {number}" for number in range(LISTED)], UNLISTED)
        drawn = self.draw(100 * LISTED)
        self.assertEqual(set(drawn), listed)
        self.assertLess(max(drawn.values()), 700)

    def test_random_at_one_time(self) -> None:
        """Images that became complete in one instant are drawn, too."""
        self.patch(_listing, "MAX_SKIPPED", 0)
        specs = [spec_of(b"%d" % number) for number in range(9)]
        puts = [Put(spec.sha256, b"%d" % number) for number, spec in enumerate(specs)]
        self.driven.run(self.driven.engine.apply(puts))
        drawn = set(self.draw(200))
        # As many as are read at a time; they are the first ones.
        self.assertLessEqual(drawn, {spec.sha256 for spec in specs})
        self.assertEqual(len(drawn), 5)

    def test_pending_with_the_prefix(self) -> None:
        """The search for a prefix reads a bounded number of pending uploads."""
        self.patch(_listing, "MAX_SCANNED", 3)
        self.store(["cat"])
        sha256 = spec_of(b"cat").sha256
        ask = self.driven.engine.ask
        found = self.driven.run(ask(FindPrefix(sha256[:12])))
        self.assertEqual(found, [(sha256, True)])
        for number in range(3):
            before = f"{sha256[:12]}{number:052x}"
            spec = spec_of(b"dog")
            pending = type(spec)(before, spec.size, spec.chunk_size)
            self.driven.run(self.driven.store.register(pending))
        self.assertEqual(self.driven.run(ask(FindPrefix(sha256[:12]))), [])
        found = self.driven.run(ask(FindPrefix(sha256[:13])))
        self.assertEqual(found, [(sha256, True)])

    def test_damaged(self) -> None:
        """An image whose about record cannot be read is left out, and no other."""
        self.store(["dog", "owl"])
        self.driven.stop()
        dog, owl = spec_of(b"dog"), spec_of(b"owl")
        number = upload_key(_damage.number_of(self.driven.path, dog.sha256))
        _damage.put(self.driven.path, "about", number, b"x")
        self.driven = DrivenStore(str(self.driven.path))
        self.driven.start()
        images = self.driven.run(self.driven.engine.ask(ListImages(None, 9)))
        self.assertEqual([image.spec.sha256 for image in images], [owl.sha256])
