"""
The pages in Chromium: how they look, and that nothing goes wrong on them.

They need Chromium and Node.js, and so are not among all tests: see CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from asciid.web._markup import render_choices
from tests.browser._case import SAMPLES, BrowserCase, send, sent_all
from tests.web._samples import HASH, make_card, make_choices

if TYPE_CHECKING:
    from collections.abc import Iterator

VGA = (
    *((0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0)),
    *((0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170)),
    *((85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85)),
    *((85, 85, 255), (255, 85, 255), (85, 255, 255), (255, 255, 255)),
)
"""The colours of VGA's text mode."""

PARTS = {
    "█": ((2, 2, True),),
    "▀": ((2, 1, True), (2, 3, False)),
    "▄": ((2, 1, False), (2, 3, True)),
    "▌": ((1, 2, True), (3, 2, False)),
    "▐": ((1, 2, False), (3, 2, True)),
    " ": ((2, 2, False),),
}
"""Places in a cell, in quarters across and down, and whether they have the ink."""


def coloured_cells(text: str) -> Iterator[tuple[int, int, str, int, int]]:
    """
    Yield row, column, character, foreground and background of each cell.

    `text` has no sequences but SGR with 0, 30 to 37, 40 to 47, 90 to 97, 100 to 107.
    """
    for row, line in enumerate(text.splitlines()):
        ink, ground, column = 7, 0, 0
        for numbers, character in re.findall(r"\x1b\[([0-9;]*)m|(.)", line):
            if character:
                yield row, column, character, ink, ground
                column += 1
                continue
            for number in map(int, numbers.split(";")):
                bright = 8 * (number >= 90)
                if number == 0:
                    ink, ground = 7, 0
                elif number // 10 in {3, 9}:
                    ink = number % 10 + bright
                else:
                    ground = number % 10 + bright


class PagesTests(BrowserCase):
    """A host with art of all kinds."""

    def test_every_page(self) -> None:
        """No page has an error, a refused resource, a shift, or a fault of access."""
        # The README shows two of the screenshots.
        daemon = self.daemon("--public-url", "https://art.example")
        sent = sent_all(daemon)
        long = send(
            daemon,
            "long.txt",
            b"<o_o>\n",
            {
                "Asciid-Title": "W" * 200,
                "Asciid-Description": "word " * 200 + "x" * 1000,
                "Asciid-Author": "A" * 200,
                "Asciid-Licence": f"https://host.example/{'l' * 150}",
                "Asciid-Tags": ",".join(f"{i}{'t' * 49}" for i in range(10)),
                "Asciid-Expires": "30d",
                # The README shows the gallery without it.
                "Asciid-Listed": "false",
            },
        )
        blocked = send(daemon, "x.txt", b"(x_x)\n", {"Asciid-Listed": "false"})
        pages = {
            "gallery": "/",
            "viewer-ansi": sent["lighthouse.ans"].path,
            "viewer-cat": sent["cat.txt"].path,
            "viewer-wide": sent["night-mail.txt"].path,
            "embed": f"{sent['lighthouse.ans'].path}/embed",
            "upload": "/upload",
            "notfound": "/i/9d02c4e1f7ab",
            "blocked": blocked.path,
            "choices": f"/i/{HASH[:12]}",
            "viewer-long": long.path,
            "embed-long": f"{long.path}/embed",
        }
        reason = "Court order 5/26"
        self.run_asciid(daemon, "block", blocked.sha256, "--reason", reason)
        choices = render_choices(make_choices(make_card(1), make_card(2, title="")))
        self.play(
            "every_page", daemon, pages=pages, rendered={pages["choices"]: choices}
        )
        for name in ("embed", "embed-long", "choices"):
            del pages[name]
        self.play("media", daemon, pages=pages)

    def test_cells(self) -> None:
        """A cell is where its column says, to a tenth of a pixel."""
        daemon = self.daemon()
        sent = sent_all(daemon)
        names = ("lighthouse.ans", "night-mail.txt", "maze.txt")
        self.play("grid", daemon, paths=["/", *(sent[name].path for name in names)])

    def test_colours(self) -> None:
        """The cells of a file in CP437 have the colours that it asks for."""
        daemon = self.daemon()
        (sample,) = (each for each in SAMPLES if each.file == "lighthouse.ans")
        text = sample.content.decode()
        cells = list(coloured_cells(text))
        full = {row for row, column, *_ in cells if column == 79}
        content = "".join(
            # On a screen of 80 columns the cursor is in the next row already.
            line + ("" if row in full else "\r\n")
            for row, line in enumerate(text.splitlines())
        )
        sent = send(daemon, "lighthouse.ans", content.encode("cp437"))
        samples = [
            (row, column, across, down, VGA[ink if is_ink else ground])
            for row, column, character, ink, ground in cells
            for across, down, is_ink in PARTS.get(character, ())
        ]
        self.assertGreater(len({sample[4] for sample in samples}), 8)
        self.play(
            "colours",
            daemon,
            path=sent.path,
            samples=samples,
            rows=1 + max(cell[0] for cell in cells),
            columns=1 + max(cell[1] for cell in cells),
        )

    def test_keyboard(self) -> None:
        """The keyboard reaches everything, in the order of the eye."""
        daemon = self.daemon()
        sent = sent_all(daemon)
        self.play(
            "keyboard",
            daemon,
            viewer=sent["cat.txt"].path,
            older=sent[SAMPLES[2].file].path,
            wide=sent["night-mail.txt"].path,
        )

    def test_without_scripts(self) -> None:
        """With JavaScript off people see, follow links and upload."""
        daemon = self.daemon()
        sent_all(daemon)
        self.play("without_scripts", daemon)

    def test_newcomer(self) -> None:
        """A newcomer looks round a simulated host, and uploads, with a reload."""
        daemon = self.daemon()
        self.run_asciid(
            daemon,
            *("simulate", "--files=30", "--host=127.0.0.1", f"--port={daemon.port}"),
        )
        self.play("newcomer", daemon)

    def test_upload(self) -> None:
        """Every way to send works, and what fails says why."""
        daemon = self.daemon("--max-image-size", "8388608")
        self.play("upload", daemon, maxImage=8388608)

    def test_token(self) -> None:
        """A write token is asked for, and kept for the tab alone."""
        token = "t0ken-of-the-browser-tests"
        tokens = Path(self.mktemp()).absolute()
        tokens.write_text(f"{token}\n", encoding="utf-8")
        daemon = self.daemon("--write-token-file", str(tokens))
        self.play("token", daemon, token=token)
