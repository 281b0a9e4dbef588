"""Texts of somebody hostile, in every place where pages show them, in Chromium."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.error import HTTPError

from tests.art.sauces import record
from tests.browser._case import BrowserCase, send
from tests.browser._payloads import PAYLOADS

if TYPE_CHECKING:
    from tests.browser._case import Sent
    from tests.integration._daemon import Daemon

LONG = int(os.environ.get("ASCIID_BROWSER_LONG", "0"))
"""Whether each payload is shown on each kind of page, and not only on one of them."""

BLOCKED = 20
"""How many images are blocked: each takes a command."""


def sgr(payload: str) -> str:
    """Return art in which each character of a text has another colour."""
    return "".join(f"\x1b[{31 + i % 6}m{char}" for i, char in enumerate(payload))


class HostileTests(BrowserCase):
    """At least 200 payloads; the browser would report each that runs."""

    def fill(self, daemon: Daemon) -> list[Sent]:
        """Upload images that have a payload wherever they can have one."""
        sent = []
        accepted = 0
        for number, payload in enumerate(PAYLOADS):
            art = f"{payload}\n{sgr(payload)}\n{number}\n".encode()
            fields = {
                "Asciid-Title": payload,
                "Asciid-Description": payload,
                "Asciid-Author": payload,
                "Asciid-Tags": ", ".join(
                    part[:40] for part in payload.split(",") if part.strip()
                ),
            }
            licence = {"Asciid-Licence": f"https://host.example/{payload}"}
            try:
                sent.append(send(daemon, payload, art, fields | licence))
                accepted += 1
            except HTTPError as error:
                if error.code != 400:
                    raise
                sent.append(send(daemon, payload, art, fields))
            # As name of the file, and so as title; as charset, and in a SAUCE record.
            sent.append(
                send(daemon, f"{payload}.txt", f"{number} {payload}\n".encode())
            )
            written = payload.encode("cp437", "replace").decode("cp437")
            sauce = record(written[-35:], written[-20:], written[:20])
            sent.append(
                send(daemon, "a.ans", payload.encode("cp437", "replace") + sauce)
            )
        self.assertGreater(accepted, 0, "no licence was accepted")
        return sent

    def test_pages(self) -> None:
        """Nothing that somebody wrote runs on any page."""
        self.assertGreaterEqual(len(PAYLOADS), 200)
        daemon = self.daemon()
        sent = self.fill(daemon)
        for each, payload in list(zip(sent[::3], PAYLOADS, strict=True))[:BLOCKED]:
            self.run_asciid(daemon, "block", each.sha256, "--reason", payload)
        pages = [each.path for each in sent]
        parts = sent if LONG else sent[::7]
        pages += [f"{each.path}/embed" for each in parts]
        pages += [f"{each.path}.svg" for each in parts]
        pages += [f"/image/{each.sha256}" for each in sent[:BLOCKED]]
        pages += ["/", "/feed.atom", "/images"]
        self.play("hostile", daemon, paths=pages, payloads=PAYLOADS, galleries=30)
