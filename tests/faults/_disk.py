"""File systems that can fail: one that loses power, one that is too small."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LoopDisk", "TinyDisk"]

_EXT4_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_LOG_FLUSH = struct.pack("I", 2)
_SIZE = 2**30


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        message = f"{' '.join(command)}: {done.stderr.strip()}"
        raise OSError(message)


@define(eq=False)
class _Mount:
    """A mount point, `directory`."""

    directory: Path
    _mounted: bool = field(init=False, default=False)

    def _mount(self, *arguments: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        _run("mount", *arguments, str(self.directory))
        self._mounted = True

    def unmount(self) -> None:
        """Unmount it, if it is mounted."""
        if not self._mounted:
            return
        for _ in range(20):
            try:
                _run("umount", str(self.directory))
            except OSError:  # a dying process closes its files soon
                time.sleep(0.1)
            else:
                break
        else:
            _run("umount", "--lazy", str(self.directory))
        self._mounted = False


@define(eq=False)
class LoopDisk(_Mount):
    """An ext4 file system in a file beside `directory`, where it is mounted."""

    def make(self) -> None:
        """Make the file system."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._file.open("wb") as file:
            file.truncate(_SIZE)
        _run("mkfs.ext4", "-q", "-F", str(self._file))

    def mount(self) -> None:
        """Mount it; the kernel replays its journal."""
        self._mount("-o", "loop", str(self._file))

    def cut_power(self) -> None:
        """Keep all that is not on the disk by now from ever reaching it."""
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, _WITHOUT_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def destroy(self) -> None:
        """Unmount and delete it."""
        self.unmount()
        self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self.directory.with_suffix(".ext4")


@define(eq=False)
class TinyDisk(_Mount):
    """A tmpfs of a given size, mounted on `directory`."""

    def mount(self, size: int) -> None:
        """Mount it, with `size` bytes."""
        self._mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")

    def resize(self, size: int) -> None:
        """Make it larger, or smaller."""
        _run("mount", "-o", f"remount,size={size}", str(self.directory))

    def fill(self) -> Path:
        """Leave no room; return the file to delete when there is to be some."""
        filler = self.directory / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        return filler

    @property
    def free(self) -> int:
        """Bytes that are left."""
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize
