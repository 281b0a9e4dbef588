"""Pages, listing, feed and renderings of images."""

from __future__ import annotations

import gzip
import json
import struct
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._cursors import cursor_text
from asciid.errors import StoreBusyError
from asciid.model import About, Cursor, NewImage
from asciid.testing import MemoryStore
from asciid.web.jobs import (
    MAX_TEXT,
    CardsJob,
    CSSJob,
    GalleryJob,
    Missing,
    SVGJob,
    ViewerJob,
)
from asciid.web.renderer import RendererBusyError, RenderingFailedError
from asciid.web.renderings import Renderings
from tests.api._pages_contract import COLLIDING
from tests.api._raw import OnAsciid, OnSite, RawAnswer, RawCase
from tests.web._in_process import InProcessRenderer

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
ATOM = "{http://www.w3.org/2005/Atom}"
URL = "https://art.example"
NOW = 1_800_000_000


def fail_busy() -> Deferred[Any]:
    """Return what a busy store answers."""
    return fail(StoreBusyError())


class ReadingCase(RawCase):
    """A service with images; mix in one of the stacks."""

    def setUp(self) -> None:
        """Serve an empty store."""
        self.now = float(NOW)
        self.renderer = InProcessRenderer()
        self.begin()

    def begin(self, **options: Any) -> None:  # noqa: ANN401 - those of ImageAPI
        """Serve an empty store from now on."""
        self.api_options = {
            "renderings": Renderings(self.renderer),
            "public_url": URL,
            "clock": lambda: self.now,
            **options,
        }
        self.store = MemoryStore(clock=lambda: self.now, monotonic=lambda: self.now)
        self.serve(self.store)

    def put(
        self,
        text: str,
        charset: str = "",
        **about: Any,  # noqa: ANN401 - those of About
    ) -> str:
        """Store an image a second after the one before; return its hash."""
        self.now += 1
        data = text.encode()
        name = sha256(data).hexdigest()
        new = NewImage(about=About(**about), charset=charset)
        writer = self.successResultOf(self.store.create(name, new))
        if data:
            self.successResultOf(writer.write(data))
        self.successResultOf(writer.finish())
        return name

    def get(self, path: str, *lines: str) -> RawAnswer:
        """Return the response to a GET, which must be a success."""
        answer = self.ask("GET", path, *lines)
        self.assertEqual(answer.status, 200, answer)
        return answer


