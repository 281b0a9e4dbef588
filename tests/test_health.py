"""``python -P -m asciid.health``, which health checks run."""

from __future__ import annotations

import io
import os
import runpy
import socket
import sys
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread
from typing import TYPE_CHECKING
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from asciid import health
from asciid.health import main

if TYPE_CHECKING:
    from collections.abc import Sequence


class Handler(BaseHTTPRequestHandler):
    """Responds with the status in the path: /503 is 503."""

    def do_GET(self) -> None:
        """Answer."""
        status = 204 if self.path == "/readyz" else int(self.path[1:])
        self.send_response(status)
        self.end_headers()
        if status != 204:
            self.wfile.write(b"because")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        """Log nothing."""


class HealthTests(SynchronousTestCase):
    """Requests, output and exit codes."""

    def serve(self, host: str = "127.0.0.1") -> int:
        """Answer requests; return the port."""
        server = HTTPServer((host, 0), Handler)
        serving = Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        self.addCleanup(server.server_close)
        self.addCleanup(serving.join)
        self.addCleanup(server.shutdown)
        return server.server_port

    def check(self, arguments: Sequence[str], **environ: str) -> tuple[int, str]:
        """Return the exit code and the output."""
        with redirect_stdout(io.StringIO()) as output:
            code = main(arguments, environ)
        return code, output.getvalue()

    def test_answers(self) -> None:
        """2xx is 0, anything else 1; the line has the response."""
        url = f"http://127.0.0.1:{self.serve()}"
        self.assertEqual(self.check([f"{url}/200"]), (0, "200 because\n"))
        self.assertEqual(self.check([f"{url}/503"]), (1, "503 because\n"))
        self.assertEqual(self.check([f"{url}/302"]), (1, "302 because\n"))
        # /readyz is the default path.
        self.assertEqual(self.check([url]), (0, "204 \n"))

    def test_port_of_the_daemon(self) -> None:
        """Without a URL it requests the daemon's port on this machine."""
        port = self.serve()
        for listening in (
            f"{port}",
            f"tcp:{port}",
            f"tcp:port={port}",
            f"tcp6:{port}:interface=\\:\\:",
        ):
            answer = self.check([], ASCIID_PORT=listening)
            self.assertEqual(answer, (0, "204 \n"), listening)

    def test_interface_of_the_daemon(self) -> None:
        """It uses the interface of the endpoint, in any position."""
        port = self.serve("127.0.0.3")
        for listening in (
            f"tcp:{port}:interface=127.0.0.3",
            f"tcp:interface=127.0.0.3:port={port}:backlog=50",
            f"tcp:{port}:127.0.0.3:50",
        ):
            answer = self.check([], ASCIID_PORT=listening)
            self.assertEqual(answer, (0, "204 \n"), listening)
        self.assertEqual(self.check([], ASCIID_PORT=f"tcp:{port}")[0], 1)

    def test_interface_over_ipv6(self) -> None:
        """Also an IPv6 interface with escaped colons, and all interfaces."""
        self.patch(HTTPServer, "address_family", socket.AF_INET6)
        port = self.serve("::1")
        for listening in (
            f"tcp6:{port}",
            f"tcp6:{port}:interface=\\:\\:1",
            f"tcp6:{port}:50:\\:\\:1",
            f"tcp6:{port}:interface=\\:\\:",
        ):
            answer = self.check([], ASCIID_PORT=listening)
            self.assertEqual(answer, (0, "204 \n"), listening)

    def test_unix(self) -> None:
        """It supports Unix sockets; without one there is no response."""
        before = Path.cwd()
        directory = Path(self.mktemp())
        directory.mkdir()
        os.chdir(directory)
        self.addCleanup(os.chdir, before)
        for listening in ("unix:x:y.sock", "unix:address=none", "unix:"):
            code, line = self.check([], ASCIID_PORT=listening)
            self.assertEqual((code, line[:13]), (1, "no response: "), listening)
        self.patch(HTTPServer, "address_family", socket.AF_UNIX)
        self.patch(HTTPServer, "server_bind", UnixStreamServer.server_bind)
        server = HTTPServer("x:y.sock", Handler)  # type: ignore[arg-type] # a path
        self.patch(Handler, "address_string", lambda _: "")
        serving = Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        self.addCleanup(server.server_close)
        self.addCleanup(serving.join)
        self.addCleanup(server.shutdown)
        for listening in (
            "unix:x\\:y.sock",
            "unix:x\\:y.sock:mode=600",
            "unix:x\\:y.sock:600",
            "unix:mode=600:address=x\\:y.sock",
        ):
            answer = self.check([], ASCIID_PORT=listening)
            self.assertEqual(answer, (0, "204 \n"), listening)

    def test_service_link(self) -> None:
        """The address of a Kubernetes Service is ignored."""
        port, file = self.serve(), Path(self.mktemp())
        file.write_text(f"port = {port}")
        answer = self.check(
            [], ASCIID_CONFIG=str(file), ASCIID_PORT="tcp://10.96.0.11:4444"
        )
        self.assertEqual(answer, (0, "204 \n"))
        (first, *_), _ = health._target([], {"ASCIID_PORT": "tcp://10.96.0.11:4321"})
        self.assertEqual((first.host, first.port), ("127.0.0.1", 4444))

    def test_endpoints_that_are_none(self) -> None:
        """An invalid port or host is one line and exit code 2."""
        for listening in (
            "tcp:70000",
            "tcp:",
            "tcp",
            "\u0664",
            "tcp:4444:interface=\udcff",
            f"tcp:4444:interface={'a' * 70}.example",
        ):
            code, line = self.check([], ASCIID_PORT=listening)
            self.assertEqual(code, 2, listening)
            self.assertTrue(line.startswith("asciid.health: "), line)
            line.encode()

    def test_paths_that_are_none(self) -> None:
        """A path that no request can have is 1 or 2, and no traceback."""
        url = f"http://127.0.0.1:{self.serve()}"
        for path in ("/\u00e9", "/\udcff", "/a b"):
            code, line = self.check([url + path])
            self.assertIn(code, (1, 2), path)
            line.encode()

    def test_port_in_a_file(self) -> None:
        """The port may be in the configuration file, which the environment beats."""
        port, file = self.serve(), Path(self.mktemp())
        for text in (f"port = {port}", f'port = "tcp:{port}"'):
            file.write_text(text)
            answer = self.check([], ASCIID_CONFIG=str(file))
            self.assertEqual(answer, (0, "204 \n"), text)
        file.write_text('port = "ssl:1"')
        code, line = self.check([], ASCIID_CONFIG=str(file))
        self.assertEqual((code, "'ssl:1'" in line), (2, True))
        answer = self.check([], ASCIID_CONFIG=str(file), ASCIID_PORT=str(port))
        self.assertEqual(answer, (0, "204 \n"))
        self.assertEqual(health._configured({"ASCIID_CONFIG": "none"}), None)
        file.write_text("reserve = 0")
        self.assertEqual(health._configured({"ASCIID_CONFIG": str(file)}), None)
        for text in ("port", f"port = {'[' * 10_000}"):
            file.write_text(text)
            self.assertEqual(self.check([], ASCIID_CONFIG=str(file))[0], 2)
        file.unlink()
        code, line = self.check([], ASCIID_CONFIG=str(file))
        self.assertEqual((code, "cannot read" in line), (2, True))

    def test_no_answer(self) -> None:
        """Where nothing listens, or no HTTP is spoken, it is 1."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        code, line = self.check([f"http://127.0.0.1:{port}"])
        self.assertEqual(code, 1)
        self.assertTrue(line.startswith("no response: "), line)

    def test_program(self) -> None:
        """The program uses its arguments, and exits with that code."""
        with (
            patch.object(sys, "argv", ["asciid.health", "readyz"]),
            redirect_stdout(io.StringIO()) as output,
        ):
            end = self.assertRaises(
                SystemExit, runpy.run_path, str(health.__file__), run_name="__main__"
            )
        self.assertEqual(end.code, 2)
        self.assertIn("a URL such as", output.getvalue())

    def test_mistakes(self) -> None:
        """An invalid URL is exit code 2."""
        for arguments in (
            ["readyz"],
            ["https://art.example/readyz"],
            ["http://a:1", "http://b:2"],
            ["http://a:port"],
        ):
            self.assertEqual(self.check(arguments)[0], 2, arguments)
        code, line = self.check([], ASCIID_PORT="systemd:domain=UNIX:index=0")
        self.assertEqual(code, 2)
        self.assertIn("'systemd:domain=UNIX:index=0'", line)
