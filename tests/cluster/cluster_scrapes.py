"""The alert rules and the dashboard, on what a daemon on a database exports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from asciid.engines.postgresql._sql_schema import migrate
from tests.cluster._programs import need
from tests.cluster._server import DATABASE, shared_server
from tests.contrib import test_scrapes

if TYPE_CHECKING:
    from tests.contrib.test_scrapes import Scrape
    from tests.integration._daemon import Daemon


class DatabaseScrapeTests(test_scrapes.OneProcessTests):
    """The metrics of a daemon on a PostgreSQL database."""

    def setUp(self) -> None:
        """Make a database."""
        super().setUp()
        need("postgres")
        server = shared_server(tcp=True)
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        url = server.make_database().conninfo()
        with psycopg.connect(url, autocommit=True) as connection:
            migrate(connection)
        self.environ = {"ASCIID_STORAGE": url}
        self.answers = 0.0

    def whole_scrape(self, daemon: Daemon) -> Scrape:
        """Scrape once there was another answer on the connection that listens."""
        while True:
            scrape = super().whole_scrape(daemon)
            answers = scrape["asciid_database_round_trip_seconds_count{}"]
            if answers > self.answers:
                self.answers = answers
                return scrape

    def is_exported(self, query: str) -> bool:
        """Return whether it is no metric of a storage file."""
        return not re.search("asciid_(storage|file|batch|quarantine)_", query)
