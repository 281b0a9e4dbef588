"""A client made from the served contract alone finds nothing that breaks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests._thoroughness import THOROUGH
from tests.integration._daemon import ROOT, Daemon, environment

CONFIG = ROOT / "tests" / "integration" / "schemathesis.toml"
PATIENCE = 240
"""Seconds after which schemathesis hangs."""


class SchemathesisTests(SynchronousTestCase):
    """Every operation, by its examples, at its limits, at random and in sequences."""

    def test_contract_holds(self) -> None:
        """Each response is one that the contract announces for its request."""
        directory = Path(self.mktemp()).resolve()
        daemon = Daemon(directory)
        self.addCleanup(daemon.kill)
        daemon.start()
        self.upload_example(daemon)
        contract = f"{daemon.url}/openapi.json"
        command = Path(sys.executable).with_name("st")
        run = ["run"] if THOROUGH else ["run", "--max-examples=2"]
        done = subprocess.run(
            [*(command, "--config-file", CONFIG, "--no-color"), *run, contract],
            # It leaves files behind.
            cwd=directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
            self.assertIn(f"✅ {phase}\n", done.stdout)
        daemon.stop()

    def upload_example(self, daemon: Daemon) -> None:
        """Put the image there that the contract's examples are about."""
        with urlopen(f"{daemon.url}/openapi.json") as response:  # noqa: S310 - http
            examples = json.load(response)["components"]["examples"]
        sha256 = examples["CatRegistration"]["value"]["sha256"]
        request = Request(  # noqa: S310 - http
            f"{daemon.url}/image/{sha256}",
            data=examples["Cat"]["value"].encode(),
            headers={"Content-Type": "text/plain"},
            method="PUT",
        )
        with urlopen(request) as response:  # noqa: S310 - http
            self.assertEqual(response.status, 201)
