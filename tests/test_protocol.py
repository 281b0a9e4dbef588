"""docs/protocol.md is true: its commands are run, and answer what it shows."""

from __future__ import annotations

import json
import re

from asciid.api._problems import PROBLEM_TYPES
from tests._commands import CommandTestCase, code_blocks
from tests.integration._daemon import ROOT

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
INTERIM = "HTTP/1.1 100 Continue\n\n"
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
        """Each block of commands answers what the block after it shows."""
        commands: list[str] = []
        answers: list[str] = []
        for language, content in code_blocks(PROTOCOL):
            if language == "sh":
                commands.append(content)
                # Some say nothing.
                answers.append("")
            else:
                self.assertEqual(answers[-1], "", content)
                answers[-1] = content
        self.assertGreater(len(commands), 15)
        daemon = self.start_daemon()
        between = f"printf '%s' '{END}'\n"
        output = self.run_session(between.join(commands), daemon)
        # Some versions of curl ask before they send a file.
        output = output.replace("\r\n", "\n").replace(INTERIM, "")
        real = output.split(END)
        for command, shown, answer in zip(commands, answers, real, strict=True):
            if pattern(shown).fullmatch(answer.strip()) is None:
                self.fail(f"{command}\nis to answer\n\n{shown}\nand not\n\n{answer}")
        daemon.stop()

    def test_statuses(self) -> None:
        """What to do is said for each status that a problem type has."""
        table = PROTOCOL.partition("## Trying again")[2]
        rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
        named = {int(status) for row in rows for status in re.findall(r"`(\d+)`", row)}
        contract = json.loads(
            (ROOT / "asciid" / "api" / "openapi.json").read_text(encoding="utf-8")
        )
        http = {int(s) for s in contract["x-every-operation"]["responses"]}
        ours = {status for status, _ in PROBLEM_TYPES.values()}
        self.assertLessEqual(http | ours, named)
        types = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", table))
        self.assertLessEqual(types, set(PROBLEM_TYPES))
