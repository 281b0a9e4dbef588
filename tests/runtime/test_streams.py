"""Standard streams that are closed or fail, in this process."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from asciid.cli._reporting import report
from asciid.runtime import streams
from asciid.runtime.streams import (
    discard_unwritten_output,
    message_stream,
    occupy_standard_descriptors,
    open_command_streams,
    open_daemon_streams,
    print_and_exit,
    print_refusal,
)


class Full(io.StringIO):
    """A stream that takes nothing."""

    def write(self, _: str) -> int:
        """Fail."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        """Fail."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_for_messages(stream: Any) -> bool:  # noqa: ANN401 - a stream of any kind
    """Return whether failed writes to a stream are ignored."""
    return isinstance(stream.buffer.raw, streams._MessageFile)


class StreamTests(SynchronousTestCase):
    """`asciid.runtime.streams`."""

    def setUp(self) -> None:
        """Keep the streams of this process."""
        for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
            self.patch(sys, name, getattr(sys, name))
        self.out, self.err = io.StringIO(), io.StringIO()

    def test_message_stream(self) -> None:
        """It writes each line at once, and ignores failed writes."""
        path = Path(self.mktemp())
        with path.open("wb") as file:
            stream = message_stream(file.fileno())
            stream.write("caf\u00e9 \udcff\n")
            self.assertEqual(path.read_bytes(), b"caf\xc3\xa9 \\udcff\n")
        for target, mode in (("/dev/full", "wb"), ("/dev/null", "rb")):
            with Path(target).open(mode) as file:
                stream = message_stream(file.fileno())
                stream.write("lost\n" * 10_000)
                stream.flush()

    def test_closed_descriptors(self) -> None:
        """Descriptors that are closed are given to /dev/null, and no others."""
        opened: list[tuple[str, int]] = []
        fstat = os.fstat

        def closed(descriptor: int) -> os.stat_result:
            if descriptor in {0, 1, 2}:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return fstat(descriptor)

        self.patch(os, "open", lambda *arguments: opened.append(arguments))
        self.patch(os, "fstat", lambda _: None)
        occupy_standard_descriptors()
        self.assertEqual(opened, [])
        self.patch(os, "fstat", closed)
        occupy_standard_descriptors()
        modes = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
        self.assertEqual(opened, [("/dev/null", mode) for mode in modes])

    def set_streams(self, out: Any, err: Any) -> None:  # noqa: ANN401 - None, too
        """Have these as standard output and standard error."""
        sys.stdout, sys.stderr = out, err

    def test_streams_in_their_place(self) -> None:
        """Streams that took the place of the process's own stay."""
        for prepare in (open_command_streams, open_daemon_streams):
            self.set_streams(self.out, self.err)
            prepare()
            self.assertIs(sys.stdout, self.out)
            self.assertIs(sys.stderr, self.err)

    def test_command(self) -> None:
        """A command's output must not be lost; its messages may be."""
        own = sys.__stdout__
        self.set_streams(own, sys.__stderr__)
        open_command_streams()
        self.assertIs(sys.stdout, own)
        self.assertTrue(is_for_messages(sys.stderr))
        self.set_streams(None, None)
        open_command_streams()
        self.assertEqual(sys.stdout.fileno(), 1)
        self.assertFalse(is_for_messages(sys.stdout))
        self.assertEqual(sys.stderr.fileno(), 2)

    def test_daemon(self) -> None:
        """A daemon's log may be lost."""
        for out, err in ((sys.__stdout__, sys.__stderr__), (None, None)):
            self.set_streams(out, err)
            open_daemon_streams()
            for stream in (sys.stdout, sys.stderr):
                self.assertTrue(is_for_messages(stream))

    def test_discard(self) -> None:
        """Output that cannot be written is dropped, other output is not."""
        self.set_streams(self.out, self.err)
        discard_unwritten_output()
        self.assertIs(sys.stdout, self.out)
        self.set_streams(Full(), self.err)
        discard_unwritten_output()
        sys.stdout.flush()

    def test_print_and_exit(self) -> None:
        """Printing the requested output exits with 0, or with 1 and a reason."""
        self.set_streams(self.out, self.err)
        self.assertEqual(self.assertRaises(SystemExit, print_and_exit, "a").code, 0)
        self.assertEqual(self.out.getvalue(), "a\n")
        for out, reason in ((Full(), "No space left"), (None, "Bad file descriptor")):
            self.set_streams(out, self.err)
            code = self.assertRaises(SystemExit, print_and_exit, "a").code
            self.assertIn(f"cannot write to standard output: {reason}", str(code))

    def test_print_refusal(self) -> None:
        """A refusal is printed where that is possible."""
        for stream in (self.err, None, Full()):
            self.patch(sys, "__stderr__", stream)
            print_refusal("why")
        self.assertEqual(self.err.getvalue(), "why\n")

    def test_report(self) -> None:
        """If output cannot be printed, a message with the reason and the output is."""
        self.set_streams(self.out, self.err)
        report("done")
        report("url\n", nl=False)
        self.assertEqual(self.out.getvalue(), "done\nurl\n")
        raw = io.BytesIO()
        self.set_streams(io.TextIOWrapper(raw, "utf-8"), self.err)
        report("caf\udcff")
        self.assertEqual(raw.getvalue(), b"caf\xff\n")
        self.set_streams(Full(), self.err)
        report("a\x1bb\n", nl=False)
        message = "asciid: cannot write to standard output: No space left on device"
        self.assertEqual(self.err.getvalue(), f"{message}: a?b\n")
