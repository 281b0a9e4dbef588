"""Links and short names of images; ``asciid ls``, ``asciid open``, ``asciid cat``."""

from __future__ import annotations

import json
import webbrowser
from hashlib import sha256
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from asciid.cli._server import RANDOM, HashType, Target, TargetType
from asciid.client import AboutFields, AmbiguousError
from asciid.client._found_images import parse_listing
from tests.art.sauces import record
from tests.cli.test_commands import CAT, LINK, SERVER, SHA256, URL, CommandTestCase
from tests.client.worlds import Answered, Lost

ID = SHA256[:12]
OTHER = "0123456789ab"
RESOLVED = ("GET", f"/i/{OTHER}.txt")


class TargetTests(SynchronousTestCase):
    """The ways to name an image."""

    def target(self, text: str) -> Target:
        """Return what a text names."""
        return TargetType(random=True).convert(text, None, None)

    def test_names(self) -> None:
        """A hash, 12 or more digits of it, and every URL of an image are names."""
        self.assertEqual(self.target(SHA256.upper()), Target(SHA256))
        self.assertEqual(self.target(ID), Target(ID))
        self.assertEqual(self.target(SHA256[:40]), Target(SHA256[:40]))
        for base in ("http://host", "https://host:81/path", "http://[::1]:4444"):
            for rest, name in (
                (f"/image/{SHA256}", SHA256),
                (f"/image/{SHA256.upper()}/about", SHA256),
                (f"/image/{SHA256}/chunks?x", SHA256),
                (f"/i/{ID}", ID),
                (f"/i/{SHA256}", SHA256),
                (f"/i/{ID}.svg", ID),
                (f"/i/{ID}.txt#top", ID),
                (f"/i/{ID}/embed?a=/i/b", ID),
            ):
                self.assertEqual(self.target(base + rest), Target(name, base))
        self.assertEqual(self.target("random"), Target(RANDOM))
        self.assertEqual(
            self.target("http://host/random"), Target(RANDOM, "http://host")
        )

    def test_errors(self) -> None:
        """What names no image is refused with the reason."""
        for text, reason in (
            ("cat", "'cat' is neither a SHA-256 nor the URL of an image"),
            ("", "neither"),
            ("abc", "abc has 3 hex digits; a SHA-256 has 64, and its first 12 are"),
            (SHA256 + "0", "has 65 hex digits"),
            (f"{SERVER}/i/{ID[:-1]}", "has 11 hex digits"),
            (f"{SERVER}/i/{SHA256}0", "has 65 hex digits"),
            (f"{SERVER}/image/{ID}", f"{ID} has 12 hex digits; a SHA-256 has 64"),
            (f"{SERVER}/i/{ID}.gif", "neither"),
            (f"{SERVER}/images/{SHA256}", "neither"),
            (f"/i/{ID}", "'' is not a URL such as"),
            (f"host/i/{ID}", "'host' is not a URL such as"),
            (f"ftp://host/i/{ID}", "is not a URL such as"),
            (f"http://ada:x@host/i/{ID}", "may only have a host"),
            (f"http://host:99999/i/{ID}", "invalid port"),
            ("ftp://host/random", "is not a URL such as"),
        ):
            with self.assertRaises(click.BadParameter) as raised:
                self.target(text)
            self.assertIn(reason, raised.exception.message, text)
        with self.assertRaises(click.BadParameter):
            TargetType().convert("random", None, None)
        with self.assertRaises(click.BadParameter):
            TargetType().convert("http://host/random", None, None)

    def test_whole(self) -> None:
        """Without a server only a whole hash will do."""
        self.assertEqual(HashType("asciid blocked").convert(URL, None, None), SHA256)
        with self.assertRaises(click.BadParameter) as raised:
            HashType("asciid blocked").convert(LINK, None, None)
        message = f"{LINK} has a part of a SHA-256; asciid blocked prints all"
        self.assertEqual(raised.exception.message, message)