class HomeTests(OnAsciid, ReadingCase, SynchronousTestCase):
    """The root."""

    def test_terminal(self) -> None:
        """A terminal gets the usage of the service, and the newest images."""
        name = self.put("cat", title="Cat", author="Ann")
        self.put("secret", title="Secret", listed=False)
        for accept in ((), ("Accept: */*",), ("Accept: text/html;q=0, */*",)):
            answer = self.get("/", *accept)
            self.assertEqual(answer.fields["content-type"], "text/plain; charset=utf-8")
            self.assertEqual(answer.fields["vary"], "Accept")
            text = answer.body.decode()
            self.assertIn(f"curl -T cat.txt {URL}/\n", text)
            self.assertIn(f"  curl -L {URL}/i/<id>.txt\n  curl {URL}/random\n", text)
            self.assertIn(f"  {URL}/i/{name[:12]}  Cat by Ann\n", text)
            self.assertNotIn("Secret", text)
        self.assertEqual(self.renderer.jobs, [])

    def test_terminal_with_tokens(self) -> None:
        """Where uploads need a token, the command has one."""
        self.begin(tokens=object())
        self.assertIn(b'curl -H "Authorization: Bearer $TOKEN" -T', self.get("/").body)

    def test_gallery(self) -> None:
        """A browser gets the newest images, with a policy that runs nothing of them."""
        name = self.put("<b>cat</b>", title="<i>Cat</i>")
        self.put("secret", title="Secret", listed=False)
        answer = self.get("/", BROWSER)
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")
        self.assertEqual(answer.fields["vary"], "Accept, Accept-Encoding")
        self.assertEqual(answer.fields["cache-control"], "max-age=60")
        self.assertEqual(answer.fields["x-content-type-options"], "nosniff")
        self.assertEqual(answer.fields["referrer-policy"], "same-origin")
        policy = answer.fields["content-security-policy"]
        self.assertIn("default-src 'none'; style-src 'self'; script-src 'self'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("access-control-allow-origin", answer.fields)
        self.assertIn(f'href="/i/{name[:12]}"'.encode(), answer.body)
        self.assertIn(b"&lt;b&gt;cat", answer.body)
        self.assertIn(b"&lt;i&gt;Cat", answer.body)
        self.assertNotIn(b"Secret", answer.body)

    def test_kept(self) -> None:
        """A page is rendered once a minute; its cards are rendered once."""
        self.put("cat")
        self.now = NOW + 60
        first = self.get("/", BROWSER)
        kinds = [type(job) for job in self.renderer.jobs]
        self.assertEqual(kinds, [GalleryJob, CardsJob, GalleryJob])
        self.now += 59
        self.assertEqual(self.get("/", BROWSER).body, first.body)
        self.assertEqual(len(self.renderer.jobs), 3)
        self.now += 1
        self.get("/", BROWSER)
        self.assertEqual([type(job) for job in self.renderer.jobs[3:]], [GalleryJob])

    def test_pages(self) -> None:
        """Each page has 12 images, and the links lead through all of them."""
        names = [self.put(f"image {number}") for number in range(50)]
        names.reverse()
        seen: list[str] = []
        path = "/"
        for count in (12, 12, 12, 12, 2):
            body = self.get(path, BROWSER).body.decode()
            page = [name for name in names if f"/i/{name[:12]}" in body]
            self.assertEqual(len(page), count)
            seen += page
            path = body.partition('rel="next"')[2].partition('href="')[2].split('"')[0]
        self.assertEqual(seen, names)
        self.assertEqual(path, "")

    def test_size(self) -> None:
        """A page of large cards ends early, and the next one continues there."""
        row = "".join(f"\x1b[38;5;{16 + x};48;5;{200 - x}m#" for x in range(80))
        names = [self.put("\n".join([row] * 25) + f"\n{n}") for n in range(30)]
        names.reverse()
        seen: list[str] = []
        path = "/"
        while path:
            answer = self.get(path, BROWSER)
            self.assertLessEqual(len(answer.body), 400_000)
            body = answer.body.decode()
            page = [name for name in names if f"/i/{name[:12]}" in body]
            self.assertNotEqual(page, [])
            seen += page
            path = body.partition('rel="next"')[2].partition('href="')[2].split('"')[0]
        self.assertEqual(seen, names)

    def test_no_cursor(self) -> None:
        """A cursor that is none is refused."""
        for cursor in ("x", "1", "1-", "-1", "8000000000000000-1", "1-1-1", "%00", "é"):
            for path in ("/", "/images"):
                answer = self.ask("GET", f"{path}?before={quote(cursor)}", BROWSER)
                self.assert_problem(answer, 400, "malformed-request")
        self.get("/?before=", BROWSER)

    def test_renderer_fails(self) -> None:
        """Without a renderer the root is a text."""
        self.renderer.error = RenderingFailedError()
        answer = self.get("/", BROWSER)
        self.assertEqual(answer.fields["content-type"], "text/plain; charset=utf-8")
        # It is not tried again at once.
        self.get("/", BROWSER)
        self.assertEqual(len(self.renderer.jobs), 1)

    def test_busy(self) -> None:
        """If too many renderings wait, the client is to come back."""
        self.renderer.error = RendererBusyError()
        answer = self.ask("GET", "/", BROWSER)
        self.assert_problem(answer, 503, "renderer-busy")
        self.assertEqual(answer.fields["retry-after"], "1")
        self.renderer.error = None
        self.get("/", BROWSER)

    def test_removed_meanwhile(self) -> None:
        """An image that is removed while the page is made does not break it."""
        gone = self.put("cat", title="Gone")
        self.put("dog", title="Dog")
        list_images = self.store.list_images

        def list_then_remove(before: Cursor | None, limit: int) -> Deferred[Any]:
            found = self.successResultOf(list_images(before, limit))
            self.successResultOf(self.store.delete(gone))
            return succeed(found)

        self.patch(self.store, "list_images", list_then_remove)
        body = self.get("/", BROWSER).body
        self.assertIn(b"Dog", body)
        self.assertIn(b"Gone", body)

    def test_batches(self) -> None:
        """Cards of large images are rendered few at a time."""
        for number in range(6):
            self.put(f"{number}" + "\n" * 9_000 + " " * 60_000)
        self.get("/", BROWSER)
        sizes = [
            sum(map(len, job.texts.values()))
            for job in self.renderer.jobs
            if isinstance(job, CardsJob)
        ]
        self.assertGreater(len(sizes), 1)
        self.assertLessEqual(max(sizes), 256 * 1024)

    def test_evicted(self) -> None:
        """If cards are evicted faster than they are sent, the client is to retry."""
        name = self.put("cat")
        missing = Missing(hashes=(name,))
        self.patch(self.renderer, "render", lambda *_: succeed(missing))
        answer = self.ask("GET", "/", BROWSER)
        self.assert_problem(answer, 503, "renderer-busy")

    def test_store_fails(self) -> None:
        """A store that is busy is no page with empty cards."""
        self.put("cat")
        self.patch(self.store, "open", lambda _: fail_busy())
        self.assert_problem(self.ask("GET", "/", BROWSER), 503, "store-busy")

    def test_no_listing(self) -> None:
        """A service without listing names no image anywhere."""
        self.begin(listing=False)
        name = self.put("cat", title="Cat")
        for path in ("/", "/images", "/feed.atom"):
            for accept in ((), (BROWSER,)):
                body = self.get(path, *accept).body.decode()
                self.assertNotIn(name[:12], body)
                self.assertNotIn("Cat", body)
        self.assertIn(b"<form", self.get("/", BROWSER).body)
        self.assert_problem(self.ask("GET", "/random"), 404, "image-not-found")
        self.assertIn(b"Cat", self.get(f"/i/{name[:12]}", BROWSER).body)

    def test_without_public_address(self) -> None:
        """What depends on the client's Host is stored by no cache."""
        self.begin(public_url=None)
        name = self.put("cat")
        for path in ("/", "/upload", f"/i/{name}", f"/i/{name}/embed", "/feed.atom"):
            answer = self.get(path, BROWSER)
            self.assertEqual(answer.fields["cache-control"], "no-store", path)
        self.assertIn(b"http://asciid.test/", self.get("/").body)
        for path in ("/images", f"/i/{name}.svg"):
            self.assertIn("max-age", self.get(path).fields["cache-control"])

    def test_bad_host(self) -> None:
        """A Host that no link can have is refused."""
        self.begin(public_url=None)
        head = "GET / HTTP/1.1\r\nHost: a_b!c\r\n\r\n"
        self.assertIn(b" 400 ", self.client.raw(head).partition(b"\r\n")[0] + b" ")


class ViewerTests(OnAsciid, ReadingCase, SynchronousTestCase):
    """The page of an image."""

    def test_page(self) -> None:
        """It has the art, what is said about it, and links to its neighbours."""
        older = self.put("old", title="Older")
        name = self.put(
            "<cat>",
            title="A & B",
            description="A cat",
            author="Ann",
            licence="CC0-1.0",
            tags=("pet",),
        )
        newer = self.put("new", title="Newer")
        answer = self.get(f"/i/{name[:12]}", BROWSER)
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")
        self.assertEqual(answer.fields["cache-control"], "max-age=3600")
        self.assertEqual(answer.fields["vary"], "Accept-Encoding")
        self.assertNotIn("x-robots-tag", answer.fields)
        body = answer.body.decode()
        for text in (
            "&lt;cat&gt;",
            "A &amp; B",
            "A cat",
            "Ann",
            "CC0-1.0",
            "pet",
            name,
        ):
            self.assertIn(text, body)
        for other in (older, newer):
            self.assertIn(f"/i/{other[:12]}", body)
        self.assertIn(f'content="{URL}/i/{name[:12]}"', body)

    def test_any_client(self) -> None:
        """A robot that names no media type gets the page, for what is said there."""
        name = self.put("cat")
        answer = self.get(f"/i/{name[:12]}")
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")

    def test_digits(self) -> None:
        """An address has 12 to 64 digits of the hash, in either case."""
        name = self.put("cat")
        page = self.get(f"/i/{name}").body
        for digits in (name[:12], name[:13], name[:63], name.upper()):
            self.assertEqual(self.get(f"/i/{digits}").body, page)
        for digits in (name[:11], name + "0", "", "g" * 12, f"{name}.exe", f"{name}."):
            answer = self.ask("GET", f"/i/{digits}")
            self.assert_problem(answer, 404, "not-found")
        wrong = "0" if name[12] != "0" else "1"
        self.assert_problem(
            self.ask("GET", f"/i/{name[:12]}{wrong}"), 404, "image-not-found"
        )

    def test_unlisted(self) -> None:
        """An unlisted image is for those who have its address, and not for robots."""
        listed = self.put("cat", title="Known")
        name = self.put("secret", title="Secret", listed=False)
        answer = self.get(f"/i/{name[:12]}")
        self.assertEqual(answer.fields["x-robots-tag"], "noindex")
        self.assertIn(b"noindex", answer.body)
        self.assertNotIn(b"Known", answer.body)
        self.assertNotIn(b"Secret", self.get(f"/i/{listed}").body)
        for other in ("/embed", ".svg", ".png", ".css"):
            answer = self.get(f"/i/{name}{other}")
            self.assertEqual(answer.fields["x-robots-tag"], "noindex")
            answer = self.get(f"/i/{listed}{other}")
            self.assertNotIn("x-robots-tag", answer.fields)

    def test_expiry(self) -> None:
        """A page is not cached for longer than its image exists."""
        name = self.put("cat", expires=(NOW + 100) * 1000)
        self.now = NOW + 70
        for path in (f"/i/{name}", f"/i/{name}.svg", f"/i/{name}/embed"):
            self.assertEqual(self.get(path).fields["cache-control"], "max-age=30")
        self.begin(image_ttl=1000)
        name = self.put("cat", expires=(NOW + 10_000) * 1000)
        self.now += 600
        self.assertEqual(self.get(f"/i/{name}").fields["cache-control"], "max-age=400")
        self.now += 500
        self.assertEqual(self.get(f"/i/{name}").fields["cache-control"], "max-age=0")

    def test_conditions(self) -> None:
        """Validators change with what is said about the image."""
        name = self.put("cat")
        for path in (f"/i/{name}", f"/i/{name}.svg", f"/i/{name}.css"):
            etag = self.get(path).fields["etag"]
            jobs = len(self.renderer.jobs)
            line = f"If-None-Match: {etag}"
            answer = self.ask("GET", path, line)
            self.assertEqual(answer.status, 304)
            self.assertEqual(answer.fields["etag"], etag)
            self.assertEqual(answer.fields["cache-control"], "max-age=3600")
            coded = self.ask("GET", path, line, "Accept-Encoding: gzip")
            self.assertEqual(coded.status, 304)
            self.assertEqual(self.ask("GET", path, 'If-Match: "x"').status, 412)
            self.assertEqual(len(self.renderer.jobs), jobs)
            self.successResultOf(self.store.set_about(name, About(title=path)))
            self.assertEqual(self.get(path, line).status, 200)

    def test_gzip(self) -> None:
        """A client that accepts gzip gets it, with a tag of its own."""
        name = self.put("cat")
        plain = self.get(f"/i/{name}")
        coded = self.get(f"/i/{name}", "Accept-Encoding: gzip, br")
        self.assertEqual(coded.fields["content-encoding"], "gzip")
        self.assertEqual(gzip.decompress(coded.body), plain.body)
        self.assertNotEqual(coded.fields["etag"], plain.fields["etag"])
        refused = self.get(f"/i/{name}", "Accept-Encoding: gzip;q=0")
        self.assertEqual(refused.body, plain.body)
        self.assertEqual(len(self.renderer.jobs), 1)

    def test_head(self) -> None:
        """HEAD has the fields of GET."""
        name = self.put("cat")
        for path in (
            f"/i/{name}",
            f"/i/{name}/embed",
            f"/i/{name}.svg",
            f"/i/{name}.css",
            f"/i/{name}.txt",
            "/",
            "/upload",
            "/images",
            "/feed.atom",
            "/robots.txt",
            "/favicon.svg",
            f"/oembed?url={URL}/i/{name}",
            "/random",
            "/i/000000000000",
        ):
            for accept in (BROWSER, "Accept: */*"):
                got = self.ask("GET", path, accept)
                head = self.ask("HEAD", path, accept)
                self.assertEqual(head.body, b"", path)
                self.assertEqual(head.status, got.status, path)
                for fields in (got.fields, head.fields):
                    del fields["x-request-id"], fields["date"]
                if got.status != 302:
                    self.assertEqual(head.fields, got.fields, path)

    def test_large(self) -> None:
        """A page of more than 64 KiB is sent in pieces, and is whole."""
        rows = "".join(f"\x1b[38;5;{n % 200 + 16}m{n % 10}" for n in range(20_000))
        lines = [rows[start : start + 1_000] for start in range(0, len(rows), 1_000)]
        name = self.put("\n".join(lines))
        answer = self.get(f"/i/{name}")
        self.assertGreater(len(answer.body), 200_000)
        self.assertEqual(answer.fields["content-length"], str(len(answer.body)))
        self.assertTrue(answer.body.endswith(b"</html>"))

    def test_too_large(self) -> None:
        """An image that is too large to be drawn has a page, and no pictures."""
        for text in ("x" * (MAX_TEXT + 1), "x\n" * 20_000):
            name = self.put(text)
            for path in (f"/i/{name}", f"/i/{name}/embed"):
                body = self.get(path).body
                self.assertIn(b"too large", body)
                self.assertNotIn(b"xxx", body)
            for suffix in ("svg", "css"):
                for _ in range(2):
                    answer = self.ask("GET", f"/i/{name}.{suffix}")
                    self.assert_problem(answer, 404, "not-renderable")
                    self.assertIn(b"too large", answer.body)

    def test_renderer_fails(self) -> None:
        """If an image cannot be rendered, its page leads to the text, for a minute."""
        name = self.put("cat")
        self.renderer.error = RenderingFailedError()
        for path in (f"/i/{name}", f"/i/{name}/embed"):
            answer = self.ask("GET", path)
            self.assertEqual(answer.status, 302)
            self.assertEqual(answer.fields["location"], f"/image/{name}")
            self.assertEqual(answer.fields["cache-control"], "no-store")
        answer = self.ask("GET", f"/i/{name}.svg")
        self.assert_problem(answer, 503, "rendering-failed")

    def test_busy(self) -> None:
        """If too many renderings wait, the client is to come back."""
        name = self.put("cat")
        self.renderer.error = RendererBusyError()
        for path in (f"/i/{name}", f"/i/{name}.svg", f"/i/{name}/embed", "/upload"):
            answer = self.ask("GET", path)
            self.assert_problem(answer, 503, "renderer-busy")

    def test_blocked(self) -> None:
        """A blocked image is 451 at every address, also from caches."""
        name = self.put("cat")
        paths = [
            f"/i/{digits}{suffix}"
            for digits in (name, name[:12])
            for suffix in ("", ".svg", ".css", ".txt", "/embed")
        ]
        for path in paths:
            self.assertIn(self.ask("GET", path).status, {200, 302})
        self.successResultOf(self.store.block(name, "Not ours."))
        for path in (*paths, f"/oembed?url={URL}/i/{name}"):
            if path.endswith(f"{name}.txt"):
                # It leads to the image, which is 451.
                continue
            answer = self.ask("GET", path)
            self.assert_problem(answer, 451, "image-blocked")
            self.assertIn(b"Not ours.", answer.body)
        # An address that begins otherwise is not blocked.
        for digit in "0f":
            self.assertEqual(self.ask("GET", f"/i/{digit * 12}").status, 404)

    def test_deleted(self) -> None:
        """What was rendered of an image is not served after its deletion."""
        name = self.put("cat")
        paths = (f"/i/{name}", f"/i/{name[:12]}", f"/i/{name}.svg")
        for path in paths:
            self.get(path)
        self.successResultOf(self.store.delete(name))
        for path in paths:
            answer = self.ask("GET", path)
            self.assert_problem(answer, 404, "image-not-found")

    def test_ambiguous(self) -> None:
        """Where several images begin so, the listed ones are named."""
        names = [self.put(text, title=text.strip()) for text in COLLIDING]
        digits = names[0][:12]
        self.assertEqual(digits, names[1][:12])
        answer = self.ask("GET", f"/i/{digits}.svg")
        self.assertEqual(answer.status, 300)
        self.assertEqual(
            sorted(answer.body.decode().split()),
            sorted(f"/i/{name}.svg" for name in names),
        )
        page = self.ask("GET", f"/i/{digits}", BROWSER)
        self.assertEqual(page.status, 300)
        for name in names:
            self.assertIn(f"/i/{name}".encode(), page.body)
        embed = self.ask("GET", f"/i/{digits}/embed", BROWSER)
        self.assertEqual(embed.status, 300)
        oembed = self.ask("GET", f"/oembed?url={URL}/i/{digits}")
        self.assert_problem(oembed, 404, "not-found")
        self.successResultOf(self.store.set_about(names[0], About(listed=False)))
        self.renderer.error = RenderingFailedError()
        for accept in (BROWSER, "Accept: */*"):
            answer = self.ask("GET", f"/i/{digits}", accept)
            self.assertEqual(answer.status, 300)
            self.assertEqual(answer.body.decode(), f"/i/{names[1]}\n")

    def test_not_found_page(self) -> None:
        """A browser gets a page about what is not there; programs a problem."""
        for path in ("/i/0123456789ab", "/i/0123456789ab/embed", "/i/x", "/what"):
            page = self.ask("GET", path, BROWSER)
            self.assertEqual(page.status, 404)
            self.assertEqual(page.fields["content-type"], "text/html; charset=utf-8")
            self.assertEqual(page.fields["cache-control"], "no-store")
            self.assertIn("default-src", page.fields["content-security-policy"])
            self.assertIn(b"Nothing hangs here", page.body)
            self.assertNotIn(b"<script>", page.body)
        self.assertIn(b"0123456789ab", self.ask("GET", "/i/0123456789ab", BROWSER).body)
        self.assert_problem(self.ask("GET", "/i/0123456789ab"), 404, "image-not-found")
        self.renderer.error = RenderingFailedError()
        answer = self.ask("GET", "/i/0123456789ac", BROWSER)
        self.assert_problem(answer, 404, "image-not-found")
        for path in (f"/image/{'0' * 64}", "/static/x", "/problems/x"):
            answer = self.ask("GET", path, BROWSER)
            self.assertEqual(answer.fields["content-type"], "application/problem+json")

    def test_refused_form(self) -> None:
        """A browser whose form is refused gets a page that says why."""
        part = '--XX\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
        file = part.format("file", '; filename="x.txt"', "\udc81\udc82")
        charset = part.format("charset", "", "utf-8")
        form = "Content-Type: multipart/form-data; boundary=XX"
        for body, status, text in (
            (f"{charset}{file}--XX--", 400, b"UTF-8"),
            (f"{charset}--XX--", 400, b"no file was sent"),
            (
                f"{part.format('charset', '', 'klingon')}{file}--XX--",
                415,
                b"Unknown charset",
            ),
        ):
            page = self.ask("POST", "/", BROWSER, form, body=body)
            self.assertEqual(page.status, status, page.body)
            self.assertEqual(page.fields["content-type"], "text/html; charset=utf-8")
            self.assertIn("default-src", page.fields["content-security-policy"])
            self.assertIn(text, page.body)
            self.assertIn(b'href="/upload"', page.body)
            answer = self.ask("POST", "/", form, body=body)
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.fields["content-type"], "application/problem+json")
        answer = self.ask("POST", "/", BROWSER, "Content-Type: text/x", body="\udc81")
        self.assertEqual(answer.status, 422)
        self.assertEqual(answer.fields["content-type"], "application/problem+json")

    def test_gone_page(self) -> None:
        """A browser gets a page about what has expired or is blocked, too."""
        name = self.put("cat")
        self.successResultOf(self.store.block(name, "<b>Not ours</b>"))
        page = self.ask("GET", f"/i/{name}", BROWSER)
        self.assertEqual(page.status, 451)
        self.assertIn(b"&lt;b&gt;Not ours&lt;/b&gt;", page.body)

    def test_expired_page(self) -> None:
        """An expired image is 410 under its hash, and 404 under a part of that."""
        name = self.put("cat", expires=(NOW + 100) * 1000)
        self.now = NOW + 101
        self.assertEqual(self.successResultOf(self.store.expire()), 1)
        page = self.ask("GET", f"/i/{name}", BROWSER)
        self.assertEqual(page.status, 410)
        self.assertIn(b"<h1>410. Image gone</h1>", page.body)
        self.assertEqual(self.ask("GET", f"/i/{name[:12]}", BROWSER).status, 404)


class FileTests(OnAsciid, ReadingCase, SynchronousTestCase):
    """Images in other formats."""

    def test_svg(self) -> None:
        """An SVG can be read by any page, and runs nothing."""
        name = self.put("<cat>", title="Cat", description="A cat <b>")
        answer = self.get(f"/i/{name[:12]}.svg")
        self.assertEqual(answer.fields["content-type"], "image/svg+xml")
        self.assertEqual(answer.fields["access-control-allow-origin"], "*")
        self.assertEqual(
            answer.fields["content-security-policy"],
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        )
        ET.fromstring(answer.body)  # noqa: S314 - our own
        self.assertIn(b"A cat &lt;b&gt;", answer.body)
        [job] = self.renderer.jobs
        self.assertEqual(
            job, SVGJob(text=b"<cat>", title="Cat", description="A cat <b>")
        )

    def test_converted(self) -> None:
        """Everything shows art by its width and iCE colours, also after a change."""
        for charset, size, ground, colour in (
            ("cp437; columns=2; ice", (2, 2), "b9", b"#f55"),
            ("cp437", (4, 1), "b1", b"#a00"),
        ):
            columns, rows = size
            name = self.put("\x1b[5;41mabcd", charset)
            for path in (f"/i/{name}", "/", f"/i/{name}/embed"):
                self.now += 120
                body = self.get(path, BROWSER).body.decode()
                self.assertIn(f"cu{columns} ru{rows}", body, path)
                self.assertRegex(body, f'<span class="?{ground}', path)
            self.assertIn(colour, self.get(f"/i/{name}.svg").body)
            png = self.get(f"/i/{name}.png").body
            self.assertEqual(
                struct.unpack_from(">II", png, 16), (16 * columns, 32 * rows)
            )
            self.successResultOf(self.store.delete(name))

    def test_css(self) -> None:
        """The style sheet of an image has its colours."""
        name = self.put("\x1b[38;2;1;2;3mcat")
        answer = self.get(f"/i/{name}.css")
        self.assertEqual(answer.fields["content-type"], "text/css; charset=utf-8")
        self.assertIn(b"#010203", answer.body)
        self.assertEqual(self.renderer.jobs, [CSSJob(text=b"\x1b[38;2;1;2;3mcat")])

    def test_txt(self) -> None:
        """The text is the image itself."""
        name = self.put("cat")
        for digits in (name, name[:12]):
            answer = self.ask("GET", f"/i/{digits}.txt")
            self.assertEqual(answer.status, 302)
            self.assertEqual(answer.fields["location"], f"/image/{name}")

    def test_embed(self) -> None:
        """Only the page for frames may be framed, and names no other image."""
        other = self.put("dog", title="Dog")
        name = self.put("cat", title="Cat")
        answer = self.get(f"/i/{name[:12]}/embed")
        policy = answer.fields["content-security-policy"]
        self.assertIn("frame-ancestors *", policy)
        self.assertNotIn("script-src", policy)
        self.assertIn(b"Cat", answer.body)
        self.assertNotIn(other[:12].encode(), answer.body)
        self.assert_problem(
            self.ask("GET", f"/i/{name[:12]}.svg/embed"), 404, "not-found"
        )

    def test_empty(self) -> None:
        """An image of no bytes has a page and pictures."""
        name = self.put("")
        for path in ("", ".svg", ".css", "/embed"):
            self.get(f"/i/{name}{path}")
        self.get("/", BROWSER)
        self.assertEqual(self.get("/random").body, b"")

    def test_cold(self) -> None:
        """An image that is not in memory is read."""
        text = "\n".join(f"row {n}" for n in range(9_999))
        name = self.put(text)
        self.get(f"/i/{name}.svg")
        [job] = self.renderer.jobs
        self.assertEqual(job, SVGJob(text=text.encode()))
        self.get("/", BROWSER)
        cards = self.renderer.jobs[2]
        assert isinstance(cards, CardsJob)
        self.assertEqual(cards.texts, {name: text.encode()[: 64 * 1024]})

    def test_shared(self) -> None:
        """Requests for the same share one rendering, also when the first one leaves."""
        name = self.put("cat")
        self.renderer.held = []
        request = f"GET /i/{name} HTTP/1.1\r\nHost: a\r\n\r\n"
        first, second = (self.client.connect(request) for _ in range(2))
        first.loseConnection()
        [held] = self.renderer.held
        [job] = self.renderer.jobs
        self.assertIsInstance(job, ViewerJob)
        self.renderer.held = None
        held.callback(self.successResultOf(self.renderer.render(job)))
        self.assertIn(b" 200 ", bytes(second.value())[:20])
        self.assertEqual(bytes(first.value()), b"")
        self.get(f"/i/{name}")
        self.assertEqual(len(self.renderer.jobs), 2)

    def test_for_clients(self) -> None:
        """The renderer knows for which client each job is."""
        name = self.put("cat")
        for address, path in (
            ("192.0.2.1", f"/i/{name}"),
            ("192.0.2.2", "/"),
            ("192.0.2.3", f"/i/{name}.svg"),
            ("192.0.2.4", "/i/0123456789ab"),
        ):
            before = len(self.renderer.clients)
            head = f"GET {path} HTTP/1.1\r\nHost: a\r\n{BROWSER}\r\n\r\n"
            self.client.connect(head, address)
            clients = set(self.renderer.clients[before:])
            self.assertEqual(clients, {address})

    def test_finished_though_all_left(self) -> None:
        """A rendering is kept though all clients have left."""
        name = self.put("cat")
        self.renderer.held = []
        self.client.connect(
            f"GET /i/{name} HTTP/1.1\r\nHost: a\r\n\r\n"
        ).loseConnection()
        [held], self.renderer.held = self.renderer.held, None
        held.callback(self.successResultOf(self.renderer.render(self.renderer.jobs[0])))
        self.get(f"/i/{name}")
        self.assertEqual(len(self.renderer.jobs), 2)


class RandomTests(OnAsciid, ReadingCase, SynchronousTestCase):
    """A random image."""

    def test_none(self) -> None:
        """Without a listed image there is none."""
        self.put("secret", listed=False)
        self.assert_problem(self.ask("GET", "/random"), 404, "image-not-found")

    def test_drawn(self) -> None:
        """A browser is led to a page; a terminal gets the art. Nothing is cached."""
        name = self.put("cat \x1b[31m", title="Cat")
        self.put("secret", listed=False)
        answer = self.ask("GET", "/random", BROWSER)
        self.assertEqual(answer.status, 302)
        self.assertEqual(answer.fields["location"], f"/i/{name[:12]}")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        answer = self.get("/random")
        self.assertEqual(answer.body, b"cat \x1b[31m")
        self.assertEqual(answer.fields["content-location"], f"/image/{name}")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertEqual(answer.fields["vary"], "Accept")


class ListingTests(OnAsciid, ReadingCase, SynchronousTestCase):
    """The listing as JSON, and the feed."""

    def test_listing(self) -> None:
        """It has the listed images, newest first, in pages."""
        names = [
            self.put(
                f"image {number}",
                title=f"T{number}",
                tags=("a",),
                expires=(NOW + 10_000) * 1000,
            )
            for number in range(5)
        ]
        self.put("secret", listed=False)
        seen = []
        path: str | None = "/images?limit=2"
        while path is not None:
            answer = self.get(path)
            self.assertEqual(answer.fields["content-type"], "application/json")
            self.assertEqual(answer.fields["access-control-allow-origin"], "*")
            document = json.loads(answer.body)
            seen += document["images"]
            path = document["next"]
            link = f'<{path}>; rel="next"' if path else None
            self.assertEqual(answer.fields.get("link"), link)
        self.assertEqual([image["sha256"] for image in seen], names[::-1])
        self.assertEqual(
            seen[0],
            {
                "sha256": names[4],
                "size": 7,
                "completed": "2027-01-15T08:00:05Z",
                "title": "T4",
                "description": "",
                "author": "",
                "licence": "",
                "tags": ["a"],
                "expires": "2027-01-15T10:46:40Z",
                "image": f"/image/{names[4]}",
                "page": f"/i/{names[4][:12]}",
            },
        )

    def test_limits(self) -> None:
        """The number of images is bounded."""
        for limit in ("0", "101", "-1", "1.5", "x", "", "9" * 5000, "%D9%A1"):
            answer = self.ask("GET", f"/images?limit={limit}")
            self.assert_problem(answer, 400, "malformed-request")
        for limit in ("1", "100", "001"):
            self.get(f"/images?limit={limit}")

    def test_conditions(self) -> None:
        """A listing that has not changed is not sent again."""
        self.put("cat")
        for path in ("/images", "/feed.atom", "/"):
            etag = self.get(path).fields["etag"]
            answer = self.ask("GET", path, f"If-None-Match: {etag}")
            self.assertEqual(answer.status, 304)
            self.assertEqual(answer.fields["cache-control"], "max-age=60")
            self.put(f"cat {path}")
            self.get(path, f"If-None-Match: {etag}")

    def test_feed(self) -> None:
        """The feed is Atom, and names the newest 20 listed images."""
        for number in range(21):
            self.put(f"image {number}")
        self.put("secret", title="Secret", listed=False)
        name = self.put(
            "cat",
            title="A <b> & \ufffe",
            description="One\nTwo",
            author="Ann",
            licence="CC0-1.0",
            tags=('"pet"',),
        )
        answer = self.get("/feed.atom")
        self.assertEqual(
            answer.fields["content-type"], "application/atom+xml; charset=utf-8"
        )
        feed = ET.fromstring(answer.body)  # noqa: S314 - our own
        entries = feed.findall(f"{ATOM}entry")
        self.assertEqual(len(entries), 20)
        self.assertNotIn(b"Secret", answer.body)
        entry = entries[0]

        def text(tag: str) -> str | None:
            return entry.findtext(f"{ATOM}{tag}")

        self.assertEqual(text("title"), "A <b> & \ufffd")
        self.assertEqual(text("summary"), "One\nTwo")
        self.assertEqual(text("rights"), "CC0-1.0")
        self.assertEqual(text("updated"), "2027-01-15T08:00:23Z")
        self.assertEqual(text("updated"), feed.findtext(f"{ATOM}updated"))
        self.assertEqual(entry.findtext(f"{ATOM}author/{ATOM}name"), "Ann")
        category = entry.find(f"{ATOM}category")
        assert category is not None
        self.assertEqual(category.get("term"), '"pet"')
        links = {
            link.get("rel"): link.get("href") for link in entry.iter(f"{ATOM}link")
        }
        self.assertEqual(links["alternate"], f"{URL}/i/{name[:12]}")
        self.assertEqual(links["enclosure"], f"{URL}/image/{name}")
        ids = [each.findtext(f"{ATOM}id") or "" for each in entries]
        self.assertEqual(len(set(ids)), 20)
        self.assertTrue(ids[0].startswith("ni:///sha-256;"))

    def test_empty_feed(self) -> None:
        """A feed without images is valid, too."""
        feed = ET.fromstring(self.get("/feed.atom").body)  # noqa: S314 - our own
        self.assertTrue(feed.findtext(f"{ATOM}updated"))
        self.assertTrue(feed.findtext(f"{ATOM}id"))

    @given(
        st.builds(Cursor, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)),
    )
    def test_cursors(self, cursor: Cursor) -> None:
        """Every cursor that is sent is understood."""
        answer = self.get(f"/images?before={cursor_text(cursor)}")
        self.assertEqual(json.loads(answer.body)["images"], [])


