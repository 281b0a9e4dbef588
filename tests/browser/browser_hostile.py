"""Texts of somebody hostile, in every place where pages show them, in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.error import HTTPError

from tests.art.sauces import record
from tests.browser._case import BrowserCase, send
from tests.browser._payloads import PAYLOADS

if TYPE_CHECKING:
    from tests.browser._case import Sent
    from tests.integration._daemon import Daemon

MAX_REASON = 500
"""Maximum bytes of a reason for a block; see `asciid block --help`."""


def reasons() -> list[str]:
    """Return the payloads, joined to as few reasons as possible."""
    joined = [""]
    for payload in PAYLOADS:
        longer = f"{joined[-1]} {payload}".strip()
        if len(longer.encode()) > MAX_REASON:
            joined.append(payload)
        else:
            joined[-1] = longer
    return joined


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
            # As the name of a file, which becomes the title, and in a SAUCE record.
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
        blocked = [each.sha256 for each in sent[: len(reasons())]]
        for sha256, reason in zip(blocked, reasons(), strict=True):
            self.run_asciid(daemon, "block", sha256, "--reason", reason)
        pages = [each.path for each in sent]
        for each in sent[::3]:
            pages += [f"{each.path}/embed", f"{each.path}.svg"]
        pages += [f"/image/{sha256}" for sha256 in blocked]
        pages += ["/", "/feed.atom", "/images"]
        self.play("hostile", daemon, paths=pages, payloads=PAYLOADS, galleries=30)