class LinkTests(CommandTestCase):
    """Commands that get a link."""

    def setUp(self) -> None:
        """Have an image."""
        super().setUp()
        self.output("put", "cat.txt")

    def test_commands(self) -> None:
        """Every command takes what asciid put has printed, and its digits."""
        elsewhere = {"ASCIID_SERVER": "http://other"}
        for name, environ in ((LINK, elsewhere), (ID, {})):
            self.assertEqual(self.output("cat", name, environ=environ), CAT)
            self.assertIn("complete", self.output("status", name, environ=environ))
            self.assertIn(URL, self.output("about", name, environ=environ))
            self.assertEqual(self.output("get", name, "-o", "-", environ=environ), CAT)
            self.assertEqual(
                self.output("get", name, environ=environ), f"{SHA256}.txt\n"
            )
        self.assertEqual(self.output("rm", LINK), "")
        self.assert_fails(3, "", "rm", LINK)

    def test_unknown(self) -> None:
        """An image that is not there has the same exit code as ever."""
        for command in ("cat", "get", "status", "about", "rm", "open"):
            self.assert_fails(3, OTHER, command, OTHER)

    def test_ambiguous(self) -> None:
        """If several images may be meant, they are named."""
        names = [OTHER + digit * 52 for digit in "ab"]
        body = "".join(f"/i/{name}.txt\n" for name in [*names, "f" * 64]).encode()
        self.world.network.always(Answered(300, body), RESOLVED)
        self.assert_fails(4, f"use more digits: {', '.join(names)}", "cat", OTHER)
        self.world.network.always(Answered(300, b"\xff<html>"), RESOLVED)
        self.assert_fails(4, f"begin with {OTHER}, use more digits", "get", OTHER)
        finish, client = self.world.finish, self.world.client
        with self.assertRaises(AmbiguousError) as raised:
            finish(client.resolve(OTHER))
        self.assertEqual(raised.exception.choices, ())

    def test_nonsense(self) -> None:
        """An image with other digits is not taken for the one that was asked for."""
        for answer in (
            Answered(302, b"", {"Location": f"/image/{SHA256}"}),
            Answered(302, b"", {"Location": f"/image/{OTHER}"}),
            Answered(302, b"", {"Location": "http://evil/"}),
            Answered(302),
            Answered(200, CAT.encode()),
        ):
            self.world.network.always(answer, RESOLVED)
            self.assert_fails(1, "is this an asciid server?", "cat", OTHER)
        for digits in ("abc", SHA256 + "0", "x" * 12, ""):
            with self.assertRaises(ValueError):
                self.world.client.resolve(digits)

    def test_random(self) -> None:
        """Random is an image that the server draws of those that are listed."""
        self.assertEqual(self.output("cat", "random"), CAT)
        self.assertEqual(self.output("get", "random", "-o", "-"), CAT)
        self.assertEqual(self.output("get", f"{SERVER}/random", "-o", "x"), "x\n")
        self.output("about", "--unlisted", LINK)
        self.assert_fails(3, "the server has no listed image", "cat", "random")
        self.assert_fails(2, "neither", "rm", "random")


class ListTests(CommandTestCase):
    """``asciid ls``."""

    def put(self, number: int) -> list[str]:
        """Upload images; return their hashes, the newest first."""
        hashes = []
        for each in range(number):
            content = b"%d\n" % each
            uploading = self.world.client.put(content, about=AboutFields(f"N{each}"))
            hashes.append(self.world.finish(uploading).sha256)
        return hashes[::-1]

    def test_lines(self) -> None:
        """A line has the link, the time, the size and the title."""
        self.assertEqual(self.output("ls"), "")
        self.output("put", "--title=A cat", "--tag=a", "cat.txt")
        Path("secret").write_text("x", encoding="utf-8")
        self.output("put", "--unlisted", "secret")
        (line,) = self.output("ls").splitlines()
        self.assertRegex(line, rf"^{LINK}  20\d\d-\S+T\S+\+00:00        24  A cat$")
        listed = json.loads(self.output("ls", "--json"))
        completed = listed.pop("completed")
        self.assertIn(completed, line)
        expected = {
            "sha256": SHA256,
            "url": URL,
            "link": LINK,
            "size": 24,
            "title": "A cat",
            "description": "",
            "author": "",
            "licence": "",
            "tags": ["a"],
            "expires": None,
        }
        self.assertEqual(listed, expected)
        self.output("about", "--expires=7d", LINK)
        self.assertRegex(json.loads(self.output("ls", "--json"))["expires"], "^20")

    def test_pages(self) -> None:
        """Pages are requested as far as the images are wanted, and no further."""
        hashes = self.put(105)
        network = self.world.network
        for number, expected, requests in (
            ((), 50, 1),
            (("-n", "7"), 7, 1),
            (("-n", "100"), 100, 1),
            (("-n", "103"), 103, 2),
            (("-n", "0"), 105, 2),
            (("-n", "1000"), 105, 2),
        ):
            network.asked.clear()
            lines = self.output("ls", *number, "--json").splitlines()
            found = [json.loads(line)["sha256"] for line in lines]
            self.assertEqual(found, hashes[:expected])
            self.assertEqual(len(network.asked), requests)
        self.assertTrue(network.asked[0][1].endswith("/images?limit=100"))

    def test_safe(self) -> None:
        """Titles are printed without control characters, on one line."""
        image = {
            "sha256": SHA256,
            "size": 1,
            "completed": "2026-01-02T03:04:05.678Z",
            "title": "a\n\x1b[2J\u202eb",
        }
        body = json.dumps({"images": [image]}).encode()
        self.world.network.always(Answered(200, body))
        self.assertEqual(
            self.output("ls"),
            f"{LINK}  2026-01-02T03:04:05+00:00         1  a ?[2J?b\n",
        )

    def test_nonsense(self) -> None:
        """A listing that is none is an error of one line, and so is an endless one."""
        for body in (
            b"[]",
            b'{"images": [{"sha256": "x"}]}',
            json.dumps(
                {
                    "images": [
                        {
                            "sha256": "../x",
                            "size": 1,
                            "completed": "2026-01-01T00:00:00Z",
                        }
                    ]
                }
            ).encode(),
            b"\xff",
        ):
            self.world.network.always(Answered(200, body))
            self.assert_fails(1, "invalid listing", "ls")
        link = {"Link": '</images?before=a>; rel="next"'}
        self.world.network.always(Answered(200, b'{"images": []}', link))
        self.assert_fails(1, "it repeats a page", "ls", "-n", "0")
        self.world.network.always(Answered(404, b'{"detail": "No such page."}'))
        self.assert_fails(3, "No such page.", "ls")

    def test_link(self) -> None:
        """The query of the next page is found in any form of the field Link."""
        for link, query in (
            ("", ""),
            ('</images?before=1-2&limit=5>; rel="next"', "before=1-2&limit=5"),
            ("<?a=b>;rel=next", "a=b"),
            ('<http://evil/x?a#b>; title="x"; REL="prev Next"', "a"),
            ('</?a>; rel="prev", </?b>; rel="next"', "b"),
            ('</?a>; rel="nextly"', ""),
            ("</?a>; rel=previous", ""),
            ("</images>; rel=next", ""),
            ("</?a b>; rel=next", ""),
            ("</?\xe4>; rel=next", ""),
            ("</?a; rel=next", ""),
        ):
            page = parse_listing(b'{"images": []}', link)
            self.assertEqual(page.following, query, link)


