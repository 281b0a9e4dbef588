"""The HTML of the pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.web._markup import (
    MAX_GALLERY_SIZE,
    card_size,
    render_choices,
    render_embed,
    render_gallery,
    render_problem,
    render_upload,
    render_viewer,
)
from asciid.web.assets import STATIC_PATH
from asciid.web.pages import Site
from tests._thoroughness import examples
from tests.web._samples import (
    HASH,
    NOW,
    SITE,
    make_art,
    make_card,
    make_choices,
    make_embed,
    make_gallery,
    make_image,
    make_problem,
    make_upload,
    make_viewer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from asciid.web._markup import Art

UNKNOWN_HOST = Site(url="https://host.example", png=True)
"""A host without ``--public-url``, so that links have the Host of the request."""

TEXTS = st.text(
    st.one_of(st.sampled_from("<>\"'&`=/;:\n\t{}%"), st.characters(codec="utf-8")),
    min_size=1,
    max_size=40,
)
"""What somebody else may write; more often what would matter in HTML or a template."""


class Reader(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the names of elements and attributes."""
        return [(tag, tuple(attrs)) for tag, attrs in self.elements]

    def find(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements with the wanted ones."""
        return [
            attrs
            for name, attrs in self.elements
            if name == tag and wanted.items() <= attrs.items()
        ]


def pages_with(text: str) -> Iterator[str]:
    """Yield every page with `text` in every place where somebody else's text shows."""
    about: dict[str, Any] = {
        "title": text,
        "description": text,
        "author": text,
        "tags": (text, text),
    }
    card = make_card(title=text, description=text, author=text)
    art = make_art()
    yield render_gallery(make_gallery(card, more=True), [art])[0]
    yield render_viewer(make_viewer(**about, licence=text, charset=text), art)
    yield render_viewer(make_viewer(**about, licence=f"https://{text}"), art)
    yield render_embed(make_embed(**about), art)
    yield render_problem(make_problem(status=451, title=text, detail=text))
    yield render_problem(make_problem(prefix=text))
    yield render_choices(make_choices(card))


class EveryPageTests(SynchronousTestCase):
    """What holds for all pages."""

    def setUp(self) -> None:
        """Render each page."""
        self.pages = [
            *pages_with("text"),
            render_viewer(make_viewer(), None),
            render_embed(make_embed(), None),
            render_gallery(make_gallery(first=False), [])[0],
            render_upload(make_upload(needs_token=True)),
        ]

    def test_alternative_text(self) -> None:
        """Screen readers get the description in the place of the art."""
        about: dict[str, Any] = {"description": "A red fish"}
        art = make_art()
        for html in (
            render_gallery(make_gallery(make_card(**about)), [art])[0],
            render_viewer(make_viewer(**about), art),
            render_embed(make_embed(**about), art),
        ):
            (shown,) = Reader(html).find("pre", role="img")
            self.assertEqual(shown["aria-label"], "A red fish")

    def test_nothing_inline(self) -> None:
        """Scripts and styles are files of this host, as the policy demands."""
        for html in self.pages:
            for tag, attrs in Reader(html).elements:
                self.assertNotEqual(tag, "style")
                self.assertNotIn("style", attrs)
                self.assertEqual([name for name in attrs if name.startswith("on")], [])
                if tag == "script":
                    self.assertTrue(str(attrs["src"]).startswith(STATIC_PATH))

    @examples(60)
    @given(TEXTS)
    def test_escaped(self, text: str) -> None:
        """Somebody else's text adds no element and no attribute to a page."""
        for html, harmless in zip(
            pages_with(text), pages_with("x" * len(text)), strict=True
        ):
            self.assertEqual(Reader(html).shape(), Reader(harmless).shape())

    def test_shown(self) -> None:
        """Somebody else's text is shown as it was written."""
        text = "<b>\"quoted\" & 'more' {{ 7 * 7 }}"
        for html in pages_with(text):
            self.assertIn(text, Reader(html).text)

    def test_skip_links(self) -> None:
        """The first link leads to the content, another one past the art."""
        for html in self.pages:
            page = Reader(html)
            if page.find("body", **{"class": "frame"}):
                continue
            self.assertEqual(page.find("a")[0]["href"], "#main")
            self.assertTrue(page.find("main", id="main"))
        self.assertTrue(Reader(self.pages[1]).find("a", href="#label"))

    def test_times(self) -> None:
        """A time that no calendar has does not prevent a page."""
        html = render_viewer(make_viewer(completed=2**62, expires=2**63 - 1), None)
        self.assertIn("31 Dec 9999", html)


class GalleryTests(SynchronousTestCase):
    """`render_gallery`."""

    def order(self, *arts: Art) -> list[str]:
        """Return the titles in the order of the page."""
        cards = [make_card(number) for number in range(len(arts))]
        html, shown = render_gallery(make_gallery(*cards), arts)
        self.assertEqual(shown, len(arts))
        return re.findall(r"Image (\d+)</a>", html)

    def test_wide_cards(self) -> None:
        """A wide card begins a row, and the cards that fill the row precede it."""
        square, wide = make_art(), make_art(315, 15)
        self.assertEqual(
            self.order(square, wide, square, square, square), list("02314")
        )
        self.assertEqual(self.order(wide, square), list("01"))
        self.assertEqual(self.order(square, square, square, wide, wide), list("01234"))
        self.assertEqual(self.order(square, wide), list("01"))

    def test_what_is_wide(self) -> None:
        """A card is wide if a plate of 80 columns would show little of it."""
        for size, wide in (
            ((315, 15), True),
            ((81, 8), True),
            ((80, 1), False),
            ((81, 9), False),
        ):
            self.assertEqual(make_art(*size).wide, wide, size)

    def test_ages(self) -> None:
        """A card has the age of its image, an old one the day."""
        for age, text in (
            (0, "now"),
            (59, "now"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (86_400, "1 d"),
            (29 * 86_400, "29 d"),
            (30 * 86_400, "29 Oct 2026"),
            (-60, "now"),
        ):
            card = make_card(completed=NOW - 1000 * age)
            html, _ = render_gallery(make_gallery(card), [make_art()])
            self.assertIn(f">{text}</time>", html)

    def test_untitled(self) -> None:
        """An image without a title has its id, and without a description its size."""
        card = make_card(3, title="")
        html, _ = render_gallery(make_gallery(card), [make_art(14, 6)])
        self.assertIn(f">{card.id}</a>", html)
        label = Reader(html).find("pre")[0]["aria-label"]
        self.assertEqual(label, f"{card.id}, 14 by 6 characters")

    def test_next_page(self) -> None:
        """The link to older images continues after the last card in time."""
        cards = [make_card(number, cursor=f"a+{number}") for number in range(3)]
        arts = [make_art(), make_art(315, 15), make_art()]
        html, _ = render_gallery(make_gallery(*cards, more=True), arts)
        (link,) = Reader(html).find("a", rel="next")
        self.assertEqual(link["href"], "/?before=a%2B2")
        html, _ = render_gallery(make_gallery(*cards, more=False), arts)
        self.assertEqual(Reader(html).find("a", rel="next"), [])

    def test_bound(self) -> None:
        """A page ends before the card that does not fit, and nothing more is drawn."""
        drawn = []

        def draw() -> Iterator[Art]:
            for number in range(24):
                drawn.append(number)
                yield make_art(cells="\N{FULL BLOCK}" * 20_000)

        cards = [
            make_card(number, title="&" * 200, description="\N{EURO SIGN}" * 600)
            for number in range(24)
        ]
        html, shown = render_gallery(make_gallery(*cards), draw())
        self.assertEqual(shown, 6)
        self.assertEqual(len(drawn), 7)
        self.assertLessEqual(len(html.encode()), MAX_GALLERY_SIZE)
        self.assertIn("/?before=after-5", html)

    def test_bound_of_texts(self) -> None:
        """Long titles and descriptions count, escaped."""
        cards = [
            make_card(number, title='"' * 200, description='"' * 2000)
            for number in range(24)
        ]
        html, shown = render_gallery(
            make_gallery(*cards), [make_art(cells="." * 10_000)] * 24
        )
        self.assertLess(shown, 24)
        self.assertLessEqual(len(html.encode()), MAX_GALLERY_SIZE)

    def test_first_card_is_shown(self) -> None:
        """A page shows at least one card, so that the next one continues."""
        art = make_art(cells="." * (MAX_GALLERY_SIZE + 1))
        _, shown = render_gallery(make_gallery(make_card(), make_card(1)), [art] * 2)
        self.assertEqual(shown, 1)

    def test_empty(self) -> None:
        """An empty gallery asks for the first image."""
        html, shown = render_gallery(make_gallery(), [])
        self.assertEqual(shown, 0)
        self.assertIn("/upload", html)

    def test_older_pages(self) -> None:
        """Only the first page is one for search engines."""
        first, _ = render_gallery(make_gallery(make_card()), [make_art()])
        older, _ = render_gallery(make_gallery(make_card(), first=False), [make_art()])
        self.assertTrue(Reader(first).find("link", rel="canonical"))
        self.assertFalse(Reader(first).find("meta", name="robots"))
        self.assertTrue(Reader(older).find("meta", name="robots"))
        self.assertTrue(Reader(older).find("a", rel="prev", href="/"))


class CardSizeTests(SynchronousTestCase):
    """`card_size`."""

    def test_sizes(self) -> None:
        """A card shows what a plate of 80 x 25 cells has room for at its scale."""
        for whole, shown in (
            ((14, 6), (14, 6)),
            ((80, 25), (80, 25)),
            ((80, 500), (80, 25)),
            ((40, 500), (40, 25)),
            ((120, 60), (120, 38)),
            ((160, 100), (80, 25)),
            ((315, 15), (315, 15)),
            ((81, 1), (81, 1)),
            ((5000, 15), (320, 15)),
        ):
            self.assertEqual(card_size(*whole), shown, whole)


class ViewerTests(SynchronousTestCase):
    """`render_viewer`."""

    def test_address_is_public(self) -> None:
        """Only a configured address is in a canonical link, OpenGraph and oEmbed."""
        address = f"https://art.example/i/{HASH[:12]}"
        page = Reader(render_viewer(make_viewer(), make_art()))
        self.assertTrue(page.find("link", rel="canonical", href=address))
        self.assertTrue(page.find("meta", property="og:url", content=address))
        self.assertTrue(
            page.find("meta", property="og:image", content=f"{address}.png")
        )
        (oembed,) = page.find("link", type="application/json+oembed")
        self.assertEqual(
            oembed["href"],
            "https://art.example/oembed"
            f"?url=https%3A%2F%2Fart.example%2Fi%2F{HASH[:12]}",
        )
        unknown = render_viewer(make_viewer(UNKNOWN_HOST), make_art())
        self.assertNotRegex(unknown, "canonical|og:|oembed")

    def test_unlisted(self) -> None:
        """An unlisted image asks search engines to leave it out."""
        listed = Reader(render_viewer(make_viewer(), make_art()))
        unlisted = Reader(render_viewer(make_viewer(listed=False), make_art()))
        self.assertEqual(listed.find("meta", name="robots"), [])
        self.assertTrue(unlisted.find("meta", name="robots", content="noindex"))

    def test_licence(self) -> None:
        """A licence is a link if it is an http(s) URL, and else text."""
        for licence, links in (
            ("https://example.org/l", 1),
            ("CC-BY-4.0", 0),
            ("javascript:alert(1)", 0),
        ):
            html = render_viewer(make_viewer(licence=licence), make_art())
            self.assertEqual(len(Reader(html).find("a", href=licence)), links)

    def test_colours(self) -> None:
        """Only art with more colours than the style sheet has one of its own."""
        path = f"/i/{HASH[:12]}.css"
        for colours in (False, True):
            html = render_viewer(make_viewer(), make_art(own=True, colours=colours))
            self.assertEqual(bool(Reader(html).find("link", href=path)), colours)

    def test_start(self) -> None:
        """Wide art begins at its size, and coloured art on black."""
        for art, checked in (
            (make_art(), {"z0", "gp"}),
            (make_art(135), {"z1", "gp"}),
            (make_art(own=True), {"z0", "gb"}),
        ):
            page = Reader(render_viewer(make_viewer(), art))
            found = {each["id"] for each in page.find("input") if "checked" in each}
            self.assertEqual(found, checked)

    def test_newline(self) -> None:
        """The first row survives the parser, which drops the first newline."""
        html = render_viewer(make_viewer(), make_art(cells="\n  x"))
        self.assertRegex(html, r"<pre [^>]*>\n\n  x</pre>")

    def test_size(self) -> None:
        """The classes of the art are the digits of its size."""
        for columns, rows, classes in (
            (14, 6, "art ct1 cu4 ru6"),
            (315, 20, "art ch3 ct1 cu5 rt2"),
            (1, 4000, "art cu1 rh9 rt9 ru9"),
        ):
            self.assertEqual(make_art(columns, rows).classes, classes)

    def test_too_large(self) -> None:
        """An image that is not drawn has a page, with a link to its text."""
        html = render_viewer(make_viewer(), None)
        page = Reader(html)
        self.assertEqual(page.find("pre"), [])
        self.assertTrue(page.find("a", href=f"/image/{HASH}"))
        self.assertFalse(page.find("a", href=f"/i/{HASH[:12]}.svg"))
        self.assertNotIn("og:image", html)

    def test_neighbours(self) -> None:
        """Newer and older images are a key away."""
        page = Reader(render_viewer(make_viewer(), make_art()))
        (newer,) = page.find("a", rel="prev")
        (older,) = page.find("a", rel="next")
        self.assertEqual(newer["aria-keyshortcuts"], "ArrowLeft")
        self.assertEqual(older["href"], f"/i/{make_card(2).id}")

    def test_nothing_known(self) -> None:
        """What is not known of an image is not on its page."""
        html = render_viewer(
            make_viewer(author="", licence="", tags=(), charset="", expires=0), None
        )
        for name in ("By", "Licence", "Tags", "Expires"):
            self.assertNotIn(f"<dt>{name}</dt>", html)


class OtherPagesTests(SynchronousTestCase):
    """Upload, problems and choices."""

    def test_upload_without_scripts(self) -> None:
        """The plain form sends file, title, description and encoding."""
        page = Reader(render_upload(make_upload()))
        (form,) = page.find("form", action="/")
        self.assertEqual(form["enctype"], "multipart/form-data")
        self.assertTrue(page.find("input", type="file", name="file"))
        for tag, name in (
            ("input", "title"),
            ("textarea", "description"),
            ("select", "charset"),
            ("select", "expires"),
        ):
            self.assertTrue(page.find(tag, name=name))

    def test_listing(self) -> None:
        """The box says the opposite of what the host does anyway."""
        for changes, value in (
            ({}, "false"),
            ({"listed_by_default": False}, "true"),
            ({"listing": False}, None),
        ):
            page = Reader(render_upload(make_upload(**changes)))
            found = [each["value"] for each in page.find("input", name="listed")]
            self.assertEqual(found, [value] if value else [])

    def test_lifetimes(self) -> None:
        """An image cannot be kept for longer than the host keeps any."""
        html = render_upload(make_upload(image_ttl=7 * 86_400))
        self.assertIn('<option value="">7 days</option>', html)
        self.assertIn('value="1d"', html)
        self.assertNotIn('value="7d"', html)
        self.assertIn(">90 minutes<", render_upload(make_upload(image_ttl=5_400)))
        self.assertIn(">45 seconds<", render_upload(make_upload(image_ttl=45)))

    def test_token(self) -> None:
        """A host with tokens asks for one, and the form never sends it in a field."""
        self.assertNotIn("Write token", render_upload(make_upload()))
        page = Reader(render_upload(make_upload(needs_token=True)))
        (token,) = page.find("input", type="password")
        self.assertNotIn("name", token)

    def test_command_with_token(self) -> None:
        """The command that each page names works on a host with tokens."""
        for site, command in (
            (SITE, "curl -T cat.txt"),
            (
                Site(url="https://art.example", needs_token=True),
                'curl -H "Authorization: Bearer $TOKEN" -T cat.txt',
            ),
        ):
            html = render_problem(make_problem(site=site))
            self.assertIn(f"<code>{command} {site.url}</code>", html)

    def test_problems(self) -> None:
        """A page that is not served says why."""
        for changes, text in (
            ({}, "There is no such page."),
            ({"prefix": "9d02c4e1f7ab"}, "9d02c4e1f7ab"),
            ({"status": 451, "title": "Blocked", "detail": "Why."}, "451. Blocked"),
        ):
            html = render_problem(make_problem(**changes))
            self.assertIn(text, html)
            self.assertTrue(Reader(html).find("meta", name="robots"))

    def test_no_listing(self) -> None:
        """A host without a listing links to none."""
        site = Site(url="https://art.example", listing=False)
        html = render_problem(make_problem(site))
        self.assertNotRegex(html, "feed.atom|/random|/images|>Newest<")

    def test_choices(self) -> None:
        """Each choice is a link by its whole hash."""
        cards = [make_card(number) for number in range(2)]
        page = Reader(render_choices(make_choices(*cards)))
        for card in cards:
            self.assertTrue(page.find("a", href=f"/i/{card.sha256}"))

    def test_embed(self) -> None:
        """A frame links to the viewer, outside of the frame."""
        (link,) = Reader(render_embed(make_embed(), make_art())).find("a")
        self.assertEqual(link["target"], "_top")

    def test_models(self) -> None:
        """The samples are of the public host."""
        self.assertEqual(make_image().sha256, HASH)
        self.assertTrue(SITE.public)
