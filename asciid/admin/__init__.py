"""Commands for whoever runs the service: they work on a storage directory."""

from asciid.admin._cli_backup import backup_command
from asciid.admin._cli_compact import compact_command
from asciid.admin._cli_verify import verify_command

__all__ = ["backup_command", "compact_command", "verify_command"]