class OEmbedTests(OnAsciid, ReadingCase, SynchronousTestCase):
    """How other sites embed an image."""

    def oembed(self, url: str, more: str = "") -> RawAnswer:
        """Ask for how to embed a URL."""
        return self.ask("GET", f"/oembed?url={quote(url, safe='')}{more}")

    def test_json(self) -> None:
        """It is a frame of the size that is asked for."""
        name = self.put("cat", title='A "cat"<>&', author="Ann")
        for path in (f"/i/{name[:12]}", f"/i/{name}", f"/i/{name[:12]}/embed"):
            answer = self.oembed(URL + path)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.fields["content-type"], "application/json")
            self.assertEqual(answer.fields["access-control-allow-origin"], "*")
            document = json.loads(answer.body)
            self.assertEqual(document["version"], "1.0")
            self.assertEqual(document["type"], "rich")
            self.assertEqual(document["title"], 'A "cat"<>&')
            self.assertEqual(document["author_name"], "Ann")
            self.assertEqual(document["cache_age"], 3600)
            self.assertEqual((document["width"], document["height"]), (720, 480))
            frame = ET.fromstring(  # noqa: S314 - our own
                document["html"].replace("loading", " loading")
            )
            self.assertEqual(frame.get("src"), f"{URL}/i/{name[:12]}/embed")
            self.assertEqual(frame.get("title"), 'A "cat"<>&')
        small = json.loads(
            self.oembed(f"{URL}/i/{name}", "&maxwidth=300&maxheight=9000").body
        )
        self.assertEqual((small["width"], small["height"]), (300, 480))

    def test_xml(self) -> None:
        """XML has the same."""
        name = self.put("cat", title="A <cat> & \uffff")
        answer = self.oembed(f"{URL}/i/{name}", "&format=xml")
        self.assertEqual(answer.fields["content-type"], "text/xml; charset=utf-8")
        document = ET.fromstring(answer.body)  # noqa: S314 - our own
        self.assertEqual(document.tag, "oembed")
        self.assertEqual(document.findtext("title"), "A <cat> & \ufffd")
        self.assertIn("<iframe ", document.findtext("html") or "")

    def test_others(self) -> None:
        """It serves pages of this service, and nothing else."""
        name = self.put("cat")
        for url in (
            f"https://evil.example/i/{name}",
            f"{URL}.evil.example/i/{name}",
            f"{URL}@evil.example/i/{name}",
            f"http://art.example:81/i/{name}",
            f"{URL}/image/{name}",
            f"{URL}/",
            f"{URL}/i/{name}.svg",
            f"{URL}/i/{name}/../..",
            f"/i/{name}",
            "javascript:alert(1)",
            "",
        ):
            self.assert_problem(self.oembed(url), 404, "not-found")
        self.assert_problem(self.oembed(f"{URL}/i/{'0' * 12}"), 404, "image-not-found")

    def test_malformed(self) -> None:
        """A malformed request is refused."""
        name = self.put("cat")
        self.assert_problem(self.ask("GET", "/oembed"), 400, "malformed-request")
        for more in ("&format=yaml", "&maxwidth=0", "&maxheight=-1", "&maxwidth=1e3"):
            answer = self.oembed(f"{URL}/i/{name}", more)
            self.assert_problem(answer, 400, "malformed-request")


