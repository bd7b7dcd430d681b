"""Where a process is: another one of the same machine can see whether it has ended."""

import os
from functools import cache
from pathlib import Path

from executor.model.device import Announcement

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = ("Z", "X")


@cache
def place() -> str:
    """This run of this machine, and whose process ids ours are; empty where the system does not tell."""
    try:
        return f"{_BOOT.read_text().strip()}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def started(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; 0: it has ended; None: it is not there, or hidden."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
        state, *_, ticks = fields.split()[:20]
    except (OSError, ValueError):
        return None
    return 0 if state in _ENDED else int(ticks)


def described() -> tuple[str, int]:
    """Place and start of this process."""
    began = started(os.getpid())
    return (place(), began) if began else ("", 0)


def has_ended(told: Announcement, *, one_machine: bool) -> bool:
    """Whether a worker's process is surely gone; False also where nobody can tell from here.

    Args:
        told: its announcement.
        one_machine: all processes of the cluster are on one: then those of another run of it have ended.
    """
    if not told.place or not place():
        return False
    if told.place == place():
        began = started(told.pid)
        return not _is_there(told.pid) if began is None else began != told.started
    return one_machine and told.place.partition("/")[0] != place().partition("/")[0]


def _is_there(pid: int) -> bool:
    """Also of those that /proc hides, as it may hide other users' processes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
