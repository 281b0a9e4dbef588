"""Two daemons on one database."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

import psycopg

from asciid.engines.postgresql._sql_schema import migrate
from tests.cluster._case import ClusterTestCase, Request, simultaneously
from tests.cluster._pgbouncer import new_bouncer
from tests.cluster._relay import Relay
from tests.cluster._server import Server, shared_server
from tests.faults._client import Answer, Connection
from tests.faults._load import Load, Upload
from tests.integration._case import Art

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.integration._daemon import Daemon

_IMAGES = 100
_CHUNKS = 10
KILLS = 3

_numbers = count()

_BOUND = 1
"""Seconds after which a deletion has reached the other nodes."""


def _json(target: str, document: object) -> Request:
    body = json.dumps(document).encode()
    return Request("POST", target, body, "application/json")


def _statuses(answers: Sequence[tuple[Answer, ...]]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(sorted(answer.status for answer in pair)) for pair in answers)


class NodesTestCase(ClusterTestCase):
    """Starts a server of its own."""

    server: Server

    def setUp(self) -> None:
        """Make a database with tables, on the server that all tests share."""
        super().setUp()
        self.directory.mkdir(parents=True)
        self.server = shared_server(tcp=True)
        self.database = f"asciid{next(_numbers)}"
        self.server.make_database(self.database)
        self.conninfo = self.server.conninfo(database=self.database)
        with psycopg.connect(self.conninfo) as connection:
            migrate(connection)

    def put(self, node: Daemon, upload: Upload) -> str:
        """Upload an image in one request; return its edit key."""
        with Connection(node.port) as connection:
            answer = connection.request("PUT", upload.target, upload.content)
        self.assertEqual(answer.status, 201)
        return answer.fields["asciid-edit-key"]

    def delete(self, node: Daemon, upload: Upload, key: str) -> None:
        """Delete an image."""
        with Connection(node.port) as connection:
            answer = connection.request("DELETE", upload.target, Asciid_Edit_Key=key)
        self.assertEqual(answer.status, 204)

    def stop(self, nodes: Iterable[Daemon]) -> None:
        """Stop the nodes; none of them logged a traceback."""
        for node in nodes:
            node.stop()


class SameWriteTests(NodesTestCase):
    """Both nodes get the same write at the same time: one of them wins."""

    def same(
        self, nodes: Sequence[Daemon], requests: Sequence[Request]
    ) -> list[tuple[Answer, ...]]:
        """Send each request to all nodes at the same time."""
        return simultaneously(nodes, *[requests for _ in nodes])

    def test_chunks(self) -> None:
        """Each of 1,000 chunks gets one 201 and one 409, and every image is intact."""
        nodes = self.nodes(self.conninfo)
        arts = [Art.random(64 * _CHUNKS, 64) for _ in range(_IMAGES)]
        registered = self.same(nodes, [_json("/image", a.registration) for a in arts])
        self.assertEqual(_statuses(registered), {(201, 409): _IMAGES})
        requests = [
            _json(f"/image/{art.spec.sha256}/chunks", art.chunk(chunk_id))
            for art in arts
            for chunk_id in art.ids
        ]
        answers = self.same(nodes, requests)
        self.assertEqual(_statuses(answers), {(201, 409): _IMAGES * _CHUNKS})
        lost = [answer for pair in answers for answer in pair if answer.status == 409]
        self.assertEqual(
            Counter(answer.document["identical"] for answer in lost), {True: len(lost)}
        )
        for node in nodes:
            with Connection(node.port) as connection:
                for art in arts:
                    target = f"/image/{art.spec.sha256}"
                    body = connection.request("GET", target).body
                    self.assertEqual(body, art.text.encode())
        winners = Counter(
            index for pair in answers for index in (0, 1) if pair[index].status == 201
        )
        self.report(f"{len(answers)} chunks, won {winners[0]} to {winners[1]}")
        self.stop(nodes)

    def test_whole_images(self) -> None:
        """The same PUT to both nodes creates the image once."""
        nodes = self.nodes(self.conninfo)
        uploads = [
            Upload.sized(random.choice([50, 3000, 300_000]), whole=True)
            for _ in range(_IMAGES)
        ]
        requests = [Request("PUT", one.target, one.content) for one in uploads]
        self.assertEqual(_statuses(self.same(nodes, requests)), {(200, 201): _IMAGES})
        for node in nodes:
            for upload in uploads:
                self.assertEqual(self.get(node, upload).body, upload.content)
        self.stop(nodes)


class DeletionTests(NodesTestCase):
    """A deletion on one node reaches the cache of the other."""

    def setUp(self) -> None:
        """Start two nodes, of which the second listens through a relay."""
        super().setUp()
        self.relay = Relay(self.server.port).start()
        self.addCleanup(self.relay.end)
        conninfo = self.conninfo
        direct = f":{self.server.port}/"
        self.assertIn(direct, conninfo)
        relayed = conninfo.replace(direct, f":{self.relay.port}/")
        self.first = self.node(conninfo, name="one")
        self.second = self.node(conninfo, "--storage-listen", relayed, name="two")
        self.wait_for(lambda: self.relay.accepted, "the second node does not listen")
        self.wait_until_ready(self.second)

    def check_deletions(self, disturb: Callable[[], None] = lambda: None) -> float:
        """
        Delete cached images, with `disturb` just before.

        Return the longest time until the other node answered 404.
        """
        slowest = 0.0
        for _ in range(5):
            upload = Upload.sized(3000, whole=True)
            key = self.put(self.first, upload)
            for _ in range(3):
                self.assertEqual(self.get(self.second, upload).body, upload.content)
            disturb()
            self.delete(self.first, upload, key)
            slowest = max(slowest, self.seconds_until(self.second, upload, 404))
            self.assertEqual(self.get(self.first, upload).status, 404)
        return slowest

    def seconds_until(self, node: Daemon, upload: Upload, status: int) -> float:
        """Request an image until it is gone; return the seconds that it took."""
        removed = asked = time.monotonic()
        while (answer := self.get(node, upload)).status != status:
            self.assertEqual(answer.status, 200)
            self.assertLess(asked - removed, _BOUND)
            time.sleep(0.005)
            asked = time.monotonic()
        return time.monotonic() - removed

    def test_notified(self) -> None:
        """The other node answers 404 within a second."""
        self.report(f"404 within {self.check_deletions():.3f} s")

    def test_stalled(self) -> None:
        """Likewise when no packet reaches its listener any more, and afterwards."""
        self.report(f"404 within {self.check_deletions(self.relay.stall):.3f} s")
        self.relay.resume()
        self.check_deletions()

    def test_cut(self) -> None:
        """Likewise when the connection of its listener is lost, and stays so."""
        self.report(f"404 within {self.check_deletions(self.relay.cut):.3f} s")
        self.relay.resume()
        self.check_deletions()

    def test_terminated(self) -> None:
        """Likewise when the server ends the listening session each time."""

        def terminate() -> bool:
            ended = self.server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE client_port = ANY(%s)",
                self.relay.client_ports,
            )
            return ended == [(True,)]

        def disturb() -> None:
            # The one that follows the last may not have begun yet.
            self.wait_for(terminate, "no listener")

        self.report(f"404 within {self.check_deletions(disturb):.3f} s")

    def test_blocked(self) -> None:
        """Both nodes answer 451 within a second after an image was blocked."""
        for disturb in (self.relay.resume, self.relay.stall):
            upload = Upload.sized(3000, whole=True)
            self.put(self.first, upload)
            nodes = (self.first, self.second)
            self.assertEqual({self.get(node, upload).status for node in nodes}, {200})
            disturb()
            sha256 = upload.art.spec.sha256
            blocking = ("block", sha256, "--reason", "test", "--storage", self.conninfo)
            blocked = self.asciid(*blocking)
            self.assertEqual(blocked.returncode, 0, blocked.stderr)
            for node in nodes:
                self.seconds_until(node, upload, 451)


class KillTests(NodesTestCase):
    """``kill -9`` of a node."""

    def test_nothing_is_lost(self) -> None:
        """
        One of two nodes under load is killed, several times: nothing acknowledged is
        lost, and the other one goes on.
        """
        one, other = self.nodes(self.conninfo)
        acknowledged = 0
        for _ in range(KILLS):
            with Load(one.port) as killed, Load(other.port) as kept:
                killed.run_for(random.uniform(0.2, 0.8))
                one.kill()
                killed.join()
                self.assertTrue(kept.progresses())
            one.start()
            self.assert_kept(other, killed.record)
            self.assert_kept(one, kept.record)
            self.assertGreater(killed.record.kinds.total(), 0)
            acknowledged += killed.record.kinds.total() + kept.record.kinds.total()
        self.report(f"{KILLS} kills, {acknowledged} acknowledged, 0 lost")
        self.stop((one, other))


class SharedBoundsTests(NodesTestCase):
    """Limits and expiry, with two nodes."""

    def register(self, nodes: Sequence[Daemon], count: int) -> list[Answer]:
        """Register so many images, alternately and two at a time."""
        requests = [
            [_json("/image", Art.random().registration) for _ in range(count // 2)]
            for _ in nodes
        ]
        answers = simultaneously(nodes, *requests)
        return [answer for pair in answers for answer in pair]

    def test_expiry(self) -> None:
        """Uploads and images expire once, whichever node deletes them."""
        nodes = self.nodes(self.conninfo, "--upload-ttl", "3s", "--image-ttl", "3s")
        answers = self.register(nodes, 200)
        self.assertEqual({answer.status for answer in answers}, {201})
        uploads = [Upload.sized(300, whole=True) for _ in range(100)]
        for upload in uploads:
            self.put(random.choice(nodes), upload)

        def expired() -> tuple[float, float]:
            metrics = [self.metrics(node) for node in nodes]
            names = ("asciid_uploads_expired_total", "asciid_images_expired_total")
            both = [sum(one[name, ""] for one in metrics) for name in names]
            return both[0], both[1]

        self.wait_for(lambda: expired() >= (200, 100), f"{expired()}", 60)
        self.assertEqual(expired(), (200, 100))
        for upload in uploads:
            self.assertEqual({self.get(node, upload).status for node in nodes}, {410})
        left = self.server.execute(
            "SELECT count(*) FROM asciid.image", database=self.database
        )
        self.assertEqual(left, [(0,)])
        self.stop(nodes)

    def test_limit(self) -> None:
        """
        Registrations on both nodes at once stop at the limit of pending uploads.

        Each node may exceed it by the batch that it commits at the same time.
        """
        nodes = self.nodes(self.conninfo, "--max-uploads", "20")
        statuses = Counter(answer.status for answer in self.register(nodes, 100))
        self.assertEqual(statuses.keys(), {201, 503})
        self.assertIn(statuses[201], (20, 21))
        statuses = Counter(answer.status for answer in self.register(nodes, 20))
        self.assertEqual(statuses, {503: 20})
        self.stop(nodes)


class PoolTests(NodesTestCase):
    """Two nodes behind pgbouncer in transaction mode."""

    def test_everything(self) -> None:
        """
        Nothing is refused or lost, deletions reach the other node, and fewer
        connections are used than the nodes have.
        """
        bouncer = new_bouncer(self.server, self.database, connections=3)
        self.addCleanup(bouncer.end)
        nodes = self.nodes(bouncer.conninfo, "--storage-listen", self.conninfo)
        with Load(nodes[0].port) as one, Load(nodes[1].port) as other:
            one.run_for(5)
        for node, load in zip(nodes, (other, one), strict=True):
            self.assertEqual(load.record.refused, {})
            self.assertGreater(load.record.kinds.total(), 100)
            self.assert_kept(node, load.record)
        upload = Upload.sized(3000, whole=True)
        key = self.put(nodes[0], upload)
        self.assertEqual(self.get(nodes[1], upload).status, 200)
        self.delete(nodes[0], upload, key)
        time.sleep(_BOUND)
        self.assertEqual(self.get(nodes[1], upload).status, 404)
        sessions = self.server.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", self.database
        )
        # Those of the pool, and one of each node that listens.
        self.assertEqual(sessions, [(3 + 2,)])
        self.stop(nodes)

    def test_without_session(self) -> None:
        """Without a direct connection for LISTEN nothing is served from a cache."""
        bouncer = new_bouncer(self.server, self.database, connections=3)
        self.addCleanup(bouncer.end)
        nodes = self.nodes(bouncer.conninfo)
        upload = Upload.sized(3000, whole=True)
        key = self.put(nodes[0], upload)
        for _ in range(2):
            self.assertEqual(self.get(nodes[1], upload).status, 200)
        self.delete(nodes[0], upload, key)
        self.assertEqual(self.get(nodes[1], upload).status, 404)
        self.wait_for(
            lambda: "set --storage-listen" in nodes[1].log, "the advice is not logged"
        )
        self.stop(nodes)
