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


def started(pid: int) -> int:
    """When a process of ours began, in ticks since the machine did; 0: it has ended, or never was."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
        state, *_, ticks = fields.split()[:20]
    except (OSError, ValueError):
        return 0
    return 0 if state in _ENDED else int(ticks)


def described() -> tuple[str, int]:
    """Place and start of this process."""
    return place(), started(os.getpid())


def has_ended(told: Announcement, *, one_machine: bool) -> bool:
    """Whether a worker's process is surely gone; False also where nobody can tell from here.

    Args:
        told: its announcement.
        one_machine: all processes of the cluster are on one: then those of another run of it have ended.
    """
    if not told.place or not place():
        return False
    if told.place == place():
        return started(told.pid) != told.started
    return one_machine and told.place.partition("/")[0] != place().partition("/")[0]