class OpenTests(CommandTestCase):
    """``asciid open``."""

    def setUp(self) -> None:
        """Have an image, and no browser."""
        super().setUp()
        self.output("put", "cat.txt")
        self.opened: list[str] = []
        self.succeeds = True

        def opening(url: str) -> bool:
            self.opened.append(url)
            return self.succeeds

        self.patch(webbrowser, "open", opening)

    def test_opened(self) -> None:
        """Whatever names the image, its page is opened."""
        names = (LINK, URL, ID, SHA256, "random", "cat.txt", "./cat.txt")
        for name in names:
            self.assertEqual(self.output("open", name), "")
        self.assertEqual(self.opened, [LINK] * len(names))

    def test_printed(self) -> None:
        """--print prints the link and opens nothing."""
        self.assertEqual(self.output("open", "--print", SHA256), f"{LINK}\n")
        self.assertEqual(self.opened, [])

    def test_file(self) -> None:
        """A file is found as asciid put converts it, of any size."""
        Path("a.ans").write_bytes(b"\xb0\xb1" + record("A"))
        link = self.output("put", "a.ans")
        self.assertEqual(self.output("open", "--print", "a.ans"), link)
        Path("a.txt").write_bytes(b"\xb0")
        self.assert_fails(4, "a.txt: ", "open", "a.txt")
        link = self.output("put", "--charset=cp850", "a.txt")
        options = ("--charset=cp850", "--print")
        self.assertEqual(self.output("open", *options, "a.txt"), link)
        Path("big").write_bytes(b"cow\n" * 50_000)
        link = self.output("put", "big")
        self.assertEqual(self.output("open", "--print", "big"), link)
        self.assert_fails(1, "directory", "open", ".")

    def test_missing(self) -> None:
        """What is not on the server is not opened, nor what is not complete."""
        Path("dog.txt").write_text("dog", encoding="utf-8")
        self.assert_fails(3, "dog.txt is not on http://asciid.test", "open", "dog.txt")
        self.assert_fails(3, "not registered", "open", "0" * 64)
        self.assert_fails(2, "and there is no such file", "open", "none.txt")
        dog = sha256(b"dog").hexdigest()
        self.world.finish(self.world.client.register(dog, 3, 1))
        self.assert_fails(3, "is not complete", "open", "dog.txt")
        self.assertEqual(self.opened, [])

    def test_interrupt(self) -> None:
        """Interrupted, it opens nothing."""
        self.reactor.interrupt_after = 0
        self.world.network.always(Lost())
        self.assertEqual(self.run_command("open", SHA256).exit_code, 130)
        self.assertEqual(self.opened, [])

    def test_no_browser(self) -> None:
        """Without a browser the error has the link."""
        self.succeeds = False
        self.assert_fails(1, f"no browser found for {LINK}", "open", ID)
