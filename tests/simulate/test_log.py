"""Tests of the log's two formats."""

from __future__ import annotations

import io

from twisted.trial.unittest import SynchronousTestCase

from asciid.simulate._log import Level, Log

NOON = 1704207845.9  # 2024-01-02T15:04:05.9Z


class LogTests(SynchronousTestCase):
    """One call is one line."""

    def log(self, form: str, threshold: Level = Level.INFO) -> Log:
        """Return a log to ``self.out`` whose clock stands still."""
        self.out = io.StringIO()
        return Log(self.out, form=form, threshold=threshold, now=lambda: NOON)

    def test_text(self) -> None:
        """The text form quotes values if needed and sorts the fields."""
        self.log("text").info("chunk upload: OK", name='a "b"\n', chunk_id=1)
        self.assertEqual(
            self.out.getvalue(),
            'time="2024-01-02T15:04:05Z" level=info msg="chunk upload: OK" '
            'chunk_id=1 name="a \\"b\\"\\n"\n',
        )

    def test_control_characters(self) -> None:
        """No form has a control character that a terminal could obey."""
        hostile = "".join(map(chr, [*range(32), *range(0x7F, 0xA0)]))
        for form in ("text", "json"):
            self.log(form).error(f"\x9b2J{hostile}", detail=hostile)
            line = self.out.getvalue()
            self.assertTrue(line.removesuffix("\n").isprintable(), line)
            self.assertIn("\\u009b2J", line)

    def test_text_empty_value(self) -> None:
        """An empty value is quoted, so that every key has one."""
        self.log("text").info("plain", word="")
        self.assertTrue(self.out.getvalue().endswith(' msg=plain word=""\n'))

    def test_json(self) -> None:
        """The JSON form is one object a line; numbers stay numbers."""
        self.log("json").error("no\nway", chunk_id=1)
        self.assertEqual(
            self.out.getvalue(),
            '{"chunk_id":1,"level":"error","msg":"no\\nway",'
            '"time":"2024-01-02T15:04:05Z"}\n',
        )

    def test_threshold(self) -> None:
        """Lines below the minimum level are omitted."""
        log = self.log("text", Level.WARNING)
        for write in (log.debug, log.info, log.warning, log.error, log.fatal):
            write("x")
        levels = [line.split()[1] for line in self.out.getvalue().splitlines()]
        self.assertEqual(levels, ["level=warning", "level=error", "level=fatal"])
