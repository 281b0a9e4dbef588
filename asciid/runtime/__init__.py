"""What any process runs on: threads, streams, signals, memory, service manager."""
