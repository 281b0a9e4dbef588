"""
The engine of a worker: reads the storage file, sends operations to the writer.

It exports nothing itself, as processes load only what they use:

``worker_side``  the engine, and its connection to the writer
``writer_side``  what accepts these connections
"""
