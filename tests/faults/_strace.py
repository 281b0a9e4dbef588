"""System calls of a live process that fail, or that it does not survive."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Self

from attrs import define, field

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WRITES", "Injection"]

WRITES = ("pwrite64", "pwritev", "writev", "fdatasync")
"""The system calls of which a commit consists."""

_PATIENCE = 90


@define(eq=False)
class Injection:
    """
    Makes the process `pid` meet `fault` in its system calls `call`.

    `fault` is in strace's syntax: ``error=EIO:when=3``.  Calls that open, write and
    sync the file `on` are traced into `trace`; only calls on that file meet the
    fault.  The process must have opened it by an absolute path.
    """

    pid: int
    call: str
    fault: str
    on: Path
    trace: Path
    _strace: subprocess.Popen[str] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        """Attach to the process."""
        self.trace.unlink(missing_ok=True)
        traced = ",".join(("openat", *WRITES))
        command = [
            *("strace", "-f", "-y", "-s", "0", "-o", str(self.trace)),
            *("-p", str(self.pid), "-P", str(self.on), "-e", f"trace={traced}"),
            *("-e", f"inject={self.call}:{self.fault}"),
        ]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        for line in self._strace.stderr:
            if "attached" in line:
                return self
        self._strace.wait(_PATIENCE)
        message = "strace does not attach"
        raise RuntimeError(message)

    def __exit__(self, *_: object) -> None:
        """Detach from the process, if it still runs."""
        if self._strace is None:
            return
        self._strace.terminate()
        try:
            self._strace.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._strace.kill()
            self._strace.communicate()
            raise

    def wait_until_gone(self) -> None:
        """Wait for the end of the process; to detach from one that dies can hang."""
        if self._strace is not None:
            self._strace.wait(_PATIENCE)

    @property
    def calls(self) -> list[str]:
        """The calls so far, in strace's words, without the thread's number."""
        lines = self.trace.read_text(errors="replace").splitlines()
        return [line.split(maxsplit=1)[1] for line in lines]

    @property
    def struck(self) -> bool:
        """Whether a call has met the fault."""
        return any("(INJECTED)" in call or "+++ killed" in call for call in self.calls)

    def wait_until_struck(self) -> None:
        """Wait until a call has met the fault."""
        deadline = time.monotonic() + _PATIENCE
        while not self.struck:
            if time.monotonic() > deadline:
                message = f"no {self.call} met {self.fault}"
                raise RuntimeError(message)
            time.sleep(0.01)
