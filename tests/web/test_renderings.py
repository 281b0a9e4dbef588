"""Renderings that requests share, and that are kept."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.web.jobs import CSSJob, GalleryJob, Missing, Rendered
from asciid.web.pages import Card, GalleryPage, Site
from asciid.web.renderer import (
    NotRenderableError,
    RendererBusyError,
    RenderingFailedError,
)
from asciid.web.renderings import Renderings
from tests.web._in_process import InProcessRenderer

PAGE = Rendered(body=b"page", gzip=b"gzip")


class RenderingsTests(SynchronousTestCase):
    """Renderings that requests share, and that are kept."""

    def setUp(self) -> None:
        """Keep nothing yet."""
        self.now = 0.0
        self.renderer = InProcessRenderer()
        self.renderings = Renderings(self.renderer, clock=lambda: self.now)
        self.made: list[Deferred[Rendered]] = []

    async def make(self) -> Rendered:
        """Render, as `made` says."""
        made: Deferred[Rendered] = Deferred()
        self.made.append(made)
        return await made

    def get(self, key: str = "key", client: str = "192.0.2.1") -> Deferred[Rendered]:
        """Get a rendering."""
        return Deferred.fromCoroutine(self.renderings.get(key, self.make, client))

    def test_kept(self) -> None:
        """What was rendered is not rendered again; others have keys of their own."""
        first = self.get()
        self.made[0].callback(PAGE)
        self.assertEqual(self.successResultOf(first), PAGE)
        self.assertEqual(self.successResultOf(self.get()), PAGE)
        self.assertNoResult(self.get("other"))
        self.assertEqual(len(self.made), 2)
        self.assertEqual((self.renderings.hits, self.renderings.misses), (1, 2))
        self.assertGreater(self.renderings.used, len(PAGE.body) + len(PAGE.gzip))

    def test_shared(self) -> None:
        """Requests that wait for the same share one rendering, even if some leave."""
        waiting = [self.get() for _ in range(3)]
        self.assertEqual(len(self.made), 1)
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.made[0].callback(PAGE)
        for each in waiting[1:]:
            self.assertEqual(self.successResultOf(each), PAGE)

    def test_two_clients(self) -> None:
        """A client does not wait for the turns of another that asked for the same."""
        for first in (0, 1):
            self.made.clear()
            clients = [f"192.0.2.{number}" for number in range(3)]
            waiting = [self.get(str(first), client) for client in clients * 2]
            self.assertEqual(len(self.made), 2)
            self.made[first].callback(PAGE)
            for each in waiting:
                self.assertEqual(self.successResultOf(each), PAGE)
            self.made[1 - first].callback(PAGE)

    def test_one_of_two_fails(self) -> None:
        """What is not rendered for one client may be for another."""
        waiting = [self.get(client=client) for client in ("192.0.2.1", "192.0.2.2")]
        self.made[0].errback(RendererBusyError())
        self.assertNoResult(waiting[0])
        self.made[1].callback(PAGE)
        for each in waiting:
            self.assertEqual(self.successResultOf(each), PAGE)

    def test_last_of_two_fails(self) -> None:
        """A failure for one client changes nothing for those who were answered."""
        waiting = [self.get(client=client) for client in ("192.0.2.1", "192.0.2.2")]
        self.made[0].callback(PAGE)
        self.made[1].errback(RendererBusyError())
        for each in waiting:
            self.assertEqual(self.successResultOf(each), PAGE)

    def test_all_leave(self) -> None:
        """A rendering for which nobody waits is kept, too."""
        waiting = self.get()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.made[0].callback(PAGE)
        self.assertEqual(self.successResultOf(self.get()), PAGE)

    def test_leaves_at_an_answer(self) -> None:
        """A request may leave while another one is answered."""
        first, second = self.get(), self.get()
        first.addCallback(lambda _: second.cancel())
        self.made[0].callback(PAGE)
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_failed(self) -> None:
        """What failed is not tried again for a minute, for all that wait."""
        waiting = [self.get(), self.get()]
        self.made[0].errback(RenderingFailedError())
        for each in waiting:
            self.failureResultOf(each, RenderingFailedError)
        self.now = 59.0
        self.failureResultOf(self.get(), RenderingFailedError)
        self.assertEqual(len(self.made), 1)
        self.now = 60.0
        again = self.get()
        self.made[1].callback(PAGE)
        self.successResultOf(again)
        self.now = 0.0
        self.assertEqual(self.successResultOf(self.get()), PAGE)

    def test_failures_bounded(self) -> None:
        """Of many failures, the last ones are remembered."""
        for number in range(1_001):
            failing = self.get(str(number))
            self.made[-1].errback(RenderingFailedError())
            self.failureResultOf(failing, RenderingFailedError)
        self.failureResultOf(self.get("1"), RenderingFailedError)
        self.assertNoResult(self.get("0"))

    def test_not_renderable(self) -> None:
        """That an image has no such rendering is kept, with the reason."""
        first = self.get()
        self.made[0].errback(NotRenderableError("too wide"))
        self.failureResultOf(first, NotRenderableError)
        error = self.failureResultOf(self.get(), NotRenderableError).value
        self.assertEqual(str(error), "too wide")
        self.assertEqual(len(self.made), 1)

    def test_busy(self) -> None:
        """A rendering that was not accepted is tried again at once."""
        first = self.get()
        self.made[0].errback(RendererBusyError())
        self.failureResultOf(first, RendererBusyError)
        self.get()
        self.assertEqual(len(self.made), 2)

    def test_jobs(self) -> None:
        """A job is done, unless it misses cards that only galleries have."""
        job = CSSJob(text=b"cat")
        rendered = Deferred.fromCoroutine(self.renderings.render(job, "client"))
        self.assertEqual(self.successResultOf(rendered).body, b"")
        card = Card(sha256="0" * 64, id="0" * 12)
        gallery = GalleryJob(page=GalleryPage(site=Site(), cards=(card,)))
        missing = self.successResultOf(self.renderings.do(gallery, "client"))
        self.assertEqual(missing, Missing(hashes=("0" * 64,)))
        failing = Deferred.fromCoroutine(self.renderings.render(gallery, "client"))
        self.failureResultOf(failing, RenderingFailedError)
