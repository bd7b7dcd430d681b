"""Runs that were broken off: what is left of each in its private directory, and how it goes on."""

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from executor.cli.output import note
from executor.cli.running import is_running

KEEP = "keep"
"""A private directory with a file of this name is not removed; its first line says why."""
UNFINISHED = "unfinished"
_TOLD = "told"


def how_to_go_on(folder: Path, devices: Sequence[str]) -> str:
    """The command that goes on with what lies in `folder`."""
    options = "".join(f" --device {device}" for device in devices)
    return f"REX_STATE_DIR={shlex.quote(str(folder))} rex up{options}"


def mark_unfinished(folder: Path, devices: Sequence[str]) -> None:
    """From now on something in `folder` may have to go on, however we end."""
    (folder / KEEP).write_text(f"{UNFINISHED}\n{how_to_go_on(folder, devices)}\n", encoding="utf-8")


def mark_told(folder: Path) -> None:
    """Somebody was told of it, and is not told again."""
    with contextlib.suppress(OSError):
        (folder / _TOLD).touch()


def tell_of_earlier(state_dir: Path) -> None:
    """Say once of each run that was broken off that it is there, and how it goes on."""
    for path in sorted(state_dir.glob(f"runs/*/{KEEP}")):
        folder = path.parent
        with contextlib.suppress(OSError, ValueError):
            why, *rest = path.read_text(encoding="utf-8").splitlines() or [""]
            # one that still goes on has its cluster
            if why != UNFINISHED or (folder / _TOLD).exists() or is_running(folder):
                continue
            command = rest[0] if rest else how_to_go_on(folder, ["ID"])
            note(f"an earlier run was broken off and stands still in {folder}; it goes on, to its end or back, with: "
                 f"{command}")  # fmt: skip
            mark_told(folder)
