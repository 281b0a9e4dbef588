"""Holds the responses of pages, listing and feed to the contract."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import fail

from asciid import errors
from asciid.api._reading import Reading
from asciid.api._static_files import StaticFiles
from asciid.model import About, NewImage
from asciid.store import Lifetimes
from asciid.testing import MemoryStore
from asciid.web.renderer import RendererBusyError, RenderingFailedError
from asciid.web.renderings import Renderings
from tests.api._raw import RawAnswer, RawCase
from tests.api._support import CAT_BYTES, CAT_SHA256
from tests.web._in_process import InProcessRenderer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.api._contract import Contract

COLLIDING = ("cat 51192094\n", "cat 53174542\n")
"""Texts whose hashes begin with the same 12 digits."""

BROWSER = "Accept: text/html"
GZIP = "Accept-Encoding: gzip"
READS = ("GET", "HEAD")
OTHER = 'If-Match: "other"'
PUBLIC = "https://art.example"
PAGE = f"/i/{CAT_SHA256[:12]}"
OEMBED = f"/oembed?url={PUBLIC}{PAGE}"


class PagesContract(RawCase):
    """Responses of pages are as the contract announces them."""

    contract: Contract
    store: MemoryStore
    renderer: InProcessRenderer

    def serve_pages(self, store: MemoryStore | None = None, **options: Any) -> None:  # noqa: ANN401 - those of ImageAPI
        """Serve a store with a listed image."""
        self.renderer = InProcessRenderer()
        self.api_options = {
            "renderings": Renderings(self.renderer),
            "public_url": PUBLIC,
            **options,
        }
        self.store = store or MemoryStore()
        self.serve(self.store)
        self.store_image(CAT_BYTES, About(title="Cat", author="Ann", tags=("pet",)))

    def store_image(self, data: bytes, about: About) -> str:
        """Store an image; return its hash."""
        name = sha256(data).hexdigest()
        writer = self.successResultOf(self.store.create(name, NewImage(about)))
        self.successResultOf(writer.write(data))
        self.successResultOf(writer.finish())
        return name

    def see(
        self,
        status: int,
        path: str,
        *lines: str,
        methods: Iterable[str] = READS,
    ) -> RawAnswer:
        """Send requests and hold the responses to that status and the contract."""
        for method in methods:
            answer = self.ask(method, path, *lines)
            self.assertEqual(answer.status, status, (method, path, answer))
            body: object = ""
            if answer.body and "json" in answer.fields.get("content-type", ""):
                body = json.loads(answer.body)
            self.contract.check(method, path, answer, body)
        return answer

    def test_rendered(self) -> None:
        """Pages and pictures, whole and in a content coding, and their validators."""
        self.serve_pages()
        secret = self.store_image(b"secret", About(listed=False))
        for path in (
            "/",
            "/upload",
            PAGE,
            f"{PAGE}/embed",
            f"{PAGE}.svg",
            f"{PAGE}.png",
            f"{PAGE}.css",
            f"/i/{secret}",
            f"/i/{secret}/embed",
        ):
            etag = self.see(200, path, BROWSER).fields["etag"]
            self.see(200, path, BROWSER, GZIP)
            self.see(304, path, BROWSER, f"If-None-Match: {etag}")
            self.see(412, path, BROWSER, OTHER)
        self.see(200, "/")

    def test_documents(self) -> None:
        """Listing, feed, oEmbed and the files beside the pages."""
        self.serve_pages()
        self.store_image(b"dog", About(expires=253_402_300_799_000))
        page = self.ask("GET", "/upload").body.decode()
        files = ["/static/" + it.split('"')[0] for it in page.split('"/static/')[1:]]
        for path in (
            "/images",
            "/images?limit=1",
            "/feed.atom",
            OEMBED,
            f"{OEMBED}&format=xml",
            "/robots.txt",
            "/favicon.svg",
            *files,
        ):
            etag = self.see(200, path).fields["etag"]
            self.see(200, path, GZIP)
            self.see(304, path, f"If-None-Match: {etag}")
            self.see(412, path, OTHER)
        self.see(301, "/favicon.ico")
        self.see(404, "/static/style.css")

    def test_redirects(self) -> None:
        """Where requests are led elsewhere."""
        self.serve_pages()
        self.see(200, "/random")
        self.see(302, "/random", BROWSER)
        self.see(302, f"{PAGE}.txt")
        for text in COLLIDING:
            self.store_image(text.encode(), About())
        address = sha256(COLLIDING[0].encode()).hexdigest()[:12]
        for path in (f"/i/{address}", f"/i/{address}/embed"):
            self.see(300, path)
            self.see(300, path, BROWSER)

    def test_malformed_queries(self) -> None:
        """A query that is malformed is 400."""
        self.serve_pages()
        for path in ("/images?before=x", "/images?limit=x", "/oembed"):
            self.see(400, path)
        self.see(400, "/?before=x", BROWSER)

    def test_no_image(self) -> None:
        """Images that do not exist, are incomplete, gone or blocked."""
        now = 0.0
        lifetimes = Lifetimes(upload=60, image=60)
        store = MemoryStore(lifetimes=lifetimes, monotonic=lambda: now)
        self.serve_pages(store)
        pending = "1" * 64
        registration = {"sha256": pending, "size": 5, "chunk_size": 5}
        kind = "Content-Type: application/json"
        self.ask("POST", "/image", kind, body=json.dumps(registration))
        oembed = f"/oembed?url={PUBLIC}"
        blocked = self.store_image(b"bad", About())
        self.successResultOf(self.store.block(blocked, "Not ours."))
        for accept in (BROWSER, "Accept: */*"):
            for path in ("/i/x", "/i/0123456789ab", f"/i/{pending}"):
                self.see(404, path, accept)
                self.see(404, f"{path}/embed", accept)
                self.see(404, oembed + path)
            self.see(451, f"/i/{blocked}", accept)
            self.see(451, f"/i/{blocked}/embed", accept)
        self.see(451, f"{oembed}/i/{blocked}")
        large = self.store_image(b"x\n" * 20_000, About())
        self.see(404, f"/i/{large}.svg")
        now = 61.0
        self.successResultOf(store.expire())
        for accept in (BROWSER, "Accept: */*"):
            self.see(410, f"/i/{CAT_SHA256}", accept)
            self.see(410, f"/i/{CAT_SHA256}/embed", accept)
            self.see(404, "/random", accept)
        self.see(410, f"{oembed}/i/{CAT_SHA256}")

    def test_not_rendered(self) -> None:
        """Pages that cannot be rendered now, or not at all."""
        self.serve_pages()
        secret = self.store_image(b"secret", About(listed=False))
        self.renderer.error = RendererBusyError()
        for path in ("/", "/upload", PAGE, f"{PAGE}/embed"):
            self.see(503, path, BROWSER)
        self.renderer.error = RenderingFailedError()
        self.see(503, f"{PAGE}.svg")
        self.see(302, f"/i/{secret}")
        self.see(302, f"/i/{secret}/embed")

    def test_faults_of_pages(self) -> None:
        """Errors of the storage, and of the service itself."""
        for error in (
            errors.StorageFailedError(),
            errors.DatabaseUnavailableError(),
            errors.StoreClosedError(),
        ):
            self.serve_pages()
            for name in ("find", "list_images", "random"):
                self.patch(self.store, name, lambda *_, it=error: fail(it))
            for path in (
                "/",
                PAGE,
                f"{PAGE}/embed",
                "/images",
                "/feed.atom",
                OEMBED,
                "/random",
            ):
                self.see(503, path)

        def fault(*_: object, **_options: object) -> None:
            raise RuntimeError

        for place, name, path in (
            (Reading, "home", "/"),
            (Reading, "random", "/random"),
            (Reading, "image", PAGE),
            (Reading, "embed", f"{PAGE}/embed"),
            (Reading, "listing", "/images"),
            (Reading, "feed", "/feed.atom"),
            (Reading, "oembed", OEMBED),
            (Reading, "upload", "/upload"),
            (Reading, "robots", "/robots.txt"),
            (StaticFiles, "answer", "/static/x"),
            (StaticFiles, "answer_icon", "/favicon.svg"),
            (StaticFiles, "redirect_to_icon", "/favicon.ico"),
        ):
            patched = self.patch(place, name, fault)
            self.see(500, path)
            patched.restore()
        self.flushLoggedErrors(RuntimeError)
