"""The engine that keeps images in memory."""

from asciid.engines.memory._memory_engine import MemoryEngine

__all__ = ["MemoryEngine"]
