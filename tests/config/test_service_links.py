"""Variables that Kubernetes sets for Services named like asciid or its settings."""

from __future__ import annotations

from pathlib import Path

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import (
    SETTINGS,
    SettingError,
    resolve,
    service_links_in,
)
from asciid.tap import Options, makeService
from tests.integration._daemon import ANY_PORT, Daemon

LINKS = {
    "ASCIID_PORT": "tcp://10.96.0.11:4444",
    "ASCIID_PORT_4444_TCP": "tcp://10.96.0.11:4444",
    "ASCIID_PORT_4444_TCP_ADDR": "10.96.0.11",
    "ASCIID_PORT_4444_TCP_PORT": "4444",
    "ASCIID_PORT_4444_TCP_PROTO": "tcp",
    "ASCIID_SERVICE_HOST": "10.96.0.11",
    "ASCIID_SERVICE_PORT": "4444",
    "ASCIID_SERVICE_PORT_HTTP": "4444",
    "ASCIID_METRICS_PORT": "tcp://10.96.0.12:9090",
    "ASCIID_METRICS_PORT_9090_TCP": "tcp://10.96.0.12:9090",
    "ASCIID_METRICS_SERVICE_HOST": "10.96.0.12",
    "ASCIID_METRICS_SERVICE_PORT": "9090",
    "ASCIID_STORAGE_PORT": "tcp://10.96.0.13:80",
    "ASCIID_STORAGE_SERVICE_HOST": "10.96.0.13",
}
"""The environment of a pod with Services asciid, asciid-metrics, asciid-storage."""


class ServiceLinkTests(SynchronousTestCase):
    """The daemon ignores addresses of Services."""

    def test_defaults(self) -> None:
        """With the variables of Services everything is as without."""
        self.assertEqual(resolve({}, LINKS), resolve({}, {}))

    def test_every_port(self) -> None:
        """Each setting whose variable a Service can set is safe from it."""
        for setting in SETTINGS:
            if setting.variable.endswith("_PORT"):
                for address in ("10.0.0.1", "[fd00::11]", "art.example"):
                    for protocol in ("tcp", "udp", "sctp"):
                        environ = {setting.variable: f"{protocol}://{address}:4444"}
                        self.assertEqual(resolve({}, environ), resolve({}, {}))

    def test_settings_of_the_operator(self) -> None:
        """An endpoint is effective; so is an option beside a link."""
        for text, port in (
            ("tcp:4321", "tcp:4321"),
            ("4321", "4321"),
            ("tcp:4321:interface=10.96.0.11", "tcp:4321:interface=10.96.0.11"),
        ):
            self.assertEqual(resolve({}, {"ASCIID_PORT": text}).port, port)
        self.assertEqual(resolve({"port": "tcp:1"}, LINKS).port, "tcp:1")
        self.assertEqual(service_links_in({"ASCIID_PORT": "tcp:4321"}), [])

    def test_mistakes(self) -> None:
        """Any other text is refused; so is the address of a Service as an option."""
        for text in ("tcp://10.96.0.11", "http://10.96.0.11:80", "tcp://:80"):
            with self.assertRaises(SettingError):
                resolve({}, {"ASCIID_PORT": text})
        with self.assertRaises(SettingError):
            resolve({"port": "tcp://10.96.0.11:4444"}, {})

    def test_log(self) -> None:
        """One line of the log names the variables."""
        options = Options(LINKS)
        options.parseOptions(["--storage=:memory:"])
        with capturedLogs() as events:
            makeService(options, object())
        (event,) = [event for event in events if "variables" in event]
        self.assertEqual(event["variables"], "ASCIID_PORT, ASCIID_METRICS_PORT")

    def test_daemon(self) -> None:
        """A daemon in this environment serves, with workers too, and warns."""
        for options in ((), ("--workers=2",)):
            directory = Path(self.mktemp()).resolve()
            directory.mkdir()
            (directory / "settings").write_text(f'port = "{ANY_PORT}"')
            environ = {**LINKS, "ASCIID_CONFIG": "settings"}
            daemon = Daemon(directory, options, environ=environ)
            self.addCleanup(daemon.kill)
            daemon.start()
            line = "ignoring ASCIID_PORT, ASCIID_METRICS_PORT: set by Kubernetes"
            self.assertEqual(daemon.log.count(line), 1, daemon.log)
            daemon.stop()
