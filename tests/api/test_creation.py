"""Files whose hash the client does not know: POST and PUT of the root, and forms."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.api import _creation, _text_upload
from asciid.art.encodings import LARGEST_CONVERTED
from asciid.model import EMPTY_SHA256
from asciid.runtime.offload import run_steps
from asciid.testing import MemoryStore
from tests.api._raw import OnAsciid, OnSite
from tests.api._support import Answer, Client, make_api

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory
    from twisted.internet.testing import StringTransportWithDisconnection

    from asciid.api import ImageAPI

    Base = SynchronousTestCase
else:
    Base = object

FISH = b"<`)))><\n"
DRAWN = "╔══╗\n║♥ ║\n╚══╝\n"
DRAWN_CP437 = b"\xc9\xcd\xcd\xbb\r\n\xba\x03 \xba\r\n\xc8\xcd\xcd\xbc\r\n"
FORM = "multipart/form-data; boundary=XX"
MAX_IMAGE = 6 * 1024 * 1024


def sauce(title: bytes, author: bytes) -> bytes:
    """Return a SAUCE record of character data, 80 columns wide."""
    head = b"SAUCE00" + title.ljust(35) + author.ljust(20) + b"".ljust(20)
    return b"\x1a" + head + b"20260131" + bytes(4) + b"\x01\x01\x50" + bytes(31)


def part(name: str, value: bytes, file: str | None = None, kind: str = "") -> bytes:
    """Return a part of a form."""
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"'
    if file is not None:
        head += f'; filename="{file}"'
    if kind:
        head += f"\r\nContent-Type: {kind}"
    return head.encode() + b"\r\n\r\n" + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    """Return a form of these parts."""
    return b"".join(parts) + b"--XX--\r\n"


class CreationContract(Base):
    """Statuses, fields, charsets and forms."""

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return the HTTP factory for `api`."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Serve an empty store."""
        self.serve()

    def serve(self, store: MemoryStore | None = None, **options: Any) -> None:  # noqa: ANN401 - of the API
        """Serve `store`, or an empty one, from now on."""
        self.store = store or MemoryStore()
        limits = {"max_image_size": MAX_IMAGE, "max_chunk_size": 10_000}
        api = make_api(self.store, **{**limits, **options})
        self.client = Client(self.factory(api))

    def ask(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        content_type: str | None = None,
        **headers: str | list[str],
    ) -> Answer:
        """Exchange a request for its response."""
        answer = self.client.begin(method, path, data, content_type, **headers)
        for _ in range(500):
            self.client.treq.flush()
            reactor: Any = getattr(self.client.factory, "reactor", None)
            if reactor is not None:
                reactor.advance(0)
            if answer.called:
                break
        return self.successResultOf(answer)

    def post(
        self, data: bytes, content_type: str | None = None, **headers: str
    ) -> Answer:
        """Send a file by POST."""
        return self.ask("POST", "/", data, content_type, **headers)

    def about(self, answer: Answer) -> Any:  # noqa: ANN401 - JSON
        """Return what is said about the image that an answer locates."""
        return json.loads(self.ask("GET", f"{answer.header('Location')}/about").body)

    def content(self, answer: Answer) -> bytes:
        """Return the image that an answer locates."""
        return self.ask("GET", answer.header("Location") or "").body

    def assert_stored(self, answer: Answer, content: bytes, status: int = 201) -> None:
        """Check the response to an upload, and that it stored `content`."""
        self.assertEqual(answer.status, status, answer.body)
        digest = sha256(content).hexdigest()
        self.assertEqual(answer.header("Location"), f"/image/{digest}")
        line = f"http://asciid.test/i/{digest[:12]}\n"
        self.assertEqual(answer.body.decode(), line)
        self.assertEqual(answer.header("Content-Type"), "text/plain; charset=utf-8")
        self.assertEqual(answer.header("Cache-Control"), "no-store")
        self.assertEqual(self.content(answer), content)

    def assert_problem(self, answer: Answer, status: int, name: str) -> None:
        """Check that `answer` is a problem of that status and type."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(json.loads(answer.body)["type"], f"/problems/{name}")

    def assert_nothing_stored(self) -> None:
        """Check that the store is empty, and has nothing staged."""
        usage = self.successResultOf(self.store.usage())
        self.assertEqual((usage.images, usage.pending), (0, 0))
        engine: Any = self.store._engine
        self.assertEqual(engine._images._staged, {})

    def test_every_method(self) -> None:
        """A file gets the hash that it has, and the client its short URL."""
        for method, path in (("POST", "/"), ("PUT", "/"), ("PUT", "/fish.txt")):
            self.serve()
            answer = self.ask(method, path, FISH)
            self.assert_stored(answer, FISH)
            self.assert_stored(self.ask(method, path, FISH), FISH, 200)

    def test_content_types(self) -> None:
        """Any body but multipart is the file itself."""
        for content_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "application/json",
            "nonsense",
            "",
        ):
            self.serve()
            self.assert_stored(self.post(FISH, content_type), FISH)
        answer = self.post(FISH, "multipart/mixed; boundary=XX")
        self.assert_problem(answer, 415, "multipart-body")

    def test_empty_file(self) -> None:
        """A file without text is refused: a pipe is empty if its command failed."""
        for data in (b"", sauce(b"only a record", b"")):
            self.assert_problem(self.post(data), 400, "malformed-request")
        self.assert_problem(
            self.ask("PUT", "/empty.txt", b""), 400, "malformed-request"
        )
        self.assert_nothing_stored()

    def test_every_name(self) -> None:
        """Every path of one segment takes PUT, whatever GET answers there."""
        for name in ("image", "livez", "metrics", "openapi.json", "random", "a.b", "~"):
            answer = self.ask("PUT", f"/{name}", name.encode())
            self.assert_stored(answer, name.encode())
            self.assertEqual(self.about(answer)["title"], name)
        self.assertEqual(self.ask("GET", "/livez").status, 200)
        self.assert_problem(self.ask("GET", "/fish.txt"), 404, "not-found")
        self.assert_problem(self.ask("PUT", "/no/where", FISH), 404, "not-found")

    def test_names_as_titles(self) -> None:
        """A name is cleaned of what no title may have, and cut, but never refused."""
        for name, title in (
            ("my fish.txt", "my fish.txt"),
            ("größe", "größe"),
            ("a\tb\u202ec\x7f", "abc"),
            ("x" * 250, "x" * 200),
            ("ö" * 150, "ö" * 100),
            ("\t", ""),
        ):
            answer = self.ask("PUT", f"/{quote(name)}", name.encode())
            self.assertEqual(answer.status, 201, name)
            self.assertEqual(self.about(answer)["title"], title)

    def test_public_url(self) -> None:
        """Links begin with the public URL, if there is one."""
        self.serve(public_url="https://art.example")
        answer = self.post(FISH, Host="evil.example")
        digest = sha256(FISH).hexdigest()
        self.assertEqual(answer.body.decode(), f"https://art.example/i/{digest[:12]}\n")

    def test_odd_host(self) -> None:
        """A Host that cannot be part of a link is refused before anything is stored."""
        answer = self.post(FISH, Host="a'b")
        self.assert_problem(answer, 400, "malformed-request")
        self.assert_nothing_stored()

    def test_edit_key(self) -> None:
        """The first upload gets an edit key, and no other one does."""
        requests = [("POST", "/"), ("PUT", "/"), ("PUT", "/fish.txt")]
        keys = set()
        for number, (method, path) in enumerate(requests):
            data = b"%d" % number
            key = self.ask(method, path, data).header("Asciid-Edit-Key") or ""
            self.assertRegex(key, r"\A[0-9a-f]{8}(-[0-9a-f]{8}){3}\Z")
            keys.add(key)
            for again in (*requests, ("PUT", f"/image/{sha256(data).hexdigest()}")):
                answer = self.ask(*again, data)
                self.assertEqual(answer.status, 200)
                self.assertIsNone(answer.header("Asciid-Edit-Key"))
        self.assertEqual(len(keys), 3)

    def test_edit_key_is_hashed(self) -> None:
        """Of an edit key only the hash is stored; spelling does not matter."""
        answer = self.post(FISH)
        key = answer.header("Asciid-Edit-Key") or ""
        digest = sha256(FISH).hexdigest()
        record = self.successResultOf(self.store.about(digest))
        self.assertEqual(len(record.key_hash), 32)
        self.assertNotIn(key.encode(), repr(record).encode())
        spelled = key.replace("-", "").upper()
        deleted = self.ask("DELETE", f"/image/{digest}", Asciid_Edit_Key=spelled)
        self.assertEqual(deleted.status, 204)
        # A key is gone with its image.
        self.assertNotEqual(self.post(FISH).header("Asciid-Edit-Key"), key)
        deleted = self.ask("DELETE", f"/image/{digest}", Asciid_Edit_Key=key)
        self.assert_problem(deleted, 403, "wrong-edit-key")

    def test_key_by_put(self) -> None:
        """PUT of a hash has a key, too, if the image is new."""
        path = f"/image/{sha256(FISH).hexdigest()}"
        key = self.ask("PUT", path, FISH).header("Asciid-Edit-Key") or ""
        self.assertEqual(self.ask("DELETE", path, Asciid_Edit_Key=key).status, 204)

    def test_first_key_stays(self) -> None:
        """What completes a registration with a key has no key, and changes no more."""
        spec = {"sha256": sha256(FISH).hexdigest(), "size": 8, "chunk_size": 8}
        path = f"/image/{spec['sha256']}"
        body = json.dumps({**spec, "edit_key": True, "listed": False}).encode()
        for request in (("POST", "/"), ("PUT", "/f.txt"), ("PUT", path)):
            answer = self.ask("POST", "/image", body, "application/json")
            key = answer.header("Asciid-Edit-Key") or ""
            answer = self.ask(*request, FISH, Asciid_Title="Spam")
            self.assertEqual(answer.status, 201)
            self.assertIsNone(answer.header("Asciid-Edit-Key"))
            about = self.about(answer)
            self.assertEqual((about["title"], about["listed"]), ("", False))
            self.assertEqual(self.ask("DELETE", path, Asciid_Edit_Key=key).status, 204)

    def test_replaces_a_registration(self) -> None:
        """What completes a registration without a key has one, and is not surprised."""
        spec = {"sha256": sha256(FISH).hexdigest(), "size": 8, "chunk_size": 8}
        path = f"/image/{spec['sha256']}"
        about = {"title": "Spam", "listed": False, "expires": "1m"}
        body = json.dumps({**spec, "about": about}).encode()
        for request in (("POST", "/"), ("PUT", "/"), ("PUT", path)):
            self.ask("POST", "/image", body, "application/json")
            answer = self.ask(*request, FISH)
            self.assertEqual(answer.status, 201)
            key = answer.header("Asciid-Edit-Key") or ""
            stored = self.about(answer)
            self.assertEqual(
                (stored["title"], stored["listed"], stored["expires"]), ("", True, None)
            )
            self.assertEqual(self.ask("DELETE", path, Asciid_Edit_Key=key).status, 204)

    def test_key_by_registration(self) -> None:
        """A registration has a key only if it wants one."""
        spec = {"sha256": sha256(FISH).hexdigest(), "size": 8, "chunk_size": 8}
        path = f"/image/{spec['sha256']}"
        for wanted in ({}, {"edit_key": False}):
            body = json.dumps({**spec, **wanted}).encode()
            answer = self.ask("POST", "/image", body, "application/json")
            self.assertEqual(answer.status, 201)
            self.assertIsNone(answer.header("Asciid-Edit-Key"))
            self.successResultOf(self.store.delete(sha256(FISH).hexdigest()))
        body = json.dumps({**spec, "edit_key": True}).encode()
        answer = self.ask("POST", "/image", body, "application/json")
        key = answer.header("Asciid-Edit-Key") or ""
        self.assertEqual(answer.header("Cache-Control"), "no-store")
        chunk = json.dumps({"id": 0, "size": 8, "data": FISH.decode()}).encode()
        answer = self.ask("POST", f"{path}/chunks", chunk, "application/json")
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.ask("DELETE", path, Asciid_Edit_Key=key).status, 204)

    def test_registered_about(self) -> None:
        """A registration may say what is known about the image."""
        about = {"title": " Fish ", "tags": ["a", "b"], "description": "x\r\ny"}
        for sent, listed in (
            ({}, True),
            ({"listed": False}, False),
            ({"listed": False, "about": about}, False),
            ({"listed": False, "about": {**about, "listed": True}}, True),
            ({"about": about}, True),
            ({"about": None, "listed": None}, True),
        ):
            self.serve()
            spec = {"sha256": sha256(FISH).hexdigest(), "size": 8, "chunk_size": 8}
            body = json.dumps({**spec, **sent}).encode()
            answer = self.ask("POST", "/image", body, "application/json")
            self.assertEqual(answer.status, 201)
            stored = self.about(answer)
            self.assertEqual(stored["listed"], listed, sent)
            if sent.get("about"):
                self.assertEqual(stored["title"], "Fish")
                self.assertEqual(stored["tags"], ["a", "b"])
                self.assertEqual(stored["description"], "x\ny")

    def test_converted_by_the_client(self) -> None:
        """What a client converted a text from is kept, in a normal form."""
        path = f"/image/{sha256(FISH).hexdigest()}"
        spec = {"sha256": sha256(FISH).hexdigest(), "size": 8, "chunk_size": 8}
        for sent, kept in (
            ("", ""),
            ("utf-8", ""),
            ("; ice", "utf-8; ice"),
            ("IBM437", "cp437"),
            ("cp437; columns=160; ice", "cp437; columns=160; ice"),
            ("utf8;ice;columns=0;x=y", "utf-8; ice"),
            ("latin1; columns=80", "windows-1252; columns=80"),
        ):
            self.serve()
            answer = self.ask("PUT", path, FISH, Asciid_Charset=sent)
            self.assertEqual(self.about(answer)["charset"], kept)
            self.serve()
            body = json.dumps({**spec, "charset": sent}).encode()
            answer = self.ask("POST", "/image", body, "application/json")
            self.assertEqual(self.about(answer)["charset"], kept)
        for sent in ("klingon", "auto", "cp437 columns=80"):
            self.serve()
            answer = self.ask("PUT", path, FISH, Asciid_Charset=sent)
            self.assert_problem(answer, 400, "invalid-about")
            body = json.dumps({**spec, "charset": sent}).encode()
            answer = self.ask("POST", "/image", body, "application/json")
            self.assert_problem(answer, 400, "invalid-about")

    def test_fields(self) -> None:
        """Header fields say what is known about the image, for every upload."""
        path = f"/image/{sha256(FISH).hexdigest()}"
        for request in (("POST", "/"), ("PUT", "/f.txt"), ("PUT", path)):
            self.serve()
            answer = self.ask(
                *request,
                FISH,
                Asciid_Title=b"Fisch".decode("latin-1"),
                Asciid_Description="It swims.",
                Asciid_Author="größe",
                Asciid_Licence="CC-BY-4.0",
                Asciid_Tags=["fish, water", "small"],
                Asciid_Listed="no",
                Asciid_Expires="7d",
            )
            self.assertEqual(answer.status, 201, answer.body)
            about = self.about(answer)
            self.assertRegex(about.pop("expires"), r"\A20[0-9-]{8}T[0-9:.]+Z\Z")
            self.assertEqual(
                about,
                {
                    "title": "Fisch",
                    "description": "It swims.",
                    "author": "größe",
                    "licence": "CC-BY-4.0",
                    "tags": ["fish", "water", "small"],
                    "listed": False,
                    "charset": "",
                },
            )

    def test_bad_fields(self) -> None:
        """A field that breaks a rule is named, and nothing is stored."""
        for name, value in (
            ("title", "x" * 201),
            ("title", b"\xff"),
            ("author", "a\u202eb"),
            ("licence", "free for all"),
            ("tags", ",".join(f"tag{number}" for number in range(11))),
            ("listed", "perhaps"),
            ("expires", "tomorrow"),
            ("expires", "0"),
            ("expires", "2020-01-01T00:00:00Z"),
            ("expires", "999999999d"),
        ):
            headers: dict[str, Any] = {f"Asciid_{name.title()}": value}
            for request in (("POST", "/"), ("PUT", f"/image/{EMPTY_SHA256}")):
                answer = self.ask(*request, FISH, **headers)
                self.assert_problem(answer, 400, "invalid-about")
                self.assertEqual(json.loads(answer.body)["field"], name)
        self.assert_nothing_stored()

    def test_listing_policy(self) -> None:
        """Where nothing says so, an image is listed as the service is configured."""
        for default in (True, False):
            for headers, listed in (
                ({}, default),
                ({"Asciid_Title": "x"}, default),
                ({"Asciid_Listed": "true"}, True),
                ({"Asciid_Listed": "false"}, False),
            ):
                self.serve(MemoryStore(listed_by_default=default))
                answer = self.post(FISH, **headers)
                self.assertEqual(self.about(answer)["listed"], listed)

    def test_charset(self) -> None:
        """A file in a named charset becomes UTF-8."""
        for data, charset in (
            (DRAWN_CP437, "cp437"),
            (DRAWN_CP437, '"CP437"'),
            (DRAWN.replace("\n", "\r\n").encode("utf-16"), "utf-16"),
            (DRAWN.replace("\n", "\r\n").encode(), "utf-8"),
        ):
            self.serve()
            answer = self.post(data, f"text/plain; charset={charset}")
            self.assert_stored(answer, DRAWN.replace("\n", "\r\n").encode())

    def test_detected(self) -> None:
        """Without a charset it is detected, by the name of the file among others."""
        ansi = b"\x1b[31mHi \x81\x1b[0m"
        for path, data, text, charset in (
            ("/", DRAWN.encode(), DRAWN, ""),
            ("/", DRAWN_CP437, DRAWN.replace("\n", "\r\n"), "cp437"),
            ("/x.ans", ansi, "\x1b[31mHi ü\x1b[0m", "cp437; columns=80"),
            ("/x.nfo", b"\x81", "ü", "cp437"),
            ("/", b"\xff\xfeA\0", "A", "utf-16le"),
        ):
            for content_type in (None, "text/plain", "text/plain; charset=auto"):
                self.serve()
                answer = self.ask("PUT", path, data, content_type)
                self.assert_stored(answer, text.encode())
                self.assertEqual(self.about(answer)["charset"], charset)

    def test_sauce(self) -> None:
        """A SAUCE record is not part of the image: it says what is known about it."""
        data = DRAWN_CP437 + sauce(b"Box", b"jgs")
        answer = self.ask("PUT", "/box.ans", data)
        self.assert_stored(answer, DRAWN.replace("\n", "\r\n").encode())
        about = self.about(answer)
        self.assertEqual((about["title"], about["author"]), ("Box", "jgs"))
        self.assertEqual(about["charset"], "cp437; columns=80")
        self.serve()
        answer = self.ask("PUT", "/box.ans", data, Asciid_Title="Crate")
        about = self.about(answer)
        self.assertEqual((about["title"], about["author"]), ("Crate", "jgs"))

    def test_exact(self) -> None:
        """What is sent as UTF-8 is stored as it is."""
        data = b"\xef\xbb\xbffish\x1a"
        answer = self.ask("PUT", "/x.ans", data, "text/plain; charset=UTF-8")
        self.assert_stored(answer, data)
        answer = self.post(b"fish \xff", "text/plain; charset=utf-8")
        self.assert_problem(answer, 400, "not-utf-8")
        self.assertEqual(json.loads(answer.body)["offset"], 5)

    def test_plain(self) -> None:
        """UTF-8 with nothing to be left out is stored without a conversion."""

        def convert(*_: object) -> None:
            raise AssertionError

        self.patch(_text_upload, "decode_in_steps", convert)
        for data in (FISH, "ö╔".encode() * 100_000, b"^Z SAUCE00" + b" " * 119):
            self.assert_stored(self.ask("PUT", "/x.txt", data), data)

    def test_not_plain(self) -> None:
        """What may have to be left out is left out, wherever pieces are cut."""
        record = sauce(b"Fish", b"jgs")
        for name, data in (
            ("x.txt", b"\xef\xbb\xbf" + FISH),
            ("x.txt", FISH + b"\x1a"),
            ("x.txt", FISH + record),
            ("x.txt", FISH + record[1:]),
            ("x.ans", FISH + b"\x1arest"),
        ):
            for before in (0, 65_530, 131_000):
                self.serve()
                text = b"x" * before
                sent = data[:3] + text + data[3:]
                answer = self.ask("PUT", f"/{name}", sent)
                kept = (FISH[:3] + text + FISH[3:]) if data[:1] == b"<" else text + FISH
                self.assert_stored(answer, kept)

    def test_undecodable(self) -> None:
        """What is no text is refused with the offset and what to do."""
        answer = self.post(b"fish \xff\xfe and chips")
        self.assert_problem(answer, 422, "undecodable-text")
        problem = json.loads(answer.body)
        self.assertEqual(problem["offset"], 5)
        self.assertIn("at offset 5; name the charset", problem["detail"])
        self.assertIn("cp437", problem["charsets"])
        answer = self.post(b"A\0B", "text/plain; charset=utf-16le")
        self.assert_problem(answer, 422, "undecodable-text")
        answer = self.post(FISH, "text/plain; charset=klingon")
        self.assert_problem(answer, 415, "unsupported-charset")
        self.assertIn("cp437", json.loads(answer.body)["detail"])
        self.assert_nothing_stored()

    def test_large_utf_8(self) -> None:
        """A file that is too large to be converted is stored if it is UTF-8."""
        data = "ö".encode() * (LARGEST_CONVERTED // 2 + 1)
        self.assert_stored(self.post(data), data)
        self.serve()
        answer = self.ask("PUT", "/x.txt", data, "text/plain; charset=utf-8")
        self.assert_stored(answer, data)

    def test_large_and_not_utf_8(self) -> None:
        """A file that would have to be converted must not be too large."""
        data = b"x" * LARGEST_CONVERTED
        answer = self.post(data + b"\xdb")
        self.assert_problem(answer, 400, "not-utf-8")
        problem = json.loads(answer.body)
        self.assertEqual(problem["offset"], LARGEST_CONVERTED)
        self.assertIn("Only UTF-8 may have more than 4194304", problem["detail"])
        answer = self.post(data + b"x", "text/plain; charset=cp437")
        self.assert_problem(answer, 422, "undecodable-text")
        self.assertIn("oo large to convert", json.loads(answer.body)["detail"])
        self.assert_nothing_stored()

    def test_too_large(self) -> None:
        """The limit on images is that of the UTF-8."""
        answer = self.post(b"x" * (MAX_IMAGE + 1))
        self.assert_problem(answer, 413, "image-too-large")
        answer = self.post(b"\xdb" * (MAX_IMAGE // 2), "text/plain; charset=cp437")
        self.assert_problem(answer, 413, "image-too-large")
        self.assert_nothing_stored()

    def test_digest(self) -> None:
        """Content-Digest is that of the body as it was sent."""
        wrong = "sha-256=:AAAA:"
        answer = self.post(DRAWN_CP437, Content_Digest=wrong)
        self.assert_problem(answer, 400, "digest-mismatch")
        self.assert_nothing_stored()

    def test_form(self) -> None:
        """A form has the file and its fields, in any order."""
        file = part("file", DRAWN_CP437, "box.txt")
        title, tags = part("title", b"Box"), part("tags", b"a, b")
        for parts in ((file, title, tags), (title, file, tags), (tags, title, file)):
            self.serve()
            answer = self.post(form(*parts), FORM)
            self.assert_stored(answer, DRAWN.replace("\n", "\r\n").encode())
            about = self.about(answer)
            self.assertEqual((about["title"], about["tags"]), ("Box", ["a", "b"]))

    def test_form_fields(self) -> None:
        """All fields of a form, with line ends as browsers send them."""
        sent = {
            "title": " Fish ",
            "description": "It\r\nswims.\r\n",
            "author": "größe",
            "licence": "https://art.example/licence",
            "charset": "auto",
            "expires": "",
            "listed": "false",
            "unknown": "x" * 100_000,
        }
        parts = [part(name, value.encode()) for name, value in sent.items()]
        answer = self.post(form(part("file", FISH, ""), *parts), FORM)
        self.assertEqual(
            self.about(answer),
            {
                "title": "Fish",
                "description": "It\nswims.",
                "author": "größe",
                "licence": "https://art.example/licence",
                "tags": [],
                "listed": False,
                "expires": None,
                "charset": "",
            },
        )

    def test_repeated_fields(self) -> None:
        """Of a repeated field the last counts, as with a hidden one of a checkbox."""
        for values, listed in (((b"false",), False), ((b"false", b"true"), True)):
            self.serve()
            parts = [part("listed", value) for value in values]
            answer = self.post(form(*parts, part("file", FISH, "x")), FORM)
            self.assertEqual(self.about(answer)["listed"], listed)

    def test_form_over_header(self) -> None:
        """The fields of a form take precedence over those of the header."""
        answer = self.post(
            form(part("title", b"Form"), part("file", FISH, "fish.txt")),
            FORM,
            Asciid_Title="Header",
            Asciid_Author="Header",
        )
        about = self.about(answer)
        self.assertEqual((about["title"], about["author"]), ("Form", "Header"))

    def test_charset_of_a_form(self) -> None:
        """The charset is that of the field, or else of the part, or else detected."""
        other = "text/plain; charset=windows-1252"
        for parts, text in (
            ([part("file", b"\xfc", "x.txt", other)], "ü"),
            ([part("file", b"\xfc", "x.nfo")], "ⁿ"),
            ([part("charset", b"cp437"), part("file", b"\xfc", "x", other)], "ⁿ"),
            ([part("file", b"\xfc", "x.txt", other), part("charset", b"cp437")], "ⁿ"),
            ([part("file", "ü".encode(), "x"), part("charset", b"utf-8")], "ü"),
        ):
            self.serve()
            self.assert_stored(self.post(form(*parts), FORM), text.encode())

    def test_file_part(self) -> None:
        """The file is the part named so, or the one that has a file name."""
        for file in (
            part("file", FISH),
            part("image", FISH, "fish.txt"),
            part("file", FISH, "C:\\art\\fish.txt"),
            part("file", FISH, "../fish.txt"),
        ):
            self.serve()
            answer = self.post(form(file), FORM)
            self.assert_stored(answer, FISH)
            self.assertIn(self.about(answer)["title"], ("", "fish.txt"))

    def test_empty_file_of_a_form(self) -> None:
        """A file of a form may not be empty either."""
        answer = self.post(form(part("file", b"", "empty.txt")), FORM)
        self.assert_problem(answer, 400, "malformed-request")

    def test_browser(self) -> None:
        """A browser's form is redirected to the page of the image."""
        html = "text/html,application/xhtml+xml,*/*;q=0.8"
        for _ in range(2):
            answer = self.post(form(part("file", FISH, "x")), FORM, Accept=html)
            self.assertEqual(answer.status, 303)
            page = f"/i/{sha256(FISH).hexdigest()[:12]}"
            self.assertEqual(answer.header("Location"), page)
        self.assert_stored(self.post(FISH, Accept=html), FISH, 200)
        for accept in ("*/*", "text/html;q=0", "text/*"):
            answer = self.post(form(part("file", FISH, "x")), FORM, Accept=accept)
            self.assert_stored(answer, FISH, 200)

    def test_name_of_a_form(self) -> None:
        """A form that is sent to a name has that, unless its file has one."""
        for file, title in ((None, "x.txt"), ("fish.txt", "fish.txt")):
            self.serve()
            body = form(part("file", FISH, file))
            answer = self.ask("PUT", "/x.txt", body, FORM)
            self.assertEqual(self.about(answer)["title"], title)

    def test_pages_of_other_sites(self) -> None:
        """A page of another site may not upload, nor a form in it."""
        self.serve(write_origins=["https://draw.example"])
        foreign: list[dict[str, Any]] = [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://asciid.test:81"},
            {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"},
            {"Origin": "http://asciid.test", "Sec_Fetch_Site": "cross-site"},
            {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
        ]
        own: list[dict[str, Any]] = [
            {},
            {"Origin": "http://asciid.test"},
            {"Origin": "https://asciid.test", "Sec_Fetch_Site": "same-origin"},
            {"Origin": "null", "Sec_Fetch_Site": "same-origin"},
            {"Sec_Fetch_Site": "none"},
            {"Origin": "https://draw.example", "Sec_Fetch_Site": "cross-site"},
        ]
        uploads = (
            ("POST", "/", FISH, "text/plain"),
            ("POST", "/", form(part("file", FISH, "x")), FORM),
            ("PUT", "/", FISH, None),
            ("PUT", "/fish.txt", FISH, None),
        )
        for headers in foreign:
            for upload in uploads:
                answer = self.ask(*upload, **headers)
                self.assert_problem(answer, 403, "cross-site")
                self.assertIsNone(answer.header("Access-Control-Allow-Origin"))
        self.assert_nothing_stored()
        for headers in own:
            for upload in uploads:
                answer = self.ask(*upload, **headers)
                self.assertIn(answer.status, (200, 201), headers)

    def test_blocked(self) -> None:
        """A blocked image is refused, whatever the request, and for good."""
        digest = sha256(FISH).hexdigest()
        self.successResultOf(self.store.block(digest, "not ours"))
        for method, path in (("POST", "/"), ("PUT", "/x"), ("PUT", f"/image/{digest}")):
            answer = self.ask(method, path, FISH)
            self.assert_problem(answer, 403, "image-blocked")
            self.assertEqual(
                json.loads(answer.body)["detail"], "This image is blocked: not ours"
            )
        self.assert_problem(self.ask("GET", f"/image/{digest}"), 451, "image-blocked")
        self.assert_nothing_stored()


class SiteTests(OnSite, CreationContract, SynchronousTestCase):
    """On the stock Site."""


class ServerTests(OnAsciid, CreationContract, SynchronousTestCase):
    """On asciid's HTTP server."""

    def factory(self, api: ImageAPI) -> IProtocolFactory:
        """Return the factory that the daemon uses, keeping the API."""
        self.api = api
        return super().factory(api)

    def begin(
        self, head: str, body: bytes = b"", host: str = "127.0.0.1"
    ) -> StringTransportWithDisconnection:
        """Send the head of a request, and as much of its body."""
        transport = self.client.connect(
            f"{head}\r\nHost: asciid.test\r\n\r\n", host=host
        )
        self.send(transport, body)
        return transport

    def send(self, transport: StringTransportWithDisconnection, data: bytes) -> None:
        """Send more on a connection, and let the server process it."""
        protocol: Any = transport.protocol
        for start in range(0, len(data), 50_000):
            protocol.dataReceived(data[start : start + 50_000])
            for _ in range(4):
                reactor: Any = self.client.factory
                reactor.reactor.advance(0)

    def status(self, transport: StringTransportWithDisconnection) -> bytes:
        """Return the status of the only response, empty without one."""
        line: bytes = transport.value().partition(b"\r\n")[0]
        return line.partition(b" ")[2][:3]

    def test_malformed_forms(self) -> None:
        """A form that is malformed, has no file, or more than one, is refused."""
        file = part("file", FISH, "fish.txt")
        for content_type, body, reason in (
            ("multipart/form-data", form(file), "no boundary"),
            (FORM.replace("XX", "Y" * 71), form(file), "no boundary"),
            (FORM, b"", "unexpected end"),
            (FORM, b"--XX--\r\n", "no file was sent"),
            (FORM, form(part("file", b"", "")), "no file was sent"),
            (FORM, form(part("title", b"x")), "no file was sent"),
            (FORM, form(file, part("file", b"2", "2")), "more than one file"),
            (FORM, file, "unexpected end"),
            (FORM, FISH, "unexpected end"),
            (FORM, form(*[part("x", b"")] * 16, file), "segment count"),
            (FORM, form(part("x" * 2_000, b""), file), "header length"),
            (FORM, b"--XX\r\n" + b"X: y\r\n" * 9 + b"\r\n", "header count"),
            (FORM, b"--XX\r\nX: y\r\n\r\nz\r\n--XX--\r\n", "issing Content-D"),
        ):
            answer = self.post(body, content_type)
            self.assert_problem(answer, 400, "malformed-form")
            self.assertIn(reason, json.loads(answer.body)["detail"])
        answer = self.post(form(part("title", b"x" * 9_000), file), FORM)
        self.assert_problem(answer, 400, "invalid-about")
        answer = self.post(form(part("title", b"\xff"), file), FORM)
        self.assert_problem(answer, 400, "invalid-about")
        self.assert_nothing_stored()

    def test_expect(self) -> None:
        """A client that waits for 100 Continue gets it, unless it is refused."""
        head = "PUT / HTTP/1.1\r\nContent-Length: 8\r\nExpect: 100-continue"
        transport = self.begin(head)
        self.assertEqual(transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
        transport.clear()
        self.send(transport, FISH)
        self.assertEqual(self.status(transport), b"201")
        for line, status in (
            ("Origin: https://evil.example", b"403"),
            ("Content-Type: text/plain; charset=klingon", b"415"),
            ("Content-Type: multipart/mixed; boundary=x", b"415"),
            ("Asciid-Expires: soon", b"400"),
        ):
            self.assertEqual(self.status(self.begin(f"{head}\r\n{line}")), status)

    def test_chunked(self) -> None:
        """A body of unknown length, as of `curl -T -`, is accepted."""
        head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked"
        transport = self.begin(head, b"3\r\n<`)\r\n")
        self.assertEqual(transport.value(), b"")
        self.send(transport, b"5\r\n))><\n\r\n0\r\n\r\n")
        self.assertEqual(self.status(transport), b"201")
        digest = sha256(FISH).hexdigest()
        self.assertEqual(self.ask("GET", f"/image/{digest}").body, FISH)

    def test_disconnected(self) -> None:
        """Of a body that ends early nothing is stored, nor held."""
        for length, lines in (
            (100, ""),
            (LARGEST_CONVERTED + 100_000, ""),
            (600_000, "\r\nContent-Type: text/plain; charset=utf-8"),
        ):
            head = f"POST / HTTP/1.1\r\nContent-Length: {length}{lines}"
            transport = self.begin(head, b"x" * (length - 1))
            self.assertEqual(transport.value(), b"")
            transport.loseConnection()
            self.assert_nothing_stored()
            self.assertEqual(self.held.used, 0)

    @property
    def held(self) -> Any:  # noqa: ANN401 - private
        """The limit on what is held in memory."""
        return self.api._creations.held

    def test_memory_is_released(self) -> None:
        """Nothing is held after a response, whatever it is."""
        for data, content_type in (
            (FISH, None),
            (DRAWN_CP437, None),
            (b"\xff fish", None),
            (b"x" * (LARGEST_CONVERTED + 1), None),
            (form(part("file", FISH, "x")), FORM),
            (b"nonsense", FORM),
        ):
            self.post(data, content_type)
            self.assertEqual(self.held.used, 0)

    def test_memory_of_others(self) -> None:
        """A client that needs memory takes it from the one that holds the most."""
        self.patch(_creation, "_MAX_HELD", 100_000)
        self.serve()
        head = "POST / HTTP/1.1\r\nContent-Length: 90000"
        first = self.begin(head, b"x" * 80_000, host="192.0.2.1")
        self.assertEqual(self.held.used, 80_000)
        second = self.begin(head, b"x" * 40_000, host="192.0.2.2")
        self.assertEqual(self.status(first), b"503")
        self.assertIn(b"/problems/too-many-bodies", first.value())
        self.assertIn(b"Retry-After: 1", first.value())
        self.assertEqual(self.held.used, 40_000)
        self.send(second, b"x" * 50_000)
        self.assertEqual(self.status(second), b"201")
        self.assertEqual(self.held.used, 0)

    def test_without_memory(self) -> None:
        """Without memory UTF-8 is stored, and what has to be converted is refused."""
        self.patch(_creation, "_MAX_HELD", 10)
        self.serve()
        self.assert_stored(self.post(b"x" * 100), b"x" * 100)
        for answer in (
            self.post(b"\xdb\xdb\xdb" * 100),
            self.post(b"x" * 101, "text/plain; charset=cp437"),
        ):
            self.assert_problem(answer, 503, "too-many-bodies")
        self.assertEqual(self.held.used, 0)

    def test_the_whole_body_was_received(self) -> None:
        """A file is stored though its client has gone while it is converted."""
        steps: list[Any] = []

        class Later:
            """Does its work when its test says so."""

            def in_slices(self, work: Any, client: str = "") -> Any:  # noqa: ANN401 - a stub
                """Keep the steps."""
                done: Deferred[Any] = Deferred()
                steps.append(lambda: done.callback(run_steps(work)))
                del client
                return done

        self.serve(offload=Later())
        head = f"POST / HTTP/1.1\r\nContent-Length: {len(DRAWN_CP437)}"
        transport = self.begin(head, DRAWN_CP437)
        self.assertEqual(len(steps), 1)
        transport.loseConnection()
        steps[0]()
        self.assertEqual(self.held.used, 0)
        text = DRAWN.replace("\n", "\r\n").encode()
        answer = self.ask("GET", f"/image/{sha256(text).hexdigest()}")
        self.assertEqual(answer.body, text)
