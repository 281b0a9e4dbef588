"""Lines of the log."""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import (
    FileLogObserver,
    Logger,
    LogLevel,
    LogPublisher,
)
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyPublisher
from twisted.trial.unittest import SynchronousTestCase

from asciid.logs._format import FORMATS, LEVELS, LineFormatter, json_line
from asciid.logs._repeats import ALLOWED, WINDOW
from tests._thoroughness import examples


class Log:
    """A log in memory."""

    def __init__(self, style: str, level: str = "info") -> None:
        self.stream = io.StringIO()
        self.observer = FileLogObserver(self.stream, LineFormatter(style, level))
        self.publisher = LogPublisher(self.observer)
        self.source = Logger("tests.log", observer=self.publisher)

    @property
    def text(self) -> str:
        """A failure to log."""
        return self.stream.getvalue()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines, parsed."""
        return [json.loads(line) for line in self.text.splitlines()]


class TextTests(SynchronousTestCase):
    """The log for people."""

    def test_line(self) -> None:
        """A line has the time, the logger, the level and the message."""
        log = Log("text")
        log.source.warn("{count} images in {place}", count=3, place="a box")
        self.assertRegex(
            log.text,
            r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} "
            r"\[tests\.log#warn\] 3 images in a box\n\Z",
        )

    def test_traceback(self) -> None:
        """A failure is shown below its line, indented."""
        log = Log("text")
        log.source.failure("It failed", Failure(RuntimeError("bo\x1bom")))
        first, *rest = log.text.splitlines()
        self.assertTrue(first.endswith("[tests.log#critical] It failed"), first)
        self.assertTrue(all(line.startswith("\t") for line in rest), rest)
        self.assertIn("RuntimeError: bo\\x1bom", log.text)

    def test_forgery(self) -> None:
        """Text from clients can neither forge a line nor control a terminal."""
        log = Log("text")
        made_up = "x\n2026-01-01T00:00:00+0000 [-] all well\r\x1b[2J\x9b\u2028\ud800"
        log.source.info("{what}", what=made_up)
        (_, second) = log.text.split("\n")[:2]
        self.assertEqual(
            second,
            "\t2026-01-01T00:00:00+0000 [-] all well\\r\\x1b[2J\\x9b\\u2028\\ud800",
        )

    def test_legacy(self) -> None:
        """Events of twisted.python.log are written, too."""
        log = Log("text", "debug")
        legacy = LegacyPublisher(publishPublisher=log.publisher)
        legacy.msg("as in the old days")
        self.assertTrue(log.text.endswith(" [-] as in the old days\n"), log.text)

    def test_library(self) -> None:
        """Details of Twisted's own are no lines, save at the level debug."""
        for level, expected in (("info", []), ("debug", ["retry", "opened"])):
            log = Log("text", level)
            client = Logger("twisted.application.internet", observer=log.publisher)
            client.info("retry")
            LegacyPublisher(publishPublisher=log.publisher).msg("opened")
            lines = [line.partition("] ")[2] for line in log.text.splitlines()]
            self.assertEqual(lines, expected)
            client.warn("trouble")
            self.assertTrue(log.text.endswith("trouble\n"))

    def test_life_of_the_daemon(self) -> None:
        """Start, signals and end are logged, of the daemon but not of its workers."""
        log = Log("text")
        reactor = Logger("twisted.internet.base", observer=log.publisher)
        Logger("twisted.scripts._twistd_unix", observer=log.publisher).info("starting")
        reactor.info("Received SIGTERM", process="worker-1.1")
        reactor.info("Received SIGTERM")
        lines = [line.partition("] ")[2] for line in log.text.splitlines()]
        self.assertEqual(lines, ["starting", "Received SIGTERM"])

    def test_nothing_to_say(self) -> None:
        """An event without a message leaves no line, in any format."""
        for style in FORMATS:
            log = Log(style)
            log.source.emit(LogLevel.info, None, what=1)
            self.assertEqual(log.text, "")

    def test_broken_format(self) -> None:
        """An event that cannot be formatted is described, not lost."""
        log = Log("text")
        log.source.info("{missing} and {what()}", what=lambda: "called")
        self.assertIn("Unable to format event", log.text)
        log.source.info("{what()}", what=lambda: "called")
        self.assertTrue(log.text.endswith("] called\n"), log.text)

    @examples(100)
    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Whatever the text, only its own lines are indented lines of its event."""
        log = Log("text")
        log.source.info("a{text}", text=text)
        line, *rest = log.text.encode().decode().split("\n")
        self.assertEqual(rest.pop(), "")
        self.assertTrue(line.split("] ")[1].startswith("a"))
        for part in rest:
            self.assertTrue(part.startswith("\t"))
        self.assertTrue(
            all(c.isprintable() or c in "\t\n\xa0" or ord(c) > 0xA0 for c in log.text)
        )


class JSONTests(SynchronousTestCase):
    """The log for programs."""

    def test_bytes_in_json(self) -> None:
        """Invalid UTF-8 is escaped: parsers refuse lone surrogates."""
        for text, shown in (
            ("st\udcff", "st\\udcff"),
            ("\\udcff", "\\udcff"),
            ("\\\udcff\ud83d", "\\\\udcff\\ud83d"),
            ('\U0001f600"\n', '\U0001f600"\n'),
        ):
            self.assertEqual(json.loads(json_line({"path": text}))["path"], shown)

    def test_members(self) -> None:
        """A line is an object with the members of the event."""
        log = Log("json")
        log.source.info("{count} images", count=3, raw=b"\xff\n", kind=LogLevel.warn)
        (line,) = log.objects
        self.assertRegex(line.pop("time"), r"\A\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z\Z")
        self.assertEqual(
            line,
            {
                "level": "info",
                "logger": "tests.log",
                "message": "3 images",
                "count": 3,
                "raw": "\xff\n",
                "kind": str(LogLevel.warn),
            },
        )

    def test_traceback(self) -> None:
        """A failure is one member of the same line."""
        log = Log("json")
        log.source.failure("It failed", Failure(RuntimeError("boom")))
        (line,) = log.objects
        self.assertEqual(line["message"], "It failed")
        self.assertIn("RuntimeError: boom", line["traceback"])

    def test_own_members(self) -> None:
        """Fields of an event cannot override those of every line."""
        log = Log("json")
        log.source.info("said", message="other", time=0, logger="me")
        (line,) = log.objects
        self.assertEqual(
            (line["message"], len(line["time"]), line["logger"]),
            ("said", len("2026-01-01T00:00:00.000Z"), "tests.log"),
        )

    @examples(100)
    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """A line is printable ASCII with the message of the event."""
        log = Log("json")
        log.source.info("{text}", text=text, value=text)
        line = log.text.removesuffix("\n")
        self.assertTrue(line.isascii())
        self.assertTrue(line.isprintable())
        if text:
            self.assertEqual(log.objects[0]["value"], text)


class LevelTests(SynchronousTestCase):
    """Which events are logged."""

    def test_levels(self) -> None:
        """Events below the minimum level are filtered out."""
        for index, level in enumerate(LEVELS):
            log = Log("json", level)
            for name in LEVELS:
                log.source.emit(LogLevel.levelWithName(name), "said")
            self.assertEqual(
                [line["level"] for line in log.objects], list(LEVELS[index:])
            )


class RepeatTests(SynchronousTestCase):
    """Repeated errors."""

    def setUp(self) -> None:
        """Begin with an empty log."""
        self.log = Log("json")

    def error(self, seconds: float, what: str = "{n} failed", **fields: object) -> None:
        """Log an error that was at that time."""
        self.log.observer(
            {
                "log_level": LogLevel.error,
                "log_namespace": "tests",
                "log_format": what,
                "log_time": seconds,
                **fields,
            }
        )

    def messages(self) -> list[str]:
        """Return the logged lines."""
        return [line["message"] for line in self.log.objects]

    def test_limited(self) -> None:
        """Of many errors a minute a few are logged; then, how many were not."""
        for n in range(100):
            self.error(1000 + n / 10, n=n)
        few = [f"{n} failed" for n in range(ALLOWED)]
        self.assertEqual(self.messages(), few)
        self.error(1000 + WINDOW, n="another")
        summary = f"{100 - ALLOWED} more like this were suppressed: {{n}} failed"
        self.assertEqual(self.messages(), [*few, summary, "another failed"])

    def test_told_by_others(self) -> None:
        """After the window, the next event triggers the summary once."""
        for n in range(ALLOWED + 2):
            self.error(1000, n=n)
        for seconds in (1010, 1000 + WINDOW, 2000):
            self.log.observer({"log_format": "else", "log_time": seconds})
        summary = "2 more like this were suppressed: {n} failed"
        self.assertEqual(self.messages()[ALLOWED:], ["else", summary, "else", "else"])

    def test_kinds(self) -> None:
        """Other words, another logger or another exception is another kind."""
        kinds: list[dict[str, Any]] = [
            {"what": "{n} failed"},
            {"what": "{n} broke"},
            {"what": "{n} failed", "log_namespace": "others"},
            {"what": "{n} failed", "log_failure": FakeFailure(KeyError)},
            {"what": "{n} failed", "log_failure": FakeFailure(OSError)},
        ]
        for kind in kinds:
            for n in range(2 * ALLOWED):
                self.error(1000, n=n, **kind)
        self.assertEqual(len(self.messages()), len(kinds) * ALLOWED)

    def test_quiet_kind_is_forgotten(self) -> None:
        """Few events of a kind have no summary."""
        self.error(1000, n=1)
        for _ in range(ALLOWED + 1):
            self.error(1000, "other")
        self.error(2000, n=2)
        self.assertEqual(
            self.messages()[-2:],
            ["1 more like this were suppressed: other", "2 failed"],
        )

    def test_clock_set_back(self) -> None:
        """A clock that was set back does not silence anything."""
        for _ in range(2 * ALLOWED):
            self.error(1000, "first")
        self.error(10, "first")
        self.assertEqual(self.messages()[-1], "first")

    def test_what_is_not_limited(self) -> None:
        """Events below warnings are always logged."""
        for _ in range(3 * ALLOWED):
            self.error(1000, "again", log_level=LogLevel.info)
        self.assertEqual(len(self.messages()), 3 * ALLOWED)


class FakeFailure:
    """The interface of a failure that the log uses."""

    def __init__(self, kind: type[Exception]) -> None:
        self.type = kind

    def getTraceback(self) -> str:
        """Return nothing to speak of."""
        return ""
