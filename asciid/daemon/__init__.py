"""What the daemon is made of: its assembly, service and periodic task."""
