"""The served contract is valid, complete, and kept, on both HTTP stacks."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import msgspec
from attrs import evolve
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import fromChunk

from asciid import __version__, errors
from asciid.api import ImageAPI, _routes
from asciid.api._contract import METHODS, load_contract, served_contract
from asciid.api._cors import CORS
from asciid.api._document import Document
from asciid.api._problem_pages import _PAGES, PROBLEM_PAGES
from asciid.api._problems import PROBLEM_TYPES
from asciid.api._schema import _About, _Chunk, _Registration
from asciid.config.settings import resolve
from asciid.http import Limits
from asciid.model import About
from asciid.net.body_limits import InputLimits
from asciid.net.fair_limit import FairLimit
from asciid.net.rate_limit import Rate, RateLimit
from asciid.store import Lifetimes, PendingLimits
from asciid.testing import MemoryStore
from tests.api._contract import Contract
from tests.api._pages_contract import PagesContract
from tests.api._raw import OnAsciid, OnSite, RawAnswer, parse_response
from tests.api._support import (
    CAT,
    CAT_BYTES,
    CAT_SHA256,
    BrokenStore,
    OneToken,
    Working,
)
from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twisted.internet.defer import Deferred
    from twisted.internet.testing import MemoryReactorClock

    from asciid.http import KleinFactory
    from asciid.model import AboutRecord

LIMITS = InputLimits(max_image_size=1_000_000, max_chunk_size=10_000)
UNKNOWN = "0" * 64
IMAGE = f"/image/{CAT_SHA256}"
CHUNKS = f"{IMAGE}/chunks"
ABOUT = f"{IMAGE}/about"
FILES = (("POST", "/"), ("PUT", "/"), ("PUT", "/cat.txt"))
"""Requests that send a file of any name."""
JSON = "Content-Type: application/json"
TEXT = "Content-Type: text/plain"
GOOD = "Authorization: Bearer good"
KEY = "Asciid-Edit-Key: of another image"
BODIES: dict[tuple[str, str], tuple[str, object]] = {
    ("POST", "/image"): (
        JSON,
        {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 30},
    ),
    ("POST", CHUNKS): (JSON, {"id": 0, "size": len(CAT_BYTES), "data": CAT}),
    ("PUT", IMAGE): (TEXT, CAT),
    ("PUT", ABOUT): (JSON, {"title": "Cat"}),
    **dict.fromkeys(FILES, (TEXT, CAT)),
}
"""The media type and the body of each request that has one."""

STORED = (IMAGE, CHUNKS, ABOUT)
"""The paths of an image."""

FREE = (("PUT", IMAGE),)
"""Requests that need no image at their path."""

OF_WRITES = (
    errors.CommitFailedError,
    errors.StoreBusyError,
    errors.StorageFullError,
    errors.WriterGoneError,
    errors.WriterUnavailableError,
)
"""Errors that no read meets."""


def nodes(node: object, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every JSON object below a node, with the pointers to them."""
    if isinstance(node, dict):
        yield pointer, node
    for key, child in children(node):
        escaped = str(key).replace("~", "~0").replace("/", "~1")
        yield from nodes(child, f"{pointer}/{escaped}")


def children(node: object) -> Iterable[tuple[object, object]]:
    """Return the keys or indices of a node with their values."""
    if isinstance(node, dict):
        return node.items()
    return enumerate(node) if isinstance(node, list) else ()


def unchunked(body: bytes) -> bytes:
    """Join the chunks of a body."""
    whole = b""
    while body.strip():
        chunk, body = fromChunk(body)
        whole += chunk
    return whole


class ChangingStore(MemoryStore):
    """A store in which others change what is said about an image."""

    changing = False

    def about(self, sha256: str) -> Deferred[AboutRecord]:
        """See `IImageStore.about`; the answer is soon out of date."""
        answer = super().about(sha256)
        if self.changing:
            self.set_about(sha256, About(title="Dog"))
        return answer


