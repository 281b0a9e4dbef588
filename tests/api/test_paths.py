"""Spellings of paths: which are another path, and which are the same."""

from __future__ import annotations

import json
from urllib.parse import quote

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from asciid.api import ImageAPI, MetricsAPI
from asciid.http import KleinFactory, Limits
from asciid.http._route_table import RouteTable
from asciid.testing import MemoryStore
from tests.api._support import Client, make_api, make_server

IMAGE = "/image/" + "0" * 64
PATHS = (
    "/image",
    IMAGE,
    f"{IMAGE}/chunks",
    "/openapi.json",
    "/problems/image-exists",
    "/livez",
    "/readyz",
    "/metrics",
)
"""A path of each route."""


def encoded(text: str) -> str:
    """Return a path with each character of it encoded, slashes apart."""
    return "".join(each if each == "/" else f"%{ord(each):02x}" for each in text)


class PathTests(SynchronousTestCase):
    """Each route under spellings of its path."""

    def setUp(self) -> None:
        """Serve an empty store."""
        api = make_api(MemoryStore(), max_image_size=1000, max_chunk_size=1000)
        self.client = Client(make_server(api, MemoryReactorClock()))
        scrape = KleinFactory(MetricsAPI(api.metrics).app, reactor=MemoryReactorClock())
        self.scrape = Client(scrape)

    def ask(
        self, path: str, method: str = "GET", client: Client | None = None
    ) -> tuple[int, str]:
        """Return the status and the type of the problem, if it is one."""
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        head, _, body = (client or self.client).raw(request).partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        kind = json.loads(body)["type"] if status >= 400 and body else ""
        return status, kind

    def test_quick_routes(self) -> None:
        """The route of each path is found without a search by werkzeug."""
        table = RouteTable(ImageAPI.app, Limits())
        self.assertEqual(
            set(table._tables), {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE"}
        )
        for path, method, endpoint in (
            (b"/", b"PUT", "create_by_put"),
            (b"/fish.txt", b"PUT", "create_named"),
            (IMAGE.encode(), b"PUT", "upload"),
        ):
            found = table._tables[method].match(path)
            self.assertEqual(found and found[0].endpoint, endpoint)

    def test_other_paths(self) -> None:
        """A doubled slash, an encoded one, dots and a slash at the end are no route."""
        nowhere = self.ask("/nowhere")
        self.assertEqual(nowhere[0], 404)
        malformed = (400, "/problems/malformed-request")  # an invalid hash
        for path in PATHS:
            self.assertNotEqual(self.ask(path), nowhere, path)
            other = {
                f"/{path}",
                f"//{path}",
                f"http://x/{path}",
                f"/.{path}",
                f"/%2e{path}",
                f"/a/..{path}",
                f"{path}/",
                f"{path}//",
                f"/{path}?a=b",
                path + "%2f",
                path + "%2F",
                path + "%00",
                path + "%3f",
                path + ";a",
                "/" + quote(path, safe=""),
                path.replace("/", "//"),
                path[:1] + path[1:].replace("/", "%2f"),
                path.upper() if path != IMAGE else f"/IMAGE{path[6:]}",
            } - {path}
            for spelling in other:
                for _ in range(2):  # results are cached
                    self.assertIn(self.ask(spelling), (nowhere, malformed), spelling)

    def test_same_path(self) -> None:
        """Unreserved characters may be encoded, in digits of either case."""
        for path in PATHS:
            expected = self.ask(path)
            for spelling in (
                encoded(path),
                encoded(path).upper(),
                f"http://x{path}",
                f"http://x{encoded(path)}",
                f"{path}?a=b",
            ):
                for _ in range(2):
                    self.assertEqual(self.ask(spelling), expected, spelling)

    def test_methods(self) -> None:
        """So it is with every method: nothing is changed by another spelling."""
        nowhere = self.ask("/no/where", "DELETE")
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for path in PATHS:
                self.assertEqual(self.ask(f"/{path}", method)[0], 404)
        self.assertEqual(nowhere[0], 404)

    def test_metrics_apart(self) -> None:
        """The same holds where the metrics have a port of their own."""
        self.assertEqual(self.ask("/%6detrics", client=self.scrape)[0], 200)
        for path in ("//metrics", "/%2fmetrics", "/metrics/", "/./metrics"):
            self.assertEqual(self.ask(path, client=self.scrape)[0], 404, path)
