"""``asciid config``: its output and exit codes."""

from __future__ import annotations

import io
import json
import os
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from asciid.cli.main import main
from asciid.config.settings import SETTINGS, resolve


class ConfigTests(SynchronousTestCase):
    """The command, in an environment of the test's own."""

    def config(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """Run it; return its exit code and its output."""
        out, err = io.StringIO(), io.StringIO()
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            patch.dict(os.environ, environ, clear=True),
        ):
            end = self.assertRaises(SystemExit, main, ["config", *arguments])
        assert isinstance(end.code, int)
        return end.code, out.getvalue(), err.getvalue()

    def shown(self, *arguments: str, **environ: str) -> str:
        """Run it; check that it succeeds; return its output."""
        code, out, err = self.config(*arguments, **environ)
        self.assertEqual((code, err), (0, ""))
        return out

    def written(self, text: str) -> str:
        """Return the path of a new file that holds `text`."""
        path = Path(self.mktemp()).absolute()
        path.write_text(text, encoding="utf-8")
        return str(path)

    def test_password(self) -> None:
        """The password of a database is not printed."""
        url = "postgresql://u:hunter2@h/art"
        line = 'storage = "postgresql://u:***@h/art"  # ASCIID_STORAGE, password hidden'
        text = self.shown(ASCIID_STORAGE=url)
        self.assertIn(line, text.splitlines())
        self.assertNotIn("hunter2", text + self.shown("--json", ASCIID_STORAGE=url))
        code, out, err = self.config("--storage", url)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("--storage: password on the command line", err)
        self.assertNotIn("hunter2", err)

    def test_ineffective(self) -> None:
        """A setting without effect is named on standard error."""
        code, _, err = self.config("--storage", "postgresql://h", "--reserve", "1G")
        self.assertEqual(code, 0)
        self.assertEqual(
            err, "asciid: --reserve has no effect: the room is the database's\n"
        )

    def test_sources(self) -> None:
        """Each line has the source of its setting."""
        file = self.written('upload-ttl = "2h"\nreserve = 5')
        lines = self.shown(
            *("--port", "80", "--config", file), ASCIID_NO_SYNC="1", ASCIID_RESERVE="9"
        ).splitlines()
        for line in (
            f'# File: "{file}", named by --config.',
            "port = 80  # --port",
            "no-sync = true  # ASCIID_NO_SYNC",
            "reserve = 9  # ASCIID_RESERVE",
            'upload-ttl = "2h"  # file',
            'storage = "asciid-storage"  # default',
        ):
            self.assertIn(line, lines)

    def test_is_a_file(self) -> None:
        """The output is a configuration file with the same effect."""
        options = {
            "port": "tcp:80:interface=127.0.0.1",
            "storage": 'a "b"\\c\x7fd\u00e9\t',
            "no-sync": "yes",
            "write-origins": "https://a, http://b:8",
            "upload-ttl": "0090",
            "max-image-size": "2G",
        }
        arguments = [
            "--no-sync" if name == "no-sync" else f"--{name}={text}"
            for name, text in options.items()
        ]
        text = self.shown("--show", *arguments)
        self.assertEqual(
            list(tomllib.loads(text)),
            [row.option for row in SETTINGS if row.option != "config"],
        )
        again = resolve({"config": self.written(text)}, {})
        self.assertEqual(again, resolve(options, {}))

    def test_json(self) -> None:
        """With --json the same is one object."""
        file = self.written("port = 80")
        found = json.loads(self.shown("--json", ASCIID_CONFIG=file))
        self.assertEqual(list(found), [row.option for row in SETTINGS])
        self.assertEqual(
            found["port"], {"value": 80, "source": "file", "place": f"{file}: port"}
        )
        self.assertEqual(
            found["config"],
            {"value": file, "source": "environment", "place": "ASCIID_CONFIG"},
        )
        self.assertEqual(found["trusted-proxies"]["value"], [])

    def test_check(self) -> None:
        """--check prints nothing where all is well."""
        self.assertEqual(self.shown("--check"), "")
        self.assertEqual(self.shown("--check", "--json"), "")

    def test_unusable(self) -> None:
        """An invalid setting is one line and exit code 2."""
        file = self.written("prot = 80")
        for how in ("--show", "--check"):
            code, out, err = self.config(how, "--config", file)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(f"{file}: unknown setting 'prot': did you mean", err)
            self.assertEqual(err.count("\n"), 1)
        code, _, err = self.config(ASCIID_RESERVE="much")
        self.assertEqual(code, 2)
        self.assertIn("ASCIID_RESERVE: 'much' is not", err)
