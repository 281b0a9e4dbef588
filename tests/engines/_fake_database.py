"""A database in memory that knows the row of a node, and fails as a test says."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import DiagnosticField

from asciid.engines.postgresql._sql_batch import BatchResult
from asciid.engines.postgresql._sql_schema import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.store.operations import AnyOperation

__all__ = ["FakeConnection", "FakeDatabase", "from_server", "lost"]


def from_server(kind: type[psycopg.Error], severity: bytes = b"ERROR") -> psycopg.Error:
    """Return an error as the server reports it."""
    info: Any = {DiagnosticField.SEVERITY_NONLOCALIZED: severity}
    return kind("reported by the server", info=info)


def lost() -> psycopg.Error:
    """Return the error of a connection that was lost."""
    return psycopg.OperationalError("server closed the connection\n\tunexpectedly")


class FakeCursor:
    """The result of a statement."""

    def __init__(self, row: object = None, status: str = "") -> None:
        self._row = row
        self.statusmessage = status

    def fetchone(self) -> object:
        """Return the row."""
        return self._row


class FakeDatabase:
    """
    The rows of nodes, and what goes wrong.

    `faults` has, for statements by their first word, what happens at the next ones:
    an error that is raised, or a call; what is committed all the same is up to it.
    """

    def __init__(self) -> None:
        self.nodes: dict[object, int] = {}
        self.faults: dict[str, list[Exception | Callable[[FakeConnection], None]]] = {}
        self.refusals: list[psycopg.Error] = []
        """Errors of the next connections."""
        self.connections: list[FakeConnection] = []
        self.standbys: str | None = "*"
        self.version = VERSION
        self.committed: list[object] = []
        """The operations that were committed."""
        self.statements: list[str] = []
        self.times: list[int] = []
        """When the transactions began, in milliseconds."""

    def connect(self) -> Any:  # noqa: ANN401 - as psycopg.connect
        """Make a connection."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.connections.append(FakeConnection(self))
        return self.connections[-1]

    def carry_out(
        self,
        connection: Any,  # noqa: ANN401 - of psycopg's type
        operations: Sequence[AnyOperation],
        pending: object,
        now: Callable[[], int],
    ) -> BatchResult:
        """Do as `asciid.engines.postgresql._sql_batch.carry_out`."""
        del pending
        self.times.append(now())
        result = BatchResult(outcomes=[None] * len(operations))
        result.removed = [
            operation.sha256 for operation in operations if hasattr(operation, "sha256")
        ]
        result.events.deleted = len(result.removed)
        connection.execute("WORK", operations)
        return result


class FakeConnection:
    """A connection of psycopg in autocommit mode."""

    def __init__(self, database: FakeDatabase) -> None:
        self.database = database
        self.closed = False
        self.changes: list[Callable[[], None]] = []
        self.handlers: list[Callable[[Any], None]] = []
        self._ends = socket.socketpair()

    def fileno(self) -> int:
        """Return a descriptor."""
        return self._ends[0].fileno()

    def is_cut(self) -> bool:
        """Return whether the connection was cut."""
        self._ends[1].settimeout(0)
        try:
            return self._ends[1].recv(1) == b""
        except BlockingIOError:
            return False

    def add_notice_handler(self, handler: Callable[[Any], None]) -> None:
        """Have a warning call `handler`."""
        self.handlers.append(handler)

    def warn(self, sqlstate: str = "01000") -> None:
        """Send a warning."""
        for handler in self.handlers:
            handler(type("Diagnostic", (), {"sqlstate": sqlstate})())

    def close(self) -> None:
        """Close it, and roll back."""
        self.closed = True
        self.changes.clear()
        for end in self._ends:
            end.close()

    @contextmanager
    def pipeline(self) -> Iterator[None]:
        """Do nothing: statements are carried out at once."""
        yield

    def commit(self) -> None:
        """Commit."""
        for change in self.changes:
            change()
        self.changes.clear()

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> FakeCursor:
        """Carry out a statement."""
        word, *others = statement.split()
        self.database.statements.append(" ".join([word, *others]))
        if faults := self.database.faults.get(word):
            fault = faults.pop(0)
            if isinstance(fault, Exception):
                self.changes.clear()
                raise fault
            fault(self)
        return self._carry_out(" ".join([word, *others]), parameters)

    def _carry_out(self, statement: str, parameters: Sequence[Any]) -> FakeCursor:
        for beginning, do in (
            ("INSERT", self._insert),
            ("UPDATE asciid.node SET batch", self._fence),
            ("WORK", self._work),
            ("SELECT batch", self._lock),
            ("SELECT to_regclass", lambda _: FakeCursor(("asciid.schema_version",))),
            ("SELECT version", lambda _: FakeCursor((self.database.version,))),
            ("DELETE FROM asciid.node WHERE id =", self._delete),
            ("COMMIT", lambda _: self.commit()),
            ("ROLLBACK", lambda _: self.changes.clear()),
        ):
            if statement.startswith(beginning):
                return do(parameters) or FakeCursor(status=beginning)
        return FakeCursor()

    def _insert(self, parameters: Sequence[Any]) -> None:
        self.changes.append(lambda: self.database.nodes.update({parameters[0]: 0}))

    def _fence(self, parameters: Sequence[Any]) -> FakeCursor:
        nodes = self.database.nodes
        batch, node, _ = parameters
        if node not in nodes or nodes[node] >= batch:
            return FakeCursor()
        self.changes.append(lambda: nodes.update({node: batch}))
        return FakeCursor((1_000, self.database.standbys))

    def _work(self, parameters: Sequence[Any]) -> None:
        added = list(parameters)
        self.changes.append(lambda: self.database.committed.extend(added))

    def _lock(self, parameters: Sequence[Any]) -> FakeCursor:
        found = self.database.nodes.get(parameters[0])
        return FakeCursor(None if found is None else (found,))

    def _delete(self, parameters: Sequence[Any]) -> None:
        self.changes.append(lambda: self.database.nodes.__delitem__(parameters[0]))
