"""The commands in docs/protocol.md print what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from asciid.api._problems import PROBLEM_TYPES
from tests._commands import CommandTestCase, code_blocks
from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
INTERIM = "HTTP/1.1 100 Continue\n\n"
TOKENS = "\n## Tokens\n"
END = "-- end of an answer --"


def pattern(shown: str) -> re.Pattern[str]:
    """
    Return what the real answer must match; ``...`` stands for anything.

    A line of that alone stands for any number of lines, none included: header
    fields come in no particular order.
    """
    escaped = re.escape(shown.strip())
    lines = re.sub(r"(?<=\n)\\\.\\\.\\\.\\\n", r"(?:.*\n)?", escaped)
    return re.compile(lines.replace(r"\.\.\.", ".*"), re.DOTALL)


class ProtocolTests(CommandTestCase):
    """The document, as a session in one shell."""

    def test_commands(self) -> None:
        """Each block of commands prints the block after it."""
        before, _, rest = PROTOCOL.partition(TOKENS)
        daemon = self.start_daemon()
        self.assertGreater(self.run_blocks(before, daemon), 15)
        self.assertEqual(code_blocks(rest.partition("\n## ")[2]), [])
        daemon.stop()

    def test_tokens(self) -> None:
        """So do those of the section on tokens, with tokens required."""
        section = PROTOCOL.partition(TOKENS)[2].partition("\n## ")[0]
        tokens = Path(self.mktemp()).resolve()
        tokens.write_text("example-token\n", encoding="utf-8")
        daemon = self.start_daemon(f"--write-token-file={tokens}")
        self.assertGreater(self.run_blocks(section, daemon), 3)
        self.assertNotIn("example-token", daemon.log)
        daemon.stop()

    def run_blocks(self, text: str, daemon: Daemon) -> int:
        """Run the blocks of commands in `text`; return how many there are."""
        commands: list[str] = []
        answers: list[str] = []
        for language, content in code_blocks(text):
            if language == "sh":
                commands.append(content)
                # Some print nothing.
                answers.append("")
            else:
                self.assertEqual(answers[-1], "", content)
                answers[-1] = content
        between = f"printf '%s' '{END}'\n"
        output = self.run_session(between.join(commands), daemon)
        # Some versions of curl send Expect: 100-continue.
        output = output.replace("\r\n", "\n").replace(INTERIM, "")
        real = output.split(END)
        for command, shown, answer in zip(commands, answers, real, strict=True):
            if pattern(shown).fullmatch(answer.strip()) is None:
                self.fail(f"{command}\nis to answer\n\n{shown}\nand not\n\n{answer}")
        return len(commands)


class TablesTests(SynchronousTestCase):
    """The tables of the document, beside the code and openapi.json."""

    def setUp(self) -> None:
        """Load openapi.json."""
        path = ROOT / "asciid" / "api" / "openapi.json"
        self.contract = json.loads(path.read_text(encoding="utf-8"))

    def test_requests(self) -> None:
        """Each operation is listed, but for HEAD and OPTIONS, which are as usual."""
        rows = re.findall(
            r"^\| `([A-Z]+) (/\S*)` \| `(\w+)` \|", PROTOCOL, re.MULTILINE
        )
        operations = {
            (method.upper(), path, operation["operationId"])
            for path, item in self.contract["paths"].items()
            for method, operation in item.items()
            if method not in ("parameters", "head", "options")
        }
        self.assertEqual(set(rows), operations)
        self.assertEqual(len(rows), len(operations))

    def test_problem_types(self) -> None:
        """Each type of problem is listed, with its status and title."""
        rows = re.findall(
            r"^\| `/problems/(\S+)` \| (\d+) \| (.*?) \|$", PROTOCOL, re.MULTILINE
        )
        table = {(name, str(s), title) for name, (s, title) in PROBLEM_TYPES.items()}
        self.assertEqual(set(rows), table)
        self.assertEqual(len(rows), len(table))

    def test_statuses(self) -> None:
        """The table of retries has the status of each problem type."""
        table = PROTOCOL.partition("## Retries")[2]
        rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
        named = {int(status) for row in rows for status in re.findall(r"`(\d+)`", row)}
        http = {int(s) for s in self.contract["x-every-operation"]["responses"]}
        ours = {status for status, _ in PROBLEM_TYPES.values()}
        self.assertLessEqual(http | ours, named)
        types = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", table))
        self.assertLessEqual(types, set(PROBLEM_TYPES))
