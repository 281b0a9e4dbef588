"""A node whose database has lost its synchronous standby."""

from __future__ import annotations

import json
from hashlib import sha256
from threading import Thread

import psycopg

from asciid.engines.postgresql._sql_schema import migrate
from tests.cluster._absent_standby import WAITING, forget_standby, miss_standby
from tests.cluster._case import ClusterTestCase
from tests.cluster._server import new_server
from tests.faults._client import Answer, Connection

CAT, DOG = "/\\_/\\\n( o.o )\n", "woof\n"


class LostStandbyTests(ClusterTestCase):
    """Commits that wait for a standby, for as long as there is none."""

    def setUp(self) -> None:
        """Start a node on a server."""
        super().setUp()
        self.server = new_server()
        self.addCleanup(self.server.end)
        with psycopg.connect(self.server.conninfo()) as connection:
            migrate(connection)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.running = self.node(self.server.conninfo())

    def request(self, method: str, target: str, body: str = "") -> Answer:
        """Send a request on a connection of its own."""
        with Connection(self.running.port) as connection:
            return connection.request(method, target, body.encode())

    def put(self, text: str) -> Answer:
        """Upload an image."""
        name = sha256(text.encode()).hexdigest()
        return self.request("PUT", f"/image/{name}", text)

    def test_waits(self) -> None:
        """
        The write under way is answered once it is replicated, and not before.

        Meanwhile others get 503 at once, reads are answered, and the node is not ready.
        """
        self.assertEqual(self.put(DOG).status, 201)
        miss_standby(self.server)
        answers: list[Answer] = []
        writing = Thread(
            target=lambda: answers.append(self.put(CAT)),
            daemon=True,
        )
        writing.start()
        self.wait_for(lambda: self.server.execute(WAITING), "no commit waits")
        self.wait_for(
            lambda: self.request("GET", "/readyz").status == 503, "it stays ready"
        )
        refused = self.put(CAT)
        self.assertEqual(refused.status, 503)
        self.assertIn("retry-after", refused.fields)
        problem = json.loads(refused.body)
        self.assertEqual(problem["type"], "/problems/database-unavailable")
        address = f"/image/{sha256(DOG.encode()).hexdigest()}"
        self.assertEqual(self.request("GET", address).status, 200)
        self.assertEqual(answers, [])
        forget_standby(self.server)
        writing.join(60)
        (answer,) = answers
        self.assertEqual(answer.status, 201)
        self.wait_for(
            lambda: self.request("GET", "/readyz").status == 200, "it stays unready"
        )
        checks = json.loads(self.request("GET", "/readyz").body)["checks"]
        self.assertIn("no synchronous standby", checks["writes"]["reason"])
        self.running.stop()