class OtherFileTests(OnAsciid, ReadingCase, SynchronousTestCase):
    """The files beside the pages."""

    def test_static(self) -> None:
        """The files that a page names are there, for ever."""
        body = self.get("/upload", BROWSER).body.decode()
        paths = {part.split('"')[0] for part in body.split('"/static/')[1:]}
        self.assertGreaterEqual(len(paths), 3)
        for path in paths:
            answer = self.get(f"/static/{path}")
            self.assertEqual(
                answer.fields["cache-control"], "public, max-age=31536000, immutable"
            )
            self.assertEqual(answer.fields["x-content-type-options"], "nosniff")
            coded = self.get(f"/static/{path}", "Accept-Encoding: gzip")
            if "content-encoding" in coded.fields:
                self.assertEqual(gzip.decompress(coded.body), answer.body)
            tag = f"If-None-Match: {coded.fields['etag']}"
            self.assertEqual(self.ask("GET", f"/static/{path}", tag).status, 304)
        for name in ("style.css", "x", "..%2fpages.py", "%2e%2e"):
            answer = self.ask("GET", f"/static/{name}")
            self.assert_problem(answer, 404, "not-found")

    def test_icon(self) -> None:
        """The icon is where browsers look for it."""
        answer = self.get("/favicon.svg")
        self.assertEqual(answer.fields["content-type"], "image/svg+xml")
        self.assertEqual(answer.fields["cache-control"], "public, max-age=86400")
        answer = self.ask("GET", "/favicon.ico")
        self.assertEqual(answer.status, 301)
        self.assertEqual(answer.fields["location"], "/favicon.svg")

    def test_robots(self) -> None:
        """Robots are asked not to draw images."""
        self.assertIn(b"Disallow: /random\n", self.get("/robots.txt").body)

    def test_upload(self) -> None:
        """The upload page knows the limits."""
        answer = self.get("/upload")
        self.assertIn(b'data-max-image="1000000"', answer.body)
        self.assertEqual(answer.fields["cache-control"], "max-age=60")


class OnSiteTests(OnSite, ReadingCase, SynchronousTestCase):
    """The same on the stock HTTP server."""

    def test_pages(self) -> None:
        """Pages, files and errors work there, too."""
        name = self.put("cat", title="Cat")
        for path in ("/", f"/i/{name[:12]}", "/upload", "/images", "/feed.atom"):
            self.get(path, BROWSER)
        answer = self.ask("GET", "/i/0123456789ab", BROWSER)
        self.assertEqual(answer.status, 404)
        self.assertIn(b"Nothing hangs here", answer.body)
