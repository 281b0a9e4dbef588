"""The routes that people and programs see images by: pages, listing, feed, files."""

from __future__ import annotations

import re
import time
from hashlib import sha256 as sha_256
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from werkzeug.exceptions import NotFound

from asciid.api._conditions import unmodified_tag
from asciid.api._cursors import parse_cursor
from asciid.api._feed import FEED_LENGTH, feed_body
from asciid.api._forms import is_form
from asciid.api._home import HOME_LENGTH, home_text
from asciid.api._image_address import parse_address, parse_page_path
from asciid.api._list_fields import all_lines
from asciid.api._listing_document import listing_body, next_page, parse_limit
from asciid.api._negotiation import names_html
from asciid.api._oembed import Embedding, parse_oembed
from asciid.api._page_answers import (
    CSS,
    FRAME,
    HTML,
    NOINDEX,
    PNG,
    SVG,
    RenderedKind,
    answer_rendering,
    send_body,
    set_page_fields,
)
from asciid.api._page_models import ID_DIGITS, card_of, page_image
from asciid.api._ranges import Part
from asciid.api._rendering_jobs import RenderingJobs, rendering_key
from asciid.api._representation import TEXT
from asciid.api._sending import send_parts
from asciid.errors import AsciidError, ImageBlockedError, ImageNotFoundError
from asciid.http import cached_by_fields
from asciid.web.jobs import (
    ChoicesJob,
    CSSJob,
    EmbedJob,
    PNGJob,
    ProblemJob,
    SVGJob,
    UploadJob,
    ViewerJob,
)
from asciid.web.pages import (
    Card,
    ChoicesPage,
    EmbedPage,
    GalleryPage,
    ProblemPage,
    UploadPage,
    ViewerPage,
)
from asciid.web.renderer import (
    NotRenderableError,
    RendererBusyError,
    RenderingFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred

    from asciid.api._image_address import ImageAddress
    from asciid.api._problems import Problem
    from asciid.api._public_address import PublicAddress
    from asciid.api._request_interface import Request
    from asciid.model import AboutRecord, Cursor, ListedImage
    from asciid.store import IImageReader, IImageStore
    from asciid.web.jobs import AnyJob, Rendered
    from asciid.web.pages import PageImage, Site
    from asciid.web.renderings import Renderings

__all__ = ["Reading", "wants_problem_page"]

_HASH_DIGITS = 64

_CARDS = 12
"""Cards of a gallery page."""

_HOUR = 3600
_MAX_AGE = _HOUR
"""
Seconds for which a rendering may be cached.

It is not longer, since what is said about an image changes, and it may be blocked.
"""

_LISTED_AGE = 60
"""Seconds for which a page that lists images may be cached."""

_NO_STORE = b"no-store"

_READS = frozenset({b"GET", b"HEAD"})

# Programs read these, so their errors are problem documents for all clients.
_is_no_page = re.compile(
    rb"/(?:image|images|problems|static|feed\.atom|oembed|openapi\.json|robots\.txt"
    rb"|favicon\.[a-z]+|metrics|livez|readyz)(?:/.*)?"
).fullmatch

_SHOWN = frozenset({404, 410, 451})
"""Statuses of problems that a browser gets as a page where it asks for one."""

_JOBS = {"svg": SVG, "png": PNG, "css": CSS}

_ROBOTS = b"""\
User-agent: *
Disallow: /random
Disallow: /oembed
"""


Render: TypeAlias = "Callable[[], Coroutine[Deferred[object], object, Rendered]]"


class _AmbiguousError(Exception):
    """Several images have a hash that begins so; the listed ones are named."""

    def __init__(self, listed: list[str]) -> None:
        super().__init__()
        self.listed = listed


class Reading:
    """
    Answers requests for pages, listing, feed and renderings.

    `site` is what pages say about the host, without its address, which `public`
    determines.  `renderings` renders, in turn for clients, of which
    `client_of` returns the key.  `image_ttl` is that of the service in seconds,
    None or 0 without one.  `clock` returns seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        store: IImageStore,
        *,
        site: Site,
        public: PublicAddress,
        renderings: Renderings,
        client_of: Callable[[Request], str],
        image_ttl: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._site = site
        self._public = public
        self._renderings = renderings
        self._client_of = client_of
        self._jobs = RenderingJobs(store, renderings)
        self._image_ttl = image_ttl
        self._clock = clock

    async def home(self, request: Request) -> bytes:
        """
        Answer with the gallery, or for a terminal with a text.

        Errors: `MalformedRequestError`, `RendererBusyError`, those of
        `IImageStore.list_images`.
        """
        if not from_browser(request):
            return await self._home_text(request)
        if not self._site.listing:
            return await self.upload(request, vary=b"Accept")
        try:
            return await self._gallery(request)
        except RenderingFailedError:
            return await self._home_text(request)

    async def random(self, request: Request) -> bytes:
        """
        Redirect to the page of an image; a terminal gets the image itself.

        Errors: `ImageNotFoundError`, those of `IImageStore.open`.
        """
        if not self._site.listing:
            raise ImageNotFoundError
        name = await self._store.random()
        request.setHeader(b"Vary", b"Accept")
        if from_browser(request):
            request.setHeader(b"Cache-Control", _NO_STORE)
            return _redirect(request, f"/i/{name[:ID_DIGITS]}")
        reader = await self._store.open(name)
        size = reader.spec.size

        def begin() -> None:
            request.setHeader(b"Content-Type", TEXT)
            request.setHeader(b"Content-Location", f"/image/{name}".encode("ascii"))
            request.setHeader(b"Content-Length", b"%d" % size)
            request.setHeader(b"Cache-Control", _NO_STORE)
            request.setHeader(b"X-Content-Type-Options", b"nosniff")

        if request.method == b"HEAD" or not size:
            begin()
        else:
            await send_parts(request, reader, [Part(0, size)], begin)
        return b""

    async def image(self, request: Request, name: str) -> bytes:
        """
        Answer with the page or another rendering of an image.

        Errors: `NotFound`, `NotRenderableError`, `RendererBusyError`,
        `RenderingFailedError`, those of `IImageStore.open`.
        """
        address = parse_address(name)
        try:
            sha256 = await self._resolve(address)
        except _AmbiguousError as error:
            return await self._choices(request, address, error.listed)
        if address.suffix == "txt":
            request.setHeader(b"Cache-Control", b"max-age=%d" % _LISTED_AGE)
            return _redirect(request, f"/image/{sha256}")
        record = await self._store.about(sha256)
        reader = await self._store.open(sha256)
        if address.suffix:
            return await self._file(request, reader, record, _JOBS[address.suffix])
        return await self._viewer(request, reader, record)

    async def embed(self, request: Request, name: str) -> bytes:
        """
        Answer with an image for a frame of another site.

        Errors: those of `image`.
        """
        address = parse_address(name)
        if address.suffix:
            raise NotFound
        try:
            sha256 = await self._resolve(address)
        except _AmbiguousError as error:
            return await self._choices(request, address, error.listed)
        record = await self._store.about(sha256)
        reader = await self._store.open(sha256)
        page = EmbedPage(
            site=self._site_for(request), image=self._image(reader, record)
        )

        async def render() -> Rendered:
            text = await self._text_if_small(reader)
            return await self._render(EmbedJob(page=page, text=text), request)

        key = rendering_key("embed", page)
        return await self._answer_page(request, page.image, FRAME, key, render)

    async def listing(self, request: Request) -> bytes:
        """
        Answer with a page of the listing as JSON.

        Errors: `MalformedRequestError`, those of `IImageStore.list_images`.
        """
        limit = parse_limit(request)
        images = await self._listed(parse_cursor(request), limit)
        following = next_page(images, limit)
        body = _answer_document(
            request,
            listing_body(images, following),
            b"application/json",
            b"max-age=%d" % _LISTED_AGE,
        )
        if following is not None:
            request.setHeader(b"Link", f'<{following}>; rel="next"'.encode("ascii"))
        return body

    async def feed(self, request: Request) -> bytes:
        """
        Answer with the feed.

        Errors: `MalformedRequestError`, those of `IImageStore.list_images`.
        """
        base = self._public.base_url(request)
        images = await self._listed(None, FEED_LENGTH)
        return _answer_document(
            request,
            feed_body(images, base),
            b"application/atom+xml; charset=utf-8",
            self._public.cache_control(b"max-age=%d" % _LISTED_AGE),
        )

    async def oembed(self, request: Request) -> bytes:
        """
        Answer with how to embed an image, of this service alone.

        Errors: `MalformedRequestError`, `NotFound`, those of `IImageStore.open`.
        """
        query = parse_oembed(request)
        path = self._public.path_of(request, query.url)
        if path is None:
            raise NotFound
        try:
            sha256 = await self._resolve(parse_page_path(path))
        except _AmbiguousError:
            raise NotFound from None
        record = await self._store.about(sha256)
        image = self._image(await self._store.open(sha256), record)
        max_age = self._max_age(image)
        base = self._public.base_url(request)
        embedding = Embedding(base, sha256, record.about, max_age)
        return _answer_document(
            request,
            embedding.body(query),
            query.content_type,
            self._public.cache_control(b"max-age=%d" % max_age),
        )

    async def upload(self, request: Request, vary: bytes = b"") -> bytes:
        """
        Answer with the page that sends images.

        Errors: `MalformedRequestError`, `RendererBusyError`, `RenderingFailedError`.
        """
        page = UploadPage(site=self._site_for(request))
        return await self._answer(
            request,
            HTML,
            key=rendering_key("upload", page),
            cache_control=self._public.cache_control(b"max-age=%d" % _LISTED_AGE),
            vary=vary,
            render=lambda: self._render(UploadJob(page=page), request),
        )

    def robots(self, request: Request) -> bytes:
        """Answer with what crawlers are asked to leave alone."""
        return _answer_document(request, _ROBOTS, TEXT, b"max-age=%d" % _HOUR)

    async def problem(self, request: Request, problem: Problem, body: bytes) -> bytes:
        """
        Return a page about a problem for a browser, after `answer_problem`.

        Where it cannot be rendered, that is `body`, the problem document.
        """
        try:
            page = ProblemPage(
                site=self._site_for(request),
                status=problem.status,
                title=problem.title,
                detail=problem.detail,
                prefix=_digits_in(request.path),
            )
            rendered = await self._renderings.get(
                rendering_key("problem", page),
                lambda: self._render(ProblemJob(page=page), request),
                self._client_of(request),
            )
        except AsciidError:
            return body
        set_page_fields(request, HTML)
        request.setHeader(b"Vary", b"Accept")
        return await send_body(request, rendered.body)

    async def _home_text(self, request: Request) -> bytes:
        site = self._site_for(request)
        images = await self._listed(None, HOME_LENGTH)
        request.setHeader(b"Vary", b"Accept")
        return _answer_document(
            request,
            home_text(site, images).encode("utf-8", "replace"),
            TEXT,
            self._public.cache_control(b"max-age=%d" % _LISTED_AGE),
        )

    async def _gallery(self, request: Request) -> bytes:
        before = parse_cursor(request)
        images = await self._listed(before, _CARDS + 1)
        now = int(self._clock())
        page = GalleryPage(
            site=self._site_for(request),
            cards=tuple(map(card_of, images[:_CARDS])),
            more=len(images) > _CARDS,
            first=before is None,
            # Ages are shown in minutes: so the page is rendered at most once in each.
            now=1000 * (now - now % 60),
        )
        return await self._answer(
            request,
            HTML,
            key=rendering_key("gallery", page),
            cache_control=self._public.cache_control(b"max-age=%d" % _LISTED_AGE),
            vary=b"Accept",
            render=lambda: self._jobs.gallery(page, self._client_of(request)),
        )

    async def _viewer(
        self, request: Request, reader: IImageReader, record: AboutRecord
    ) -> bytes:
        newer: ListedImage | None = None
        older: ListedImage | None = None
        if self._site.listing and record.about.listed:
            newer, older = await self._store.neighbours(reader.spec.sha256)
        page = ViewerPage(
            site=self._site_for(request),
            image=self._image(reader, record),
            newer=None if newer is None else card_of(newer),
            older=None if older is None else card_of(older),
        )

        async def render() -> Rendered:
            text = await self._text_if_small(reader)
            return await self._render(ViewerJob(page=page, text=text), request)

        key = rendering_key("viewer", page)
        return await self._answer_page(request, page.image, HTML, key, render)

    async def _file(
        self,
        request: Request,
        reader: IImageReader,
        record: AboutRecord,
        kind: RenderedKind,
    ) -> bytes:
        """Answer with an image as a file of another format."""
        about = record.about
        charset = record.charset

        async def render() -> Rendered:
            text = await self._jobs.text(reader)
            job: AnyJob
            if kind is SVG:
                job = SVGJob(
                    text=text,
                    title=about.title,
                    description=about.description,
                    charset=charset,
                )
            elif kind is PNG:
                job = PNGJob(text=text, charset=charset)
            else:
                job = CSSJob(text=text, charset=charset)
            return await self._render(job, request)

        image = self._image(reader, record)
        return await self._answer(
            request,
            kind,
            key=rendering_key(kind.name, image.sha256, record.revision),
            cache_control=b"max-age=%d" % self._max_age(image),
            noindex=not about.listed,
            render=render,
        )

    async def _answer_page(
        self,
        request: Request,
        image: PageImage,
        kind: RenderedKind,
        key: str,
        render: Render,
    ) -> bytes:
        """Answer with a page of one image; its text, if that cannot be rendered."""
        max_age = b"max-age=%d" % self._max_age(image)
        try:
            return await self._answer(
                request,
                kind,
                key=key,
                cache_control=self._public.cache_control(max_age),
                noindex=not image.listed,
                render=render,
            )
        except RenderingFailedError:
            if not image.listed:
                request.setHeader(*NOINDEX)
            request.setHeader(b"Cache-Control", _NO_STORE)
            return _redirect(request, f"/image/{image.sha256}")

    async def _answer(  # noqa: PLR0913 - what a response depends on
        self,
        request: Request,
        kind: RenderedKind,
        *,
        key: str,
        cache_control: bytes,
        render: Render,
        vary: bytes = b"",
        noindex: bool = False,
    ) -> bytes:
        return await answer_rendering(
            request,
            kind,
            key=key,
            cache_control=cache_control,
            vary=vary,
            noindex=noindex,
            render=lambda: self._renderings.get(key, render, self._client_of(request)),
        )

    async def _render(self, job: AnyJob, request: Request) -> Rendered:
        return await self._renderings.render(job, self._client_of(request))

    async def _choices(
        self, request: Request, address: ImageAddress, listed: list[str]
    ) -> bytes:
        """Answer with the listed images that an address may mean."""
        images = [
            (name, await self._store.about(name), await self._store.open(name))
            for name in listed
        ]
        request.setResponseCode(300)
        request.setHeader(b"Cache-Control", _NO_STORE)
        request.setHeader(b"Vary", b"Accept")
        if from_browser(request):
            cards = tuple(
                Card(
                    sha256=name,
                    id=name,
                    title=record.about.title,
                    description=record.about.description,
                    author=record.about.author,
                    size=reader.spec.size,
                    completed=round(reader.completed * 1000),
                )
                for name, record, reader in images
            )
            page = ChoicesPage(
                site=self._site_for(request), prefix=address.digits, cards=cards
            )
            try:
                rendered = await self._renderings.get(
                    rendering_key("choices", page),
                    lambda: self._render(ChoicesJob(page=page), request),
                    self._client_of(request),
                )
            except (RendererBusyError, RenderingFailedError):
                pass
            else:
                set_page_fields(request, HTML)
                return await send_body(request, rendered.body)
        suffix = f".{address.suffix}" if address.suffix else ""
        lines = [f"/i/{name}{suffix}\n" for name in listed]
        request.setHeader(b"Content-Type", TEXT)
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        return "".join(lines).encode("ascii")

    async def _resolve(self, address: ImageAddress) -> str:
        """
        Return the hash of the image with an address.

        Errors: `_AmbiguousError`, `ImageNotFoundError`, `ImageBlockedError`.
        """
        digits = address.digits
        if len(digits) == _HASH_DIGITS:
            return digits
        found = await self._store.find(digits)
        if not found:
            await self._raise_if_blocked(digits)
            raise ImageNotFoundError(digits)
        if len(found) == 1:
            return found[0][0]
        listed = [name for name, listed in found if listed and self._site.listing]
        raise _AmbiguousError(listed)

    async def _raise_if_blocked(self, digits: str) -> None:
        before = f"{int(digits, 16) - 1:0{len(digits)}x}" if int(digits, 16) else ""
        after = before.ljust(_HASH_DIGITS, "f") if before else ""
        for blocked in await self._store.blocked(after, 1):
            if blocked.sha256.startswith(digits):
                raise ImageBlockedError(blocked.reason)

    async def _listed(self, before: Cursor | None, limit: int) -> list[ListedImage]:
        if not self._site.listing:
            return []
        return await self._store.list_images(before, limit)

    async def _text_if_small(self, reader: IImageReader) -> bytes | None:
        try:
            return await self._jobs.text(reader)
        except NotRenderableError:
            return None

    def _image(self, reader: IImageReader, record: AboutRecord) -> PageImage:
        return page_image(reader, record, self._image_ttl)

    def _site_for(self, request: Request) -> Site:
        """
        Return what a page says about the host.

        Errors: `MalformedRequestError`.
        """
        return msgspec.structs.replace(self._site, url=self._public.base_url(request))

    def _max_age(self, image: PageImage) -> int:
        """Return for how many seconds a rendering of an image may be cached."""
        if not image.expires:
            return _MAX_AGE
        left = image.expires // 1000 - int(self._clock())
        return max(0, min(_MAX_AGE, left))


def wants_problem_page(request: Request, status: int) -> bool:
    """
    Return whether a problem of this status is sent as a page.

    A browser gets one if it sent a form, or asks for a page that does not exist or may
    not be shown.
    """
    if not from_browser(request):
        return False
    if request.method == b"POST":
        return is_form(request.getHeader(b"content-type"))
    is_read = request.method in _READS and _is_no_page(request.path) is None
    return is_read and status in _SHOWN


@cached_by_fields
def from_browser(request: Request) -> bool:
    """Return whether a request names HTML."""
    return names_html(all_lines(request, b"accept"))


def _redirect(request: Request, path: str) -> bytes:
    request.setResponseCode(302)
    request.setHeader(b"Location", path.encode("ascii"))
    request.setHeader(b"Content-Type", TEXT)
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    return f"{path}\n".encode("ascii")


def _answer_document(
    request: Request, body: bytes, content_type: bytes, cache_control: bytes
) -> bytes:
    """
    Answer a GET or HEAD with a body that was made for it; return the body.

    Errors: `PreconditionFailedError`.
    """
    etag = b'"%b"' % sha_256(body).hexdigest()[:32].encode("ascii")
    unmodified = unmodified_tag(request, etag)
    request.setHeader(b"ETag", unmodified or etag)
    request.setHeader(b"Cache-Control", cache_control)
    if unmodified is not None:
        request.setResponseCode(304)
        return b""
    request.setHeader(b"Content-Type", content_type)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    return body


def _digits_in(path: bytes) -> str:
    """Return the digits of the image in the path of a page, or nothing."""
    try:
        return parse_page_path(path.decode("ascii", "replace")).digits
    except NotFound:
        return ""
