"""Logs of a real daemon."""

from __future__ import annotations

import json
import re

from tests.integration._case import Art, DaemonTestCase


class LogTests(DaemonTestCase):
    """The log, and the access log."""

    async def test_json(self) -> None:
        """From start to end, every line is JSON; what matters is there, once."""
        daemon = self.daemon("--log-format=json")
        art = Art.random()
        await self.upload_all(daemon, art)
        missing = await self.download(daemon, Art.random())
        self.assertEqual(missing.status, 404)
        daemon.stop()
        lines = [json.loads(line) for line in daemon.log.splitlines()]
        for line in lines:
            self.assertRegex(line["time"], r"\A\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z\Z")
            self.assertIn("logger", line)
            self.assertIn(line["level"], {"info", "warn"})
        messages = [line["message"] for line in lines]
        self.assertEqual(
            [line["size"] for line in lines if line.get("sha256") == art.spec.sha256],
            [art.spec.size],
        )
        self.assertEqual(
            messages.count("request refused: image-not-found"), 1, messages
        )
        self.assertEqual(len([m for m in messages if " listens on " in m]), 1)

    async def test_access_log(self) -> None:
        """Each request is a line of the file, also where asciid.tac serves."""
        path = self.directory / "access.log"
        environ = {"ASCIID_ACCESS_LOG": str(path), "ASCIID_LOG_LEVEL": "info"}
        daemon = self.daemon(tac=True, environ=environ)
        answers = [await self.download(daemon, Art.random()) for _ in range(3)]
        daemon.stop()
        names = {answer.headers["x-request-id"] for answer in answers}
        self.assertEqual(len(names), len(answers))
        lines = path.read_text().splitlines()
        self.assertEqual(len(lines), len(answers))
        for line in lines:
            self.assertRegex(
                line,
                r'\A127\.0\.0\.1 - - \[[^]]+\] "GET /image/\w{64} HTTP/1\.1" '
                r'404 \d+ "-" "[^"]*"\Z',
            )
        self.assertIsNone(re.search("GET /image", daemon.log))
