"""What pages say about their host."""

from __future__ import annotations

from importlib.util import find_spec

from twisted.trial.unittest import SynchronousTestCase

from asciid.api._site import site_of
from asciid.net.body_limits import InputLimits
from asciid.web.pages import Site


class SiteTests(SynchronousTestCase):
    """What pages say about their host."""

    def test_limits(self) -> None:
        """Pages know what may be uploaded, and whether that needs a token."""
        self.assertEqual(
            site_of(
                InputLimits(1000, 100),
                public=True,
                tokens=True,
                listing=False,
                listed_by_default=False,
                image_ttl=60,
            ),
            Site(
                public=True,
                listing=False,
                listed_by_default=False,
                needs_token=True,
                max_image_size=1000,
                max_chunk_size=100,
                image_ttl=60,
                png=find_spec("PIL") is not None,
            ),
        )
