"""The size of a queue of operations, and its bounds."""

from __future__ import annotations

from attrs import define, field

__all__ = ["QueueSize"]


@define(eq=False)
class QueueSize:
    """How many operations are in a queue, and the bytes of memory they hold."""

    max_operations: int = 16_384
    max_bytes: int = 64 * 1024 * 1024
    """A single operation that holds more is accepted if no others hold any."""
    operations: int = field(init=False, default=0)
    bytes: int = field(init=False, default=0)

    def add(self, operations: int, size: int) -> bool:
        """Add operations that hold `size` bytes; return False if they are too many."""
        total, held = self.operations + operations, self.bytes + size
        if total > self.max_operations or (
            held > self.max_bytes and size and self.bytes
        ):
            return False
        self.operations, self.bytes = total, held
        return True

    def remove(self, operations: int, size: int) -> None:
        """Remove some that were added."""
        self.operations -= operations
        self.bytes -= size

    def clear(self) -> None:
        """Remove all."""
        self.operations = self.bytes = 0
