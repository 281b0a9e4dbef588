"""Settings from options and the environment."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import fields
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import (
    SETTINGS,
    DatabaseSettingError,
    DatabaseURL,
    SettingError,
    Settings,
    find_effective,
    ineffective,
    resolve,
    settings_of,
)
from asciid.net.rate_limit import Rate
from tests.integration._daemon import ROOT


class PrecedenceTests(SynchronousTestCase):
    """Which source a setting is taken from."""

    def test_defaults(self) -> None:
        """Without options, the documented defaults are effective."""
        self.assertEqual(
            resolve({}, {}),
            Settings(
                port="4444",
                storage=Path("asciid-storage"),
                max_image_size=64 * 2**20,
                max_chunk_size=2**20,
                sync=True,
                upload_ttl=24 * 60 * 60,
                image_ttl=0,
                reserve=64 * 2**20,
                max_connections=20_000,
                max_bodies=256 * 2**20,
                cache_size=32 * 2**20,
                max_queue=64 * 2**20,
                max_uploads=100_000,
                max_client_uploads=10_000,
                drain_timeout=10,
            ),
        )

    def test_storage_directory(self) -> None:
        """Images in memory have no directory."""
        self.assertEqual(resolve({"storage": "x"}, {}).storage_directory, Path("x"))
        memory = resolve({"storage": ":memory:"}, {})
        self.assertRaises(ValueError, lambda: memory.storage_directory)
        database = resolve({"storage": "postgresql://h/art"}, {})
        self.assertRaises(ValueError, lambda: database.storage_directory)

    def test_environment_beats_default(self) -> None:
        """Every setting can be given as ASCIID_ and its name in capitals."""
        settings = resolve(
            {},
            {
                "ASCIID_PORT": "1234",
                "ASCIID_STORAGE": "/somewhere",
                "ASCIID_MAX_IMAGE_SIZE": "5",
                "ASCIID_MAX_CHUNK_SIZE": "6",
                "ASCIID_NO_SYNC": "1",
                "ASCIID_WRITE_ORIGINS": "https://art.example",
                "ASCIID_UPLOAD_TTL": "7",
                "ASCIID_IMAGE_TTL": "8",
                "ASCIID_RESERVE": "9",
            },
        )
        self.assertEqual(
            settings,
            Settings(
                "1234",
                Path("/somewhere"),
                5,
                6,
                sync=False,
                upload_ttl=7,
                image_ttl=8,
                reserve=9,
                write_origins=frozenset({"https://art.example"}),
            ),
        )

    def test_option_beats_environment(self) -> None:
        """An option takes precedence over the environment."""
        settings = resolve({"max-image-size": "7"}, {"ASCIID_MAX_IMAGE_SIZE": "5"})
        self.assertEqual(settings.max_image_size, 7)

    def test_overruled_value_is_not_read(self) -> None:
        """A bad variable does no harm where the option was given."""
        settings = resolve({"port": "1"}, {"ASCIID_PORT": "nonsense"})
        self.assertEqual(settings.port, "1")

    def test_empty_variable(self) -> None:
        """A variable set to nothing counts as not set."""
        self.assertEqual(resolve({}, {"ASCIID_PORT": ""}), resolve({}, {}))

    def test_memory(self) -> None:
        """The storage :memory: is no directory."""
        self.assertIsNone(resolve({"storage": ":memory:"}, {}).storage)


class ValueTests(SynchronousTestCase):
    """The syntax of values."""

    def assert_refused(self, option: str, text: str, *words: str) -> None:
        """`text` is refused in one line that names the option and holds `words`."""
        error = self.assertRaises(SettingError, resolve, {option: text}, {})
        for word in (f"--{option}: ", *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))

    def test_error_names_the_variable(self) -> None:
        """A bad value from the environment is blamed on its variable."""
        for setting in SETTINGS:
            if setting.option in {"storage", "access-log", "write-token-file"}:
                continue  # any text is a path
            error = self.assertRaises(
                SettingError, resolve, {}, {setting.variable: "bogus:-1"}
            )
            self.assertTrue(str(error).startswith(f"{setting.variable}: "), error)

    def test_endpoints(self) -> None:
        """A port is a number or a Twisted endpoint description."""
        for text, port in [
            ("0", "0"),
            ("65535", "65535"),
            ("tcp:80:interface=127.0.0.1", "tcp:80:interface=127.0.0.1"),
            ("unix:/run/asciid.sock", "unix:/run/asciid.sock"),
        ]:
            self.assertEqual(resolve({"port": text}, {}).port, port)

    def test_log(self) -> None:
        """The log has a format and a level; the access log is a file or the log."""
        settings = resolve({"log-format": "json", "log-level": "debug"}, {})
        self.assertEqual((settings.log_format, settings.log_level), ("json", "debug"))
        for text, file in [("none", None), ("-", Path("-")), ("a.log", Path("a.log"))]:
            self.assertEqual(resolve({"access-log": text}, {}).access_log, file)
        self.assert_refused("log-level", "loud", "debug, info, warn")

    def test_shares(self) -> None:
        """A share is more than nothing and no more than all."""
        for text, share in [("1", 1), ("0.25", 0.25), (".5", 0.5), ("1.", 1)]:
            settings = resolve({"access-log-sample": text}, {})
            self.assertEqual(settings.access_log_sample, share)
        for text in ("0", "1.01", "2", "-1", "1e-3", "nan", "10%", "."):
            self.assert_refused("access-log-sample", text, "such as 1, 0.1")

    def test_bad_endpoints(self) -> None:
        """Anything else is refused, with the reason."""
        self.assert_refused("port", "\u0664", "endpoint")
        self.assert_refused("port", "65536", "65535")
        self.assert_refused("port", "carrier-pigeon:4444", "carrier-pigeon")
        self.assert_refused("port", "tcp:http-but-no-such-port", "endpoint")
        self.assert_refused("port", "tcp:1:2:3:4", "endpoint")
        self.assert_refused("port", "-1", "endpoint")
        self.assert_refused("port", "tcp", "endpoint")

    def test_no_endpoint(self) -> None:
        """The metrics may have an endpoint of their own, or none."""
        for text, port in [("none", None), ("9090", "9090")]:
            self.assertEqual(resolve({"metrics-port": text}, {}).metrics_port, port)
        self.assert_refused("metrics-port", "nowhere", "endpoint")

    def test_sizes(self) -> None:
        """A size is in bytes, or in binary multiples of them."""
        for text, size in [
            ("1", 1),
            ("0064", 64),
            ("3K", 3 * 2**10),
            ("3k", 3 * 2**10),
            ("3KiB", 3 * 2**10),
            ("5M", 5 * 2**20),
            ("2G", 2 * 2**30),
            ("1024G", 2**40),
        ]:
            settings = resolve({"max-image-size": text}, {})
            self.assertEqual(settings.max_image_size, size, text)

    def test_bad_sizes(self) -> None:
        """A size that is no number, zero, or past the limit is refused."""
        for text in ["", "K", "1.5M", "-1", "1T", "1iB", "0x10", "1 K", "\u0661"]:
            self.assert_refused("max-image-size", text, "is not a number of bytes")
        self.assert_refused("max-image-size", "0", "(1 to 1099511627776")
        self.assert_refused("max-image-size", "1025G", "(1 to 1099511627776")
        self.assert_refused("max-chunk-size", "257M", "(1 to 268435456")

    def test_no_reserve(self) -> None:
        """A reserve may be nothing."""
        self.assertEqual(resolve({"reserve": "0"}, {}).reserve, 0)

    def test_durations(self) -> None:
        """A time is in seconds, or in minutes, hours or days; 0 is never."""
        for text, seconds in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("2H", 7_200),
            ("36500d", 3_153_600_000),
        ]:
            settings = resolve({"upload-ttl": text}, {})
            self.assertEqual(settings.upload_ttl, seconds, text)

    def test_time_to_drain(self) -> None:
        """0 is never, too, for the time after which requests are cut off."""
        self.assertEqual(resolve({"drain-timeout": "1"}, {}).drain_timeout, 1)
        years = resolve({"drain-timeout": "0"}, {}).drain_timeout / 31_536_000
        self.assertEqual(years, 100)

    def test_file_named_like_the_log(self) -> None:
        """- is the log, and ./- a file."""
        self.assertEqual(resolve({"access-log": "-"}, {}).access_log, Path("-"))
        access_log = resolve({"access-log": "./-"}, {}).access_log
        self.assertEqual(access_log, Path.cwd() / "-")

    def test_nul(self) -> None:
        """A character that no environment variable can hold is refused."""
        for option in ("port", "metrics-port", "storage", "access-log"):
            self.assert_refused(option, "unix:a\0b", "\\x00b'")

    def test_bad_durations(self) -> None:
        """A time that is no number, or ends after the calendar, is refused."""
        for text in ["", "h", "1.5h", "-1", "1w", "1 h", "\u0661"]:
            self.assert_refused("upload-ttl", text, "is not a time such as")
        self.assert_refused("image-ttl", "36501d", "maximum 3153600000 seconds")

    @given(st.text())
    def test_any_size_is_read_or_refused(self, text: str) -> None:
        """No text whatsoever makes reading a size fail in another way."""
        try:
            size = resolve({"max-chunk-size": text}, {}).max_chunk_size
        except SettingError:
            return
        self.assertGreaterEqual(size, 1)

    def test_enormous_number(self) -> None:
        """A number of thousands of digits is refused like any other."""
        self.assert_refused("max-chunk-size", "9" * 10_000, "(1 to")

    def test_origins(self) -> None:
        """Origins are a list, as browsers write them, or none."""
        for text, origins in [
            ("none", set()),
            ("https://art.example", {"https://art.example"}),
            ("http://a:8080, http://[::1]", {"http://a:8080", "http://[::1]"}),
        ]:
            settings = resolve({"write-origins": text}, {})
            self.assertEqual(settings.write_origins, origins)

    def test_bad_origins(self) -> None:
        """A text that no browser sends as an origin is refused."""
        for text in ["*", "null", "art.example", "https://a/", "https://A", "", "x,"]:
            self.assert_refused("write-origins", text, "is not an origin")

    def test_listing(self) -> None:
        """The listing has all images, some, or none."""
        for text in ("all", "opt-in", "off"):
            self.assertEqual(resolve({"listing": text}, {}).listing, text)
        self.assertEqual(resolve({}, {}).listing, "all")
        self.assert_refused("listing", "none", "all, opt-in")

    def test_public_url(self) -> None:
        """The public URL is as browsers write it: lower case, no default port."""
        for text, url in [
            ("none", None),
            ("https://art.example", "https://art.example"),
            ("HTTPS://Art.Example/", "https://art.example"),
            ("https://art.example:443", "https://art.example"),
            ("http://art.example:0080", "http://art.example"),
            ("http://art.example:443", "http://art.example:443"),
            ("http://[::1]:4444/", "http://[::1]:4444"),
        ]:
            self.assertEqual(resolve({"public-url": text}, {}).public_url, url, text)

    def test_bad_public_url(self) -> None:
        """A URL with a path, user or query, or of no host, is refused."""
        for text in [
            "",
            "art.example",
            "//art.example",
            "ftp://art.example",
            "https://",
            "https://art.example/gallery",
            "https://art.example/?",
            "https://art.example#top",
            "https://me@art.example",
            "https://art.example:",
            "https://art.example:0",
            "https://art.example:65536",
            "https://[::1",
            "https://[1.2.3.4]",
            "https://b\u00fccher.example",
            "https://a b",
            f"https://{'a' * 254}",
            "https://art.example\n",
        ]:
            self.assert_refused("public-url", text, "is not a URL without a path")

    def test_rates(self) -> None:
        """A rate is a number per second, minute, hour or day, or none."""
        for text, rate in [
            ("none", None),
            ("1/s", Rate(1, 1)),
            ("30/min", Rate(30, 60)),
            ("500/H", Rate(500, 3_600)),
            ("1000/d", Rate(1_000, 86_400)),
        ]:
            settings = resolve({"upload-rate": text}, {})
            self.assertEqual(settings.upload_rate, rate, text)

    def test_bad_rates(self) -> None:
        """A rate without a number or a period, or of nothing, is refused."""
        for text in ["", "30", "/min", "0/s", "1.5/s", "-1/s", "3/w", "1 /s", "1/s "]:
            self.assert_refused("upload-rate", text, "is not a rate such as")

    def test_flags(self) -> None:
        """A flag in the environment is yes or no, in the usual spellings."""
        for text in ["1", "yes", "TRUE", "on"]:
            self.assertFalse(resolve({}, {"ASCIID_NO_SYNC": text}).sync, text)
        for text in ["0", "no", "False", "off"]:
            self.assertTrue(resolve({}, {"ASCIID_NO_SYNC": text}).sync, text)
        self.assert_refused("no-sync", "maybe", "neither yes nor no")

    def test_networks(self) -> None:
        """Proxies are addresses and networks, of both families."""
        settings = resolve({}, {"ASCIID_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8,::1"})
        self.assertEqual(
            [str(network) for network in settings.trusted_proxies],
            ["127.0.0.1/32", "10.0.0.0/8", "::1/128"],
        )

    def test_mapped_networks(self) -> None:
        """IPv4-mapped IPv6 addresses are IPv4 addresses, as those of clients are."""
        text = "::ffff:127.0.0.1,::ffff:10.0.0.0/104,::ffff:0:0/96,::/0"
        settings = resolve({}, {"ASCIID_TRUSTED_PROXIES": text})
        self.assertEqual(
            [str(network) for network in settings.trusted_proxies],
            ["127.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "::/0"],
        )

    def test_bad_networks(self) -> None:
        """Anything but a network is refused."""
        for text in ("proxy", "10.0.0.1/8", "10.0.0.0/33", "127.0.0.1,,"):
            environ = {"ASCIID_TRUSTED_PROXIES": text}
            self.assertRaises(SettingError, resolve, {}, environ)

    def test_counts(self) -> None:
        """A bound on a number is a number from 0."""
        settings = resolve({}, {"ASCIID_MAX_UPLOADS": "0"})
        self.assertEqual(settings.max_uploads, 0)
        for text in ("-1", "many", "1.5", "1" * 30, "\u0663"):
            self.assertRaises(SettingError, resolve, {}, {"ASCIID_MAX_UPLOADS": text})


class DocumentationTests(SynchronousTestCase):
    """Where else each setting stands; the README's table is checked with the README."""

    def test_manual(self) -> None:
        """The operator's manual mentions every option."""
        text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        named = set(re.findall(r"--([a-z]+(?:-[a-z]+)*)", text))
        self.assertEqual({row.option for row in SETTINGS} - named, set())

    def test_fields(self) -> None:
        """Each setting is a field of `Settings`, and each field is a setting."""
        names = {row.name for row in SETTINGS} - {"config", "no_sync"}
        self.assertEqual({field.name for field in fields(Settings)}, names | {"sync"})

    def test_used(self) -> None:
        """The code reads each field."""
        sources = (ROOT / "asciid").rglob("*.py")
        code = "".join(source.read_text(encoding="utf-8") for source in sources)
        used = set(re.findall(r"settings\.(\w+)", code))
        self.assertEqual({field.name for field in fields(Settings)} - used, set())


class TogetherTests(SynchronousTestCase):
    """Settings that do not go together."""

    def test_workers_in_memory(self) -> None:
        """Several processes need a storage that all of them see."""
        memory = {"ASCIID_STORAGE": ":memory:"}
        error = self.assertRaises(SettingError, resolve, {"workers": "2"}, memory)
        self.assertEqual(
            str(error), "--workers: :memory: cannot be shared by several processes"
        )
        self.assertEqual(resolve({"workers": "1"}, memory).workers, 1)

    def test_workers_on_a_database(self) -> None:
        """Several processes do not share a database: daemons do."""
        database = {"ASCIID_STORAGE": "postgresql://h/art"}
        error = self.assertRaises(SettingError, resolve, {"workers": "2"}, database)
        self.assertEqual(
            str(error),
            "--workers: workers share a storage directory, not PostgreSQL, which needs "
            "no writer process: start one daemon per core behind a balancer",
        )
        self.assertEqual(resolve({"workers": "1"}, database).workers, 1)

    def test_ineffective(self) -> None:
        """What was set for another kind of storage is named, with its source."""
        database = {"storage": "postgresql://h/art"}
        environ = {"ASCIID_RESERVE": "1G", "ASCIID_STORAGE_LISTEN": "postgresql://h"}
        self.assertEqual(
            ineffective(find_effective(database, environ)),
            [
                "ASCIID_RESERVE has no effect: the room is the database's",
            ],
        )
        self.assertEqual(
            ineffective(find_effective({**database, "no-sync": "yes"}, {})),
            ["--no-sync has no effect: the database syncs every commit"],
        )
        self.assertEqual(
            ineffective(find_effective({"no-sync": "yes"}, environ)),
            ["ASCIID_STORAGE_LISTEN has no effect: the storage is not a database"],
        )
        self.assertEqual(ineffective(find_effective(database, {})), [])


