"""Settings from a file, and where each setting is from."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import (
    SETTINGS,
    EffectiveSetting,
    SettingError,
    Settings,
    Source,
    environment_of,
    find_effective,
    resolve,
)


class FileTestCase(SynchronousTestCase):
    """Writes configuration files."""

    def written(self, text: str | bytes) -> str:
        """Return the path of a new file that holds `text`."""
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def resolved(self, text: str) -> Settings:
        """Return the effective settings with a file that holds `text`."""
        return resolve({"config": self.written(text)}, {})


class SourceTests(FileTestCase):
    """Precedence of the sources, and how they are named."""

    def found(self, option: str, *sources: Source) -> EffectiveSetting:
        """Return the effective value of `option`, given 1 to 3 by those sources."""
        text = f"{option} = 3" if Source.FILE in sources else ""
        given = {"config": self.written(text)}
        environ = {}
        if Source.OPTION in sources:
            given[option] = "1"
        if Source.ENVIRONMENT in sources:
            environ["ASCIID_MAX_UPLOADS"] = "2"
        (found,) = (
            row
            for row in find_effective(given, environ)
            if row.setting.option == option
        )
        return found

    def test_precedence(self) -> None:
        """The option beats the environment, that the file, that the default."""
        option, environment, file = Source.OPTION, Source.ENVIRONMENT, Source.FILE
        for sources, value, winner in [
            ((option, environment, file), 1, option),
            ((environment, file), 2, environment),
            ((option, file), 1, option),
            ((file,), 3, file),
            ((), 100_000, Source.DEFAULT),
        ]:
            found = self.found("max-uploads", *sources)
            self.assertEqual((found.value, found.source), (value, winner))

    def test_named_by_environment(self) -> None:
        """The file can be named by ASCIID_CONFIG; one named by the option wins."""
        one, two = self.written("port = 1"), self.written("port = 2")
        environ = {"ASCIID_CONFIG": one}
        self.assertEqual(resolve({}, environ).port, "1")
        self.assertEqual(resolve({"config": two}, environ).port, "2")
        self.assertEqual(resolve({"config": "none"}, environ).port, "4444")

    def test_environment_of(self) -> None:
        """Another process finds the same in its environment, with no file there."""
        file = self.written('port = 3\nno-sync = true\nwrite-origins = ["http://a"]')
        found = find_effective({"storage": "images"}, {"ASCIID_CONFIG": file})
        Path(file).unlink()
        variables = environment_of(found)
        self.assertEqual(set(variables), {setting.variable for setting in SETTINGS})
        inherited = find_effective({}, {"ASCIID_CONFIG": file, **variables})
        self.assertEqual(
            [row.value for row in inherited[1:]], [row.value for row in found[1:]]
        )


class FormatTests(FileTestCase):
    """The syntax of the file."""

    def assert_refused(self, text: str | bytes, *words: str) -> None:
        """Check that `text` is refused in one line: the file's name, then `words`."""
        file = self.written(text)
        error = self.assertRaises(SettingError, resolve, {"config": file}, {})
        self.assertTrue(str(error).startswith(f"{file}: "), error)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))

    def test_types(self) -> None:
        """Numbers, booleans and arrays are allowed."""
        typed = self.resolved(
            "port = 80\nno-sync = true\nmax-chunk-size = 5\n"
            'write-origins = ["http://a", "http://b"]\n'
            "trusted-proxies = []\n"
        )
        texts = self.resolved(
            'port = "80"\nno-sync = "yes"\nmax-chunk-size = "5"\n'
            'write-origins = "http://a,http://b"\ntrusted-proxies = "none"\n'
        )
        self.assertEqual(typed, texts)
        self.assertEqual(typed.write_origins, {"http://a", "http://b"})
        self.assertFalse(typed.sync)
        self.assertTrue(self.resolved("no-sync = false").sync)

    def test_every_key(self) -> None:
        """Each default can be written into a file, under the option's name."""
        lines = [
            f'{setting.option} = "{setting.default}"'
            for setting in SETTINGS
            if setting.option != "config"
        ]
        self.assertEqual(self.resolved("\n".join(lines)), resolve({}, {}))

    def test_unknown_keys(self) -> None:
        """A key that is no option is refused, with the nearest that is one."""
        for key, nearest in [
            ("max_chunk_size", "max-chunk-size"),
            ("ports", "port"),
            ("no-snyc", "no-sync"),
        ]:
            self.assert_refused(f"{key} = 1", f"{key!r}", f"did you mean {nearest!r}")
        self.assert_refused("[limits]\nport = 1", "'limits'")
        # A file cannot name another one.
        self.assert_refused('config = "other.toml"', "unknown setting 'config'")

    def test_unusable_values(self) -> None:
        """A value that cannot be used is blamed on the file and the key."""
        self.assert_refused('upload-ttl = "soon"', ": upload-ttl: 'soon' is not")
        self.assert_refused("max-chunk-size = 1.5", ": max-chunk-size: '1.5' is not")
        self.assert_refused(
            "max-chunk-size = 0", ": max-chunk-size: 0 is out of range (1 to"
        )
        self.assert_refused('storage = ""', ": storage: '' is not a path")
        self.assert_refused('storage = "a\\u0000b"', ": storage: ", " is not a path")

    def test_unusable_types(self) -> None:
        """So is a value of another type, with the types that it may have."""
        self.assert_refused("port = true", ": port: ", "a string or a number")
        self.assert_refused("port = [1]", ": port: ", "a string or a number")
        self.assert_refused("port = 1979-05-27", ": port: ", "a string or a number")
        self.assert_refused("no-sync = []", ": no-sync: ", "true or false")
        self.assert_refused("no-sync = 2", ": no-sync: '2' is neither")
        self.assert_refused(
            "write-origins = [1]", ": write-origins: ", "an array of strings"
        )

    def test_not_toml(self) -> None:
        """Invalid TOML or UTF-8 is refused with the position of the error."""
        self.assert_refused("port 80", "not TOML", "line 1")
        self.assert_refused("port = 1\nport = 2\n", "not TOML", "line")
        self.assert_refused(b"port = '\xff'", "not TOML", "utf-8")
        self.assert_refused(f"port = {'[' * 5000}", "not TOML", "recursion")

    def test_unreadable(self) -> None:
        """An error for a missing file names the source of its path."""
        for given_, environ, place in [
            ({"config": "absent"}, {}, "--config"),
            ({}, {"ASCIID_CONFIG": "absent"}, "ASCIID_CONFIG"),
        ]:
            error = self.assertRaises(SettingError, resolve, given_, environ)
            self.assertEqual(
                str(error), f"{place}: cannot read absent: No such file or directory"
            )

    @settings(max_examples=30)
    @given(st.text())
    def test_any_file_is_read_or_refused(self, text: str) -> None:
        """No file whatsoever makes reading it fail in another way."""
        try:
            self.resolved(text.encode("utf-8", "replace").decode())
        except SettingError as error:
            self.assertNotIn("\n", str(error))