class DocumentTests(SynchronousTestCase):
    """The document by itself, and beside the code."""

    def setUp(self) -> None:
        """Load it."""
        self.document = load_contract(LIMITS)
        self.contract = Contract(self.document)

    def operations(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Return path, method and node of each operation, by its id."""
        return {
            operation["operationId"]: (path, method, operation)
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
            if method in METHODS
        }

    def test_is_openapi(self) -> None:
        """It is valid OpenAPI 3.1, without anything of our own in it."""
        self.assertEqual(list(OpenAPIV31SpecValidator(self.document).iter_errors()), [])
        self.assertNotIn('"x-', json.dumps(self.document))
        self.assertEqual(self.document["info"]["version"], __version__)

    def test_routes(self) -> None:
        """Routes and contract list each other, methods included."""
        routes = {
            (re.sub(r"<(.*?)>", r"{\1}", rule.rule), method.lower(), rule.endpoint)
            for rule in ImageAPI.app.url_map.iter_rules()
            for method in {*(rule.methods or ()), "OPTIONS"}
        }
        self.assertEqual(
            {(path, method) for path, method, _ in routes},
            {(path, method) for path, method, _ in self.operations().values()},
        )
        named = {route for route in routes if route[1] not in ("head", "options")}
        self.assertEqual(
            named,
            {
                (path, method, name)
                for name, (path, method, _) in self.operations().items()
                if method not in ("head", "options")
            },
        )

    def test_no_other_methods(self) -> None:
        """Nothing in a path is an operation that was overlooked."""
        for operations in self.document["paths"].values():
            self.assertLessEqual(set(operations), {*METHODS, "parameters"})

    def test_problem_types(self) -> None:
        """Table and contract have the same problem types, with the same statuses."""
        stated = set()
        for _, _, operation in self.operations().values():
            for status, reference in operation["responses"].items():
                response = self.document["components"]["responses"].get(
                    reference.get("$ref", "").rpartition("/")[2], reference
                )
                problem = response.get("content", {}).get("application/problem+json")
                self.assertEqual(problem is not None, int(status) >= 400, status)
                if problem is not None:
                    members = problem["schema"]["properties"]
                    self.assertEqual(members["status"]["const"], int(status))
                    stated |= {(name, int(status)) for name in members["type"]["enum"]}
        ours = {(name, status) for name, status in stated if name != "about:blank"}
        table = {
            (f"/problems/{name}", status) for name, (status, _) in PROBLEM_TYPES.items()
        }
        # Its other status is that of reads (RFC 7725).
        self.assertEqual(ours, {*table, ("/problems/image-blocked", 403)})
        self.assertEqual(
            {status for name, status in stated if name == "about:blank"},
            self.server_statuses(),
        )

    def server_statuses(self) -> set[int]:
        """Return the statuses that the source of the HTTP server names for errors."""
        sources = (ROOT / "asciid" / "http").glob("*.py")
        refusals = re.compile(r"(?:RefusedError|_refuse|_problem)\(\s*(\d{3}),")
        return {
            int(status)
            for source in sources
            for status in refusals.findall(source.read_text(encoding="utf-8"))
        }

    def test_request_members(self) -> None:
        """The documented members of request bodies are the ones that are read."""
        schemas = self.document["components"]["schemas"]
        for name, kind in (
            ("Registration", _Registration),
            ("Chunk", _Chunk),
            ("About", _About),
        ):
            members = {member.name for member in msgspec.structs.fields(kind)}
            self.assertEqual(set(schemas[name]["properties"]), members)

    def test_limits(self) -> None:
        """The schemas have the configured limits; in the file, the defaults."""
        schemas = self.document["components"]["schemas"]
        self.assertEqual(schemas["ImageSize"]["maximum"], 1_000_000)
        self.assertEqual(schemas["Image"]["maxLength"], 1_000_000)
        self.assertEqual(schemas["ChunkSize"]["maximum"], 10_000)
        self.assertEqual(schemas["ChunkText"]["maxLength"], 10_000)
        source = (ROOT / "asciid" / "api" / "openapi.json").read_text(encoding="utf-8")
        settings = resolve({}, {})
        defaults = InputLimits(settings.max_image_size, settings.max_chunk_size)
        self.assertEqual(
            json.loads(source)["components"]["schemas"],
            load_contract(defaults)["components"]["schemas"],
        )

    def test_examples_fit(self) -> None:
        """Each example fits the schema beside it."""
        checked = 0
        for pointer, node in nodes(self.document):
            if "schema" not in node:
                continue
            examples = [
                self.contract.node(self.contract.follow(f"{pointer}/examples/{name}"))
                for name in node.get("examples", {})
            ]
            values = [example["value"] for example in examples]
            values += [node["example"]] if "example" in node else []
            for value in values:
                self.contract.validate(f"{pointer}/schema", value)
                checked += 1
        self.assertGreater(checked, 15)

    def test_examples_belong_together(self) -> None:
        """The examples are the upload of one image."""
        examples = {
            name: example["value"]
            for name, example in self.document["components"]["examples"].items()
        }
        cat = examples["Cat"]
        registration = examples["CatRegistration"]
        self.assertEqual(registration["sha256"], sha256(cat.encode()).hexdigest())
        self.assertEqual(registration["size"], len(cat))
        chunks = examples["CatChunk0"], examples["CatChunk1"]
        self.assertEqual("".join(chunk["data"] for chunk in chunks), cat)
        problem = examples["ChunkExists"]
        error = errors.ChunkExistsError(registration["sha256"], 1, identical=True)
        self.assertEqual(problem["detail"], str(error))

    def test_links(self) -> None:
        """Links lead to operations, and give them parameters that they have."""
        operations = self.operations()
        count = 0
        for _, node in nodes(self.document):
            for name, link in node.get("links", {}).items():
                if "operationId" not in link:
                    continue
                path, _, _ = operations[link["operationId"]]
                self.assertEqual(
                    set(link["parameters"]), set(re.findall(r"\{(.*?)\}", path)), name
                )
                count += 1
        self.assertGreater(count, 5)

    def test_nothing_is_left_over(self) -> None:
        """Each component is used."""
        used = {node["$ref"] for _, node in nodes(self.document) if "$ref" in node}
        used |= {
            f"#/components/securitySchemes/{name}"
            for _, _, operation in self.operations().values()
            for scheme in operation.get("security", ())
            for name in scheme
        }
        for kind, components in self.document["components"].items():
            for name in components:
                self.assertIn(f"#/components/{kind}/{name}", used)


@cache
def kept_contract(*, tokens: bool) -> Contract:
    """Return the contract of a service with or without tokens."""
    return Contract(served_contract(LIMITS, metrics=True, tokens=tokens))


class KeptContract(PagesContract):
    """Responses are as the contract announces them."""

    seen_by: defaultdict[str, set[str]]
    """What was in the responses to each test of a class that this process has run."""

    def __init_subclass__(cls) -> None:
        """Each class has its own."""
        cls.seen_by = defaultdict(set)

    def setUp(self) -> None:
        """Serve an empty store."""
        self.seen = self.seen_by[self._testMethodName]
        self.reset()

    def reset(self) -> None:
        """Serve an empty store, whatever was served before."""
        self.api_options = {}
        self.follow(tokens=False)
        self.serve(MemoryStore())

    def follow(self, *, tokens: bool) -> None:
        """Hold responses to the contract of a service with or without tokens."""
        self.contract = kept_contract(tokens=tokens).noting(self.seen)

    def meet(
        self, status: int, method: str, path: str, *lines: str, body: object = ""
    ) -> RawAnswer:
        """Send a request and hold the response to that status and the contract."""
        text = body if isinstance(body, str) else json.dumps(body)
        answer = self.ask(method, path, *lines, body=text)
        return self.check_answer(status, method, path, answer)

    def check_answer(
        self, status: int, method: str, path: str, answer: RawAnswer
    ) -> RawAnswer:
        """Check a response against that status and the contract."""
        self.assertEqual(answer.status, status, (method, path, answer))
        if answer.fields.get("transfer-encoding") == "chunked":
            # A stock Site sends bodies of unknown length so.
            answer = evolve(answer, body=unchunked(answer.body))
        is_json = "json" in answer.fields.get("content-type", "")
        received = answer.body.decode()
        if is_json and received:
            received = json.loads(received)
        self.contract.check(method, path, answer, received)
        return answer

    def register(self, status: int, *lines: str, **changes: object) -> RawAnswer:
        """Register the cat, with `changes`; return the answer."""
        body = {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 11}
        return self.meet(
            status, "POST", "/image", JSON, *lines, body={**body, **changes}
        )

    def add(self, status: int, chunk_id: int, text: str, path: str = CHUNKS) -> None:
        """Upload a chunk."""
        body = {"id": chunk_id, "size": len(text.encode()), "data": text}
        self.meet(status, "POST", path, JSON, body=body)

    def test_register(self) -> None:
        """A registration and its errors."""
        self.register(400, sha256="cat")
        self.register(400, "Content-Digest: ?")
        self.register(400, "Content-Digest: sha-256=:AAAA:")
        self.register(413, size=1_000_001)
        self.register(413, chunk_size=10_001)
        self.register(422, size=0)
        self.meet(415, "POST", "/image", TEXT, body="cat")
        self.register(201)
        self.register(409)

    def test_chunks(self) -> None:
        """An upload in chunks, its status and its errors."""
        first, second = CAT_BYTES[:11].decode(), CAT_BYTES[11:].decode()
        self.meet(404, "GET", CHUNKS)
        self.add(404, 0, first)
        self.register(201)
        self.meet(200, "GET", CHUNKS)
        self.meet(404, "GET", IMAGE)
        self.add(400, 0, second)
        self.add(400, 7, first)
        self.add(400, 0, first, "/image/cat/chunks")
        self.add(413, 0, "x" * 10_001)
        self.meet(415, "POST", CHUNKS, TEXT, body=first)
        self.add(201, 1, second)
        self.add(409, 1, second)
        self.meet(200, "GET", CHUNKS)
        self.meet(200, "HEAD", CHUNKS)
        self.add(201, 0, first)
        self.add(409, 0, second + " ")
        self.meet(200, "GET", CHUNKS)
        self.meet(400, "GET", "/image/cat/chunks")
        self.register(201, sha256=UNKNOWN, size=1)
        self.add(422, 0, "x", f"/image/{UNKNOWN}/chunks")

    def test_many_gaps(self) -> None:
        """A status with too many gaps is truncated and marked."""
        store = MemoryStore()
        self.serve(store)
        self.register(201, size=2_003, chunk_size=1)
        for chunk_id in range(1, 2_003, 2):
            self.successResultOf(store.add_chunk(CAT_SHA256, chunk_id, b"x"))
        self.meet(200, "GET", CHUNKS)

    def test_upload(self) -> None:
        """An upload in one request and its errors."""
        self.meet(400, "PUT", "/image/cat", TEXT, body=CAT)
        multipart = "Content-Type: multipart/form-data; boundary=x"
        self.meet(415, "PUT", IMAGE, multipart, body=CAT)
        self.meet(415, "PUT", IMAGE, TEXT, "Content-Encoding: gzip", body=CAT)
        cp437 = "Content-Type: text/plain; charset=cp437"
        self.meet(415, "PUT", IMAGE, cp437, body=CAT)
        self.meet(415, "POST", "/image", JSON, "Content-Encoding: gzip", body="{}")
        self.meet(400, "POST", "/image", JSON, body='{"sha256": "\\ud800"}')
        self.meet(422, "PUT", IMAGE, TEXT, body="dog")
        wrong = "Content-Digest: sha-256=:AAAA:"
        self.meet(400, "PUT", IMAGE, TEXT, wrong, body=CAT)
        self.meet(201, "PUT", IMAGE, TEXT, body=CAT)
        self.meet(200, "PUT", IMAGE, TEXT, body=CAT)
        self.meet(412, "PUT", IMAGE, TEXT, "If-None-Match: *", body=CAT)
        self.meet(413, "PUT", IMAGE, TEXT, body="x" * 1_000_001)

    def form(self, *parts: tuple[str, str]) -> str:
        """Return a form of these parts, each a head and its value."""
        lines = [
            f"--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n"
            for head, value in parts
        ]
        return "".join([*lines, "--XX--\r\n"])

    def test_files(self) -> None:
        """Files of any name, forms, and their errors."""
        form = "Content-Type: multipart/form-data; boundary=XX"
        html = "Accept: text/html"
        cat = self.form(('name="file"; filename="cat.txt"', CAT))
        wrong = "Content-Digest: sha-256=:AAAA:"
        for method, path in FILES:
            self.reset()
            self.meet(201, method, path, TEXT, body=CAT)
            self.meet(200, method, path, TEXT, body=CAT)
            self.meet(303, method, path, form, html, body=cat)
            self.meet(303, method, path, form, html, body=cat.replace(CAT, "fish"))
            self.meet(400, method, path, TEXT, wrong, body=CAT)
            part = "Content-Range: bytes 0-9/21"
            self.meet(400, method, path, TEXT, part, body=CAT)
            utf_8 = "Content-Type: text/plain; charset=utf-8"
            self.meet(400, method, path, utf_8, body="\udcff")
            self.meet(403, method, path, TEXT, "Origin: https://b.example", body=CAT)
            self.meet(413, method, path, TEXT, body="x" * 1_000_001)
            mixed = "Content-Type: multipart/mixed; boundary=XX"
            unknown = "Content-Type: text/plain; charset=klingon"
            for line in (mixed, unknown, "Content-Encoding: gzip"):
                self.meet(415, method, path, line, body=CAT)
            self.meet(422, method, path, TEXT, body="a \udcff\udcfe b")
            sauce = "\udcff" + "SAUCE00".ljust(94, "\0") + "\x02".ljust(34, "\0")
            self.meet(422, method, path, TEXT, body=sauce)

    def test_fields(self) -> None:
        """Each field of what is said about an image, with a value that is refused."""
        fields = {
            "title": "x" * 201,
            "description": "x" * 2_001,
            "author": "x" * 201,
            "licence": "free for all",
            "tags": "x" * 51,
            "listed": "perhaps",
            "expires": "soon",
        }
        for method, path in (*FILES, ("PUT", IMAGE)):
            for name, value in fields.items():
                line = f"Asciid-{name.title()}: {value}"
                self.meet(400, method, path, TEXT, line, body=CAT)
        key = self.meet(201, "PUT", IMAGE, TEXT, body=CAT).fields["asciid-edit-key"]
        line = f"Asciid-Edit-Key: {key}"
        for name, value in fields.items():
            if name != "listed":
                about = {name: [value] if name == "tags" else value}
                self.meet(400, "PUT", ABOUT, JSON, line, body=about)
                self.register(400, about=about)
        unknown = "Asciid-Charset: klingon; columns=80"
        self.meet(400, "PUT", IMAGE, TEXT, unknown, body=CAT)
        self.register(400, charset="klingon")

    def test_about_an_image(self) -> None:
        """What is said about an image, its changes and their errors."""
        for method in ("GET", "HEAD"):
            self.meet(404, method, ABOUT)
        answer = self.register(201, edit_key=True, listed=False)
        self.meet(200, "GET", ABOUT)
        put = self.meet(201, "PUT", IMAGE, TEXT, body=CAT)
        self.assertNotIn("asciid-edit-key", put.fields)
        key = f"Asciid-Edit-Key: {answer.fields['asciid-edit-key']}"
        about = {"title": "Cat", "tags": ["a"], "expires": "7d", "listed": True}
        answer = self.meet(204, "PUT", ABOUT, JSON, key, body=about)
        etag = answer.fields["etag"]
        self.meet(204, "PUT", ABOUT, JSON, key, f"If-Match: {etag}", body=about)
        self.meet(412, "PUT", ABOUT, JSON, key, f"If-Match: {etag}", body=about)
        self.meet(400, "PUT", ABOUT, JSON, key, body={"title": 1})
        self.meet(400, "PUT", ABOUT, JSON, key, body='{"title": "\udcff"}')
        self.meet(400, "PUT", "/image/cat/about", JSON, key, body=about)
        self.meet(403, "PUT", ABOUT, JSON, body=about)
        self.meet(403, "PUT", ABOUT, JSON, "Asciid-Edit-Key: a", body=about)
        self.meet(415, "PUT", ABOUT, TEXT, key, body=about)
        self.meet(415, "PUT", ABOUT, JSON, key, "Content-Encoding: br", body=about)
        for method in ("GET", "HEAD"):
            etag = self.meet(200, method, ABOUT).fields["etag"]
            self.meet(304, method, ABOUT, f"If-None-Match: {etag}")
            self.meet(412, method, ABOUT, 'If-Match: "none"')
            self.meet(400, method, "/image/cat/about")
        self.meet(403, "DELETE", IMAGE)
        self.meet(403, "DELETE", IMAGE, "Asciid-Edit-Key: a")
        self.meet(204, "DELETE", IMAGE, key)

    def test_about_changed_meanwhile(self) -> None:
        """A change of another request between check and write is a 412."""
        store = ChangingStore()
        self.serve(store)
        answer = self.meet(201, "PUT", IMAGE, TEXT, body=CAT)
        key = f"Asciid-Edit-Key: {answer.fields['asciid-edit-key']}"
        etag = self.meet(200, "GET", ABOUT).fields["etag"]
        store.changing = True
        answer = self.meet(412, "PUT", ABOUT, JSON, key, f"If-Match: {etag}", body={})
        self.assert_problem(answer, 412, "about-changed")

    def test_blocked(self) -> None:
        """A blocked image is 451 for readers and 403 for writers."""
        self.serve_with_tokens()
        self.successResultOf(self.store.block(CAT_SHA256, "not ours"))
        for path in (IMAGE, CHUNKS, ABOUT):
            for method in ("GET", "HEAD"):
                self.meet(451, method, path)
        for method, path in self.requests():
            if method in ("POST", "PUT", "DELETE"):
                answer = self.send(403, method, path)
                self.assert_problem(answer, 403, "image-blocked")

    def test_download(self) -> None:
        """A download in all its forms."""
        self.meet(404, "GET", IMAGE)
        self.meet(201, "PUT", IMAGE, TEXT, body=CAT)
        etag = self.meet(200, "GET", IMAGE).fields["etag"]
        self.meet(200, "HEAD", IMAGE)
        self.meet(200, "GET", IMAGE, "Want-Repr-Digest: sha-512=1")
        self.meet(206, "GET", IMAGE, "Range: bytes=0-3")
        self.meet(206, "GET", IMAGE, "Range: bytes=0-3, -1")
        self.meet(304, "GET", IMAGE, f"If-None-Match: {etag}")
        self.meet(304, "HEAD", IMAGE, "If-None-Match: *")
        self.meet(400, "GET", "/image/cat")
        self.meet(406, "GET", IMAGE, "Accept: image/png")
        self.meet(406, "HEAD", IMAGE, "Accept: image/png")
        self.meet(412, "GET", IMAGE, 'If-Match: "cat"')
        self.meet(412, "HEAD", IMAGE, 'If-Match: "cat"')
        self.meet(416, "GET", IMAGE, "Range: bytes=21-")

    def test_content_codings(self) -> None:
        """A download in a content coding."""
        text = "/\\_/\\" * 1_000
        path = f"/image/{sha256(text.encode()).hexdigest()}"
        self.meet(201, "PUT", path, TEXT, body=text)
        for coding in ("zstd", "gzip"):
            line = f"Accept-Encoding: {coding}"
            answer = self.ask("GET", path, line)
            self.assertEqual(answer.fields["content-encoding"], coding)
            self.contract.check("GET", path, answer, text)
            self.meet(200, "HEAD", path, line)
            self.meet(304, "GET", path, line, f"If-None-Match: {answer.fields['etag']}")

    def test_about(self) -> None:
        """The documents of the service."""
        for path in ("/openapi.json", "/problems/chunk-exists"):
            etag = self.meet(200, "GET", path).fields["etag"]
            head = self.meet(200, "HEAD", path).fields
            self.assertEqual(head["etag"], etag)
            self.assertGreater(int(head["content-length"]), 100)
            for method in ("GET", "HEAD"):
                self.meet(304, method, path, f"If-None-Match: {etag}")
                self.meet(412, method, path, 'If-Match: "other"')
            self.meet(200, "GET", path, "If-None-Match: other")
            # Without Last-Modified there is nothing to compare this with.
            date = "Thu, 01 Jan 1970 00:00:00 GMT"
            self.meet(200, "GET", path, f"If-Unmodified-Since: {date}")
            date = "Fri, 01 Jan 2100 00:00:00 GMT"
            self.meet(200, "GET", path, f"If-Modified-Since: {date}")
        self.meet(404, "GET", "/problems/cat")
        self.meet(404, "HEAD", "/problems/cat")

    def test_metrics(self) -> None:
        """The figures, in both formats."""
        types = ("text/plain", "application/openmetrics-text")
        for kind in types:
            accept = f"Accept: {kind}; version=1.0.0"
            answer = self.meet(200, "GET", "/metrics", accept)
            self.assertEqual(answer.fields["content-type"].partition(";")[0], kind)
            self.meet(200, "HEAD", "/metrics", accept)

    def test_health(self) -> None:
        """A service that works, and one that does not."""
        store = MemoryStore()
        self.serve(store)
        for method in ("GET", "HEAD"):
            self.meet(200, method, "/livez")
            self.meet(200, method, "/readyz")
        store.stop()
        for method in ("GET", "HEAD"):
            self.meet(200, method, "/livez")
            self.meet(503, method, "/readyz")

    def test_served_document(self) -> None:
        """The served contract has the configured limits."""
        answer = self.ask("GET", "/openapi.json")
        self.assertEqual(answer.fields["content-type"], "application/json")
        self.assertEqual(json.loads(answer.body), self.contract.document)
        self.serve_with_tokens()
        answer = self.ask("GET", "/openapi.json")
        self.assertEqual(json.loads(answer.body), load_contract(LIMITS))

    def serve_with_tokens(self) -> None:
        """Serve an empty store that only the bearer of a token may change."""
        self.follow(tokens=True)
        self.api_options = {"tokens": OneToken(b"good")}
        self.store = MemoryStore()
        self.serve(self.store)

    def test_tokens(self) -> None:
        """Authorized and unauthorized writes."""
        self.serve_with_tokens()
        self.check_methods()
        good = "Authorization: Bearer good"
        body = {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 30}
        writes: tuple[tuple[int, str, str, str, object], ...] = (
            (201, "POST", "/image", JSON, body),
            (201, "POST", CHUNKS, JSON, {"id": 0, "size": 21, "data": CAT}),
            (204, "PUT", ABOUT, JSON, {}),
            (204, "DELETE", IMAGE, TEXT, ""),
            (201, "PUT", IMAGE, TEXT, CAT),
            (200, "POST", "/", TEXT, CAT),
            (200, "PUT", "/", TEXT, CAT),
            (200, "PUT", "/cat.txt", TEXT, CAT),
        )
        for status, method, path, kind, sent in writes:
            for refusal, line in (
                (401, "X-None: none"),
                (401, "Authorization: Bearer bad"),
                (400, "Authorization: Bearer"),
            ):
                self.meet(refusal, method, path, kind, line, body=sent)
            self.meet(status, method, path, kind, good, body=sent)
        self.meet(412, "DELETE", IMAGE, good, 'If-Match: "other"')
        self.meet(204, "DELETE", IMAGE, good)
        self.meet(404, "DELETE", IMAGE, good)
        self.meet(400, "DELETE", "/image/cat", good)
        self.meet(404, "GET", IMAGE)

    def test_every_write_needs_a_token(self) -> None:
        """Each operation but reads and OPTIONS is refused without a token."""
        self.serve_with_tokens()
        for method, path in self.requests():
            is_write = method not in ("GET", "HEAD", "OPTIONS")
            operation = self.contract.node(self.contract.operation(method, path))
            self.assertEqual("security" in operation, is_write)
            if is_write:
                kind, body = BODIES.get((method, path), (TEXT, ""))
                self.meet(401, method, path, kind, body=body)

    def test_options_and_other_methods(self) -> None:
        """Each path lists its methods, and refuses all others."""
        self.check_methods()

    def check_methods(self) -> None:
        """Check Allow of every path, in two ways."""
        for path in (
            "/",
            "/cat.txt",
            "/image",
            IMAGE,
            CHUNKS,
            ABOUT,
            "/openapi.json",
            "/livez",
            "/readyz",
            "/metrics",
            "/problems/chunk-exists",
            "/",
            "/random",
            "/i/x",
            "/i/x/embed",
            "/images",
            "/feed.atom",
            "/oembed",
            "/upload",
            "/robots.txt",
            "/favicon.svg",
            "/favicon.ico",
            "/static/x",
        ):
            answer = self.meet(204, "OPTIONS", path)
            refused = self.meet(405, "PATCH", path)
            self.assertEqual(answer.fields["allow"], refused.fields["allow"])
            allowed = set(answer.fields["allow"].lower().split(", "))
            self.assertEqual(allowed, self.contract.methods(path))

    def test_cors(self) -> None:
        """Preflights, and writes from a page that may write."""
        self.api_options = {"write_origins": ["https://art.example"]}
        self.serve(MemoryStore())
        origin = "Origin: https://art.example"
        for path, method in ((IMAGE, "GET"), (IMAGE, "PUT"), (CHUNKS, "POST")):
            wanted = f"Access-Control-Request-Method: {method}"
            answer = self.meet(204, "OPTIONS", path, origin, wanted)
            self.assertIn("access-control-allow-methods", answer.fields)
        self.register(201, origin)
        self.register(409, origin)

    def requests(self) -> Iterator[tuple[str, str]]:
        """Yield method and path of a request for each operation."""
        for path, operations in self.contract.document["paths"].items():
            name = "cat.txt" if path == "/{name}" else "chunk-exists"
            for method in METHODS:
                if method in operations:
                    yield method.upper(), path.format(sha256=CAT_SHA256, name=name)

    def send(self, status: int, method: str, path: str) -> RawAnswer:
        """Send a valid request, with a token."""
        kind, body = BODIES.get((method, path), (TEXT, ""))
        return self.meet(status, method, path, kind, GOOD, body=body)

    def test_faults(self) -> None:
        """Errors of the server."""
        self.serve_with_tokens()
        for status, error in (
            (500, RuntimeError()),
            (503, errors.StorageFailedError()),
            (503, errors.CommitFailedError()),
            (503, errors.StorageUnreadableError()),
            (503, errors.StoreClosedError()),
            (503, errors.StoreBusyError()),
            (503, errors.WriterGoneError()),
            (503, errors.WriterUnavailableError()),
            (503, errors.DatabaseUnavailableError()),
            (507, errors.StorageFullError()),
        ):
            self.serve(BrokenStore(error))
            for method, path in self.requests():
                is_write = method in ("POST", "PUT", "DELETE")
                is_read = method in ("GET", "HEAD") and path in STORED
                if is_write or (is_read and not isinstance(error, OF_WRITES)):
                    self.send(status, method, path)
            self.flushLoggedErrors(RuntimeError)

    def test_internal_errors(self) -> None:
        """A handler that fails without the store gets 500."""

        def fault(*_: object, **_options: object) -> None:
            raise RuntimeError

        for place, name, path in (
            (_routes, "answer_live", "/livez"),
            (_routes, "answer_ready", "/readyz"),
            (_routes, "answer_scrape", "/metrics"),
            (Document, "answer", "/openapi.json"),
            (Document, "answer", "/problems/chunk-exists"),
        ):
            patched = self.patch(place, name, fault)
            self.meet(500, "GET", path)
            self.meet(500, "HEAD", path)
            patched.restore()
        self.flushLoggedErrors(RuntimeError)

    def test_not_utf_8(self) -> None:
        """Bodies that are not UTF-8 get 400."""
        self.meet(400, "PUT", IMAGE, TEXT, body="\udcff")
        for path in ("/image", CHUNKS):
            self.meet(400, "POST", path, JSON, body='{"data": "\udcff"}')

    def test_wrong_digests(self) -> None:
        """Bodies with another digest get 400."""
        digest = f"Content-Digest: sha-256=:{'A' * 43}=:"
        for (method, path), (kind, body) in BODIES.items():
            self.meet(400, method, path, kind, digest, KEY, body=body)

    def test_unknown_image(self) -> None:
        """An image that is not registered is 404."""
        self.serve_with_tokens()
        for method, path in self.requests():
            if path in STORED and (method, path) not in (*FREE, ("OPTIONS", path)):
                self.send(404, method, path)

    def test_expiry(self) -> None:
        """The status has the expiry; an expired image is 410."""
        now = 0.0
        lifetimes = Lifetimes(upload=60, image=60)
        store = MemoryStore(lifetimes=lifetimes, monotonic=lambda: now)
        self.serve_with_tokens()
        self.serve(store)
        self.send(201, "POST", "/image")
        self.send(200, "GET", CHUNKS)
        self.send(201, "PUT", IMAGE)
        now = 61.0
        self.successResultOf(store.expire())
        for method, path in self.requests():
            if path in STORED and (method, path) not in (*FREE, ("OPTIONS", path)):
                self.send(410, method, path)

    def test_uploads_limits(self) -> None:
        """Registrations over the limits on pending uploads get 429 or 503."""
        for status, limits in (
            (429, PendingLimits(per_client=1)),
            (503, PendingLimits(total=1)),
        ):
            self.serve(MemoryStore(pending=limits))
            self.register(201, sha256=UNKNOWN)
            self.register(status)

    def test_upload_rate(self) -> None:
        """Uploads and registrations over the rate of a client get 429."""
        self.api_options = {"upload_rate": RateLimit(Rate(1, 60), Clock().seconds)}
        self.serve(MemoryStore())
        self.register(201)
        self.register(429)
        for method, path in (("PUT", IMAGE), *FILES):
            self.meet(429, method, path, TEXT, body=CAT)
        self.meet(404, "GET", IMAGE)


class OnAsciidTests(OnAsciid, KeptContract, SynchronousTestCase):
    """The contract on asciid's HTTP server."""

    def reset(self) -> None:
        """Serve an empty store, within the usual limits."""
        self.limits = None
        super().reset()

    def test_below_the_routes(self) -> None:
        """Errors in HTTP itself are documented for each operation."""
        self.serve_with_tokens()
        for method, path in self.requests():
            lines = JSON if method == "POST" else TEXT, GOOD
            self.meet(400, method, path, *lines, "Bad Name: x")
            self.meet(413, method, path, *lines, f"Content-Length: {10**18}")
            self.meet(414, method, f"{path}?{'x' * 9_000}", *lines)
            self.meet(417, method, path, *lines, "Expect: cake")
            self.meet(431, method, path, *lines, "X-Long: " + "x" * 20_000)
            self.meet(501, "BREW", path)
            host = "Host: asciid.test\r\n\r\n"
            https = f"{method} https://asciid.test{path} HTTP/1.1\r\n{host}"
            self.check_answer(421, method, path, parse_response(self.client.raw(https)))
            version = f"{method} {path} HTTP/2.0\r\n{host}"
            self.check_answer(
                505, method, path, parse_response(self.client.raw(version))
            )

    def test_malformed_forms(self) -> None:
        """A form without a file gets 400."""
        # A stock Site parses forms itself.
        form = "Content-Type: multipart/form-data; boundary=XX"
        for method, path in FILES:
            answer = self.meet(400, method, path, form, body=self.form())
            self.assert_problem(answer, 400, "malformed-form")

    def test_long_paths(self) -> None:
        """A path that is longer than the limit leads to no route."""
        self.serve_with_tokens()
        for method, path in self.requests():
            for name in (CAT_SHA256, "chunk-exists", "cat.txt"):
                if name in path:
                    long = path.replace(name, "x" * 2_000)
                    self.meet(404, method, long, JSON, GOOD)

    def test_partial_requests(self) -> None:
        """A partial header block gets 408, or 503 if its connection is evicted."""
        self.serve_with_tokens()
        for method, path in self.requests():
            line = f"{method} {path} HTTP/1.1\r\n"
            self.limits = Limits(header_timeout=1e-9)
            self.serve(MemoryStore())
            transport = self.client.connect(line)
            self.pass_time()
            self.check_answer(408, method, path, parse_response(transport.value()))
            self.limits = Limits(connections=2)
            self.serve(MemoryStore())
            transport = self.client.connect(line)
            for host in ("127.0.0.1", "192.0.2.1"):
                self.client.connect(host=host)
            self.check_answer(503, method, path, parse_response(transport.value()))

    def pass_time(self) -> None:
        """Advance time past the timeouts of the server."""
        factory = cast("KleinFactory", self.client.factory)
        factory.doStart()
        cast("MemoryReactorClock", factory.reactor).advance(2)
        factory.doStop()

    def test_partial_bodies(self) -> None:
        """A body that is late, malformed, too large or evicted is refused."""
        for (method, path), (kind, _) in BODIES.items():
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: asciid.test\r\n{kind}\r\n{KEY}\r\n"
            )
            self.limits = Limits(body_timeout=1e-9)
            self.serve(MemoryStore())
            transport = self.client.connect(f"{head}Content-Length: 9\r\n\r\n123")
            self.pass_time()
            self.check_answer(408, method, path, parse_response(transport.value()))
            chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n"
            for status, chunk in ((400, "?"), (413, f"{10**9:x}\r\n")):
                answer = parse_response(self.client.raw(chunked + chunk))
                self.check_answer(status, method, path, answer)
            self.limits = Limits(bodies=1)
            self.serve(MemoryStore())
            answer = parse_response(
                self.client.raw(f"{head}Content-Length: 9\r\n\r\n123")
            )
            self.check_answer(503, method, path, answer)

    def test_failing_error_handler(self) -> None:
        """An error handler that fails gets 500; OPTIONS is answered by one."""

        def fault(*_: object) -> None:
            raise RuntimeError

        patched = self.patch(CORS, "answer_options", fault)
        for method, path in self.requests():
            if method == "OPTIONS":
                self.meet(500, method, path)
        patched.restore()
        self.flushLoggedErrors(RuntimeError)

    def test_exhausted_limit(self) -> None:
        """A service that is ready may have a reason beside a check."""
        factory = cast("KleinFactory", self.client.factory)
        clock = Clock()
        factory.bodies = limit = FairLimit(10, clock.seconds)
        for _ in range(12):
            limit.take("192.0.2.1", Working(), 10)
            clock.advance(1)
        self.meet(200, "GET", "/readyz")

    def test_every_documented_part(self) -> None:
        """Each documented status, header field and member is in some response."""
        # A stock Site has no limits of its own, so that those of the API apply.
        on_site = OnSiteTests()
        on_site.seen = self.seen
        on_site.reset()
        on_site.test_upload()
        for name in dir(self):
            if name.startswith("test_") and name not in self.seen_by:
                self.reset()
                getattr(self, name)()
        parts = Contract(load_contract(LIMITS)).documented_parts()
        unseen = "\n".join(sorted(parts.difference(*self.seen_by.values())))
        self.assertFalse(unseen, f"in no response:\n{unseen}")


class OnSiteTests(OnSite, KeptContract, SynchronousTestCase):
    """The contract on a stock Site."""


class ProblemPageTests(SynchronousTestCase):
    """The pages on problem types."""

    def test_complete(self) -> None:
        """Each type in the table has a page that names it, and there is no other."""
        self.assertEqual(set(PROBLEM_PAGES), set(PROBLEM_TYPES))
        self.assertEqual(set(_PAGES), set(PROBLEM_TYPES))
        for name, (status, title) in PROBLEM_TYPES.items():
            text = PROBLEM_PAGES[name]._content.decode()
            self.assertTrue(text.startswith(f"{title} ({status} "), text)
            for heading in ("What happened", "What to do", "Try again?"):
                self.assertIn(f"\n\n{heading}\n", text)
            self.assertLessEqual(max(map(len, text.splitlines())), 72)
