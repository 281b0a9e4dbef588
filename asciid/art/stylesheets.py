"""The style sheet of cells in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.art._blocks import BLOCKS
from asciid.art._palette import PALETTE, hex_of

if TYPE_CHECKING:
    from asciid.art._blocks import Block

__all__ = ["MAX_SPAN", "cell_stylesheet"]

MAX_SPAN = 80
"""The most columns of a span; longer runs have several."""


def _block_rule(block: Block) -> str:
    if block.opacity < 1:
        share = f"{block.opacity:.0%}"
        return f"background:color-mix(in srgb,var(--f) {share},var(--b))"
    if block.rectangles == ((0, 0, 8, 8),):
        return "background:var(--f)"
    sizes, places = [], []
    for left, top, right, bottom in block.rectangles:
        sizes.append(f"{_share(right - left)} {_share(bottom - top)}")
        places.append(f"{_place(left, right)} {_place(top, bottom)}")
    rule = f"background-size:{','.join(sizes)}"
    if len(sizes) > 1:
        rule = f"background-image:var(--g),var(--g);{rule}"
    if places != ["0 0"]:
        rule = f"{rule};background-position:{','.join(places)}"
    return rule


def _share(eighths: int) -> str:
    return f"{eighths * 12.5:g}%"


def _place(start: int, end: int) -> str:
    """Return the position of a part that touches the begin or the end of the cell."""
    return "100%" if start and end == 8 else "0"  # noqa: PLR2004 (eighths)


_BASE = """\
.art{--f:currentColor;--b:transparent;--n:1;direction:ltr;unicode-bidi:isolate-override}
:where(.art) span{--g:linear-gradient(var(--f),var(--f));display:inline-block;\
vertical-align:top;width:calc(var(--n)*.6em);color:var(--f);\
background:var(--b) no-repeat}
:where(.art) [class*=x]{-webkit-text-fill-color:transparent;background-image:var(--g)}
.tb{font-weight:700}.ti{font-style:italic}.tu{text-decoration:underline}\
.ts{text-decoration:line-through}.tu.ts{text-decoration:underline line-through}
"""


def cell_stylesheet() -> str:
    """
    Return the CSS of all classes of cells but true colours.

    It expects a ``<pre class="art …">`` with a monospaced font, and sets `--f` and
    `--b`, the colours of a span, and `--n`, its columns.
    """
    rules = [_BASE]
    rules += [
        f".{letter}{colour:x}{{--{letter}:{hex_of(colour)}}}"
        for letter in "fb"
        for colour in range(len(PALETTE))
    ]
    rules += [f".n{count}{{--n:{count}}}" for count in range(2, MAX_SPAN + 1)]
    rules += [f"\n.{block.name}{{{_block_rule(block)}}}" for block in BLOCKS.values()]
    return "".join(rules) + "\n"
