"""What the renderer makes of jobs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.art.rendering import PNGUnavailableError
from asciid.web import _job_handlers
from asciid.web._job_handlers import JobHandlers
from asciid.web.jobs import (
    CardsJob,
    CSSJob,
    GalleryJob,
    Missing,
    PNGJob,
    Refused,
    Rendered,
)
from asciid.web.pages import Card, GalleryPage, Site

NAMES = tuple(f"{number:064x}" for number in range(12))


class JobHandlersTests(SynchronousTestCase):
    """What the renderer makes of jobs."""

    def setUp(self) -> None:
        """Keep no cards yet."""
        self.handlers = JobHandlers()

    def gallery(self, names: tuple[str, ...], *absent: str) -> Rendered | Missing:
        """Render the gallery of some images."""
        cards = tuple(Card(sha256=name, id=name[-12:], cursor="1-1") for name in names)
        page = GalleryPage(site=Site(url="https://art.example"), cards=cards)
        answer = self.handlers.do(GalleryJob(page=page, absent=absent))
        assert isinstance(answer, Rendered | Missing)
        return answer

    def keep(self, name: str, text: bytes) -> None:
        """Have a card made."""
        self.assertIsInstance(self.handlers.do(CardsJob(texts={name: text})), Rendered)

    def test_missing(self) -> None:
        """A gallery names the cards that it misses."""
        self.assertEqual(self.gallery(NAMES), Missing(hashes=NAMES))
        for name in NAMES[:8]:
            self.keep(name, b"cat")
        self.assertEqual(self.gallery(NAMES), Missing(hashes=NAMES[8:]))
        self.assertIsInstance(self.gallery(NAMES[:8]), Rendered)
        self.assertIsInstance(self.gallery(NAMES[:9], NAMES[8]), Rendered)

    def test_full_page(self) -> None:
        """Cards for which a page has no room are not asked for."""
        row = "".join(f"\x1b[38;5;{16 + x};48;5;{200 - x}m#" for x in range(80))
        for name in NAMES[:8]:
            self.keep(name, "\n".join([row] * 25).encode())
        answer = self.gallery(NAMES)
        assert isinstance(answer, Rendered)
        self.assertIn(b'rel="next"', answer.body)

    def test_large_card(self) -> None:
        """The card of an image that is too large has its upper left screen."""
        rows = [f"{'<' * 10}{'x' * 5_000}{number}" for number in range(12)]
        self.keep(NAMES[0], "\n".join(rows).encode())
        answer = self.gallery(NAMES[:1])
        assert isinstance(answer, Rendered)
        self.assertIn(b"&lt;" * 10 + b"x" * 70, answer.body)
        self.assertNotIn(b"x" * 71, answer.body)

    def test_worst_card(self) -> None:
        """An image of which not even that can be shown has an empty card."""
        self.keep(NAMES[0], b"\x1b[999999;1Hx\n" * 25)
        self.assertIsInstance(self.gallery(NAMES[:1]), Rendered)

    def test_cut_character(self) -> None:
        """The beginning of an image may end within a character."""
        self.keep(NAMES[0], "cat ▀".encode()[:-1])
        answer = self.gallery(NAMES[:1])
        assert isinstance(answer, Rendered)
        self.assertIn(b"cat", answer.body)
        self.assertNotIn("\N{REPLACEMENT CHARACTER}".encode(), answer.body)

    def test_too_large(self) -> None:
        """A picture of an image that is too large is refused, with the reason."""
        answer = self.handlers.do(CSSJob(text=b"x\n" * 20_000))
        assert isinstance(answer, Refused)
        self.assertIn("too large", answer.reason)

    def test_no_png(self) -> None:
        """Without Pillow there is no PNG."""

        def fail(_: object) -> bytes:
            raise PNGUnavailableError

        self.patch(_job_handlers, "to_png", fail)
        answer = self.handlers.do(PNGJob(text=b"cat"))
        assert isinstance(answer, Refused)
        self.assertIn("PNG", answer.reason)
