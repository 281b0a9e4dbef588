"""Files that real curl sends to a real daemon, without their hash."""

from __future__ import annotations

import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration._daemon import Daemon

MIB = 1024 * 1024
SIZE = 40
"""MiB of a large file."""
BOUND = 24
"""MiB by which the daemon may grow, however large a file is."""
ART = "╔═══╗\n║ ♥ ║\n╚═══╝\n"


def peak(daemon: Daemon) -> float:
    """Return the most memory the daemon has ever had, in MiB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(status)
    return int(found[1]) / 1024


class SentFilesTests(SynchronousTestCase):
    """The ways to send a file, and what becomes of it."""

    def setUp(self) -> None:
        """Find curl."""
        if shutil.which("curl") is None:
            message = "curl is not installed"
            raise SkipTest(message)
        self.directory = Path(self.mktemp()).resolve()

    def start(self, *options: str) -> None:
        """Start a daemon with these options."""
        self.daemon = Daemon(self.directory, options)
        self.addCleanup(self.daemon.kill)
        self.daemon.start()

    def curl(self, *arguments: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run curl; return status, header and body of the last response."""
        done = subprocess.run(
            ["curl", "-sS", "-i", *arguments],
            input=data,
            stdout=subprocess.PIPE,
            cwd=self.directory,
            check=True,
            timeout=60,
        )
        rest = done.stdout
        head = b"HTTP/1.1 100 "
        while head.startswith(b"HTTP/1.1 100 "):
            head, _, rest = rest.partition(b"\r\n\r\n")
        return int(head.split()[1]), head, rest

    def test_curl(self) -> None:
        """Each way of curl to send a file stores it, and answers its short URL."""
        self.start("--public-url=https://art.example")
        url = self.daemon.url
        for number, (arguments, is_file) in enumerate(
            (
                (["-T", "-", f"{url}/"], False),
                (["-T", "fish.txt", f"{url}/"], True),
                (["-T", "fish.txt", f"{url}/a%20fish"], True),
                (["--data-binary", "@fish.txt", f"{url}/"], True),
                (["-F", "file=@fish.txt", f"{url}/"], True),
                (["-F", "file=@-;filename=x", "-F", "title=X", f"{url}/"], False),
                (["-H", "Expect: 100-continue", "-T", "-", f"{url}/"], False),
                (["-0", "-T", "fish.txt", f"{url}/"], True),
            )
        ):
            data = f"fish {number}\n".encode()
            (self.directory / "fish.txt").write_bytes(data)
            status, head, body = self.curl(*arguments, data=b"" if is_file else data)
            digest = sha256(data).hexdigest()
            self.assertEqual(status, 201, (arguments, head, body))
            self.assertEqual(body.decode(), f"https://art.example/i/{digest[:12]}\n")
            self.assertEqual(self.curl(f"{url}/image/{digest}")[2], data)
        self.daemon.stop()

    def test_refused(self) -> None:
        """Curl receives the response to a large file that is refused unread."""
        self.start("--upload-rate=3/h")
        large = self.directory / "large.txt"
        large.write_bytes(b"x" * 8 * MIB)
        url = f"{self.daemon.url}/"
        for lines, status in (
            (["-H", "Origin: https://evil.example"], 403),
            (["-H", "Content-Type: text/plain; charset=klingon"], 415),
            ([], 201),
            ([], 429),
        ):
            for source in ("large.txt", "-"):
                if status == 201 and source == "-":
                    continue
                data = b"" if source == "large.txt" else large.read_bytes()
                answer = self.curl(*lines, "-T", source, url, data=data)
                self.assertEqual(answer[0], status, answer)
        self.daemon.stop()

    def test_secrets(self) -> None:
        """An edit key is neither in a log nor in the storage."""
        self.start("--access-log=-", "--log-level=debug")
        _, head, _ = self.curl("-T", "-", f"{self.daemon.url}/", data=ART.encode())
        found = re.search(rb"(?i)asciid-edit-key: (\S+)", head)
        key = (found and found[1].decode()) or ""
        path = f"{self.daemon.url}/image/{sha256(ART.encode()).hexdigest()}"
        line = f"Asciid-Edit-Key: {key}"
        wrong = f"Asciid-Edit-Key: {key[:-1]}"
        self.assertEqual(self.curl("-X", "DELETE", "-H", wrong, path)[0], 403)
        self.curl(f"{path}?edit_key={key}")
        storage = (self.directory / "asciid-storage" / "data.mdb").read_bytes()
        self.assertIn(ART.encode(), storage)
        for text in (key, key.replace("-", "")):
            self.assertNotIn(text.encode(), storage)
        self.assertNotIn(bytes.fromhex(key.replace("-", "")), storage)
        self.assertEqual(self.curl("-X", "DELETE", "-H", line, path)[0], 204)
        self.daemon.stop()
        self.assertIn("edit_key=***", self.daemon.log)
        self.assertNotIn(key[:20], self.daemon.log)

    def test_memory(self) -> None:
        """Memory does not grow with a file, be it sent alone or in a form."""
        self.start("--storage=files", "--max-image-size=64M")
        large = self.directory / "large.txt"
        url = f"{self.daemon.url}/"
        self.curl("-T", "-", url, data=ART.encode("cp437", "replace"))
        before = peak(self.daemon)
        for arguments in (
            ["-T", "large.txt", url],
            ["-F", "title=Large", "-F", "file=@large.txt", url],
        ):
            text = arguments[0] * (SIZE * MIB // 2)
            large.write_text(text, encoding="utf-8")
            self.assertEqual(self.curl(*arguments)[0], 201)
        self.assertLess(peak(self.daemon) - before, BOUND)
        self.daemon.stop()

    def test_rate_of_workers(self) -> None:
        """Several workers together allow no more than the upload rate."""
        self.start("--workers=2", "--upload-rate=10/h")
        url = f"{self.daemon.url}/"
        answers = [
            self.curl("-T", "-", url, data=b"fish %d" % number) for number in range(40)
        ]
        counts = [status for status, _, _ in answers]
        # By chance one worker may have had few of the connections.
        self.assertIn(counts.count(201), range(5, 11))
        self.assertEqual(set(counts), {201, 429})
        for status, head, _ in answers:
            self.assertEqual(b"retry-after: " in head.lower(), status == 429)
        self.daemon.stop()
