"""Commands for whoever runs the service: on a storage, and on settings."""

from asciid.admin._cli_backup import backup_command
from asciid.admin._cli_compact import compact_command
from asciid.admin._cli_config import config_command
from asciid.admin._cli_verify import verify_command

__all__ = ["backup_command", "compact_command", "config_command", "verify_command"]