class DatabaseTests(SynchronousTestCase):
    """The address of a database."""

    URL = "postgresql://u:hunter2@h/art"

    def test_password_in_an_option(self) -> None:
        """A password on the command line, where others can read it, is refused."""
        for option in ("storage", "storage-listen"):
            for url in (self.URL, "postgres://h/art?password=hunter2"):
                error = self.assertRaises(
                    DatabaseSettingError, resolve, {option: url}, {}
                )
                self.assertTrue(
                    str(error).startswith(f"--{option}: password on the command line")
                )
                self.assertNotIn("hunter2", str(error))
                self.assertEqual(error.exit_code, 2)

    def test_password_elsewhere(self) -> None:
        """It is accepted from the environment and the file, and never printed."""
        file = Path(self.mktemp()).absolute()
        file.write_text(f'storage = "{self.URL}"', encoding="utf-8")
        for environ in (
            {"ASCIID_STORAGE": self.URL},
            {"ASCIID_CONFIG": str(file)},
        ):
            effective = find_effective({}, environ)
            storage = settings_of(effective).storage
            assert isinstance(storage, DatabaseURL)
            self.assertEqual(storage.text, self.URL)
            self.assertNotIn("hunter2", f"{effective!r} {settings_of(effective)!r}")

    def test_malformed(self) -> None:
        """A malformed address is named with its source."""
        for variable in ("ASCIID_STORAGE", "ASCIID_STORAGE_LISTEN"):
            error = self.assertRaises(
                DatabaseSettingError, resolve, {}, {variable: f"{self.URL}?sslmode=on"}
            )
            self.assertTrue(str(error).startswith(f"{variable}: invalid URL: sslmode"))
        error = self.assertRaises(
            DatabaseSettingError, resolve, {"storage-listen": "here"}, {}
        )
        self.assertIn("--storage-listen: not a URL", str(error))
