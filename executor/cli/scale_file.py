"""How many worker processes serve each device of the cluster that `rex up` runs here: a file in its state directory.

Whoever wants another number writes it; the parent of the processes follows.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

MOST = 64
"""Processes of one device on one machine."""
_NAME = "scale.json"
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def scale_path(state_dir: Path) -> Path:
    return state_dir / _NAME


def read_scale(state_dir: Path) -> dict[str, int]:
    """Worker processes by device.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    told = json.loads(scale_path(state_dir).read_text(encoding="utf-8"))
    if not isinstance(told, dict):
        raise ValueError("it holds no map of devices to numbers")  # noqa: TRY004 - of what a file holds
    for device, number in told.items():
        check_scale(device, number)
    return told


def check_scale(device: str, number: object) -> None:
    """Raises ValueError where this is no device, or no number of processes."""
    if not _DEVICE.fullmatch(device):
        raise ValueError(f"{device!r} is no device: letters, digits, dots, dashes and underscores, at most 63")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MOST:
        raise ValueError(f"{device} can have 0 to {MOST} worker processes on one machine, not {number!r}")


def write_scale(state_dir: Path, scale: Mapping[str, int]) -> None:
    """Write it anew, whole or not at all."""
    temporary = state_dir / f".{_NAME}.{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(dict(sorted(scale.items())), file)
        temporary.replace(scale_path(state_dir))
    finally:
        temporary.unlink(missing_ok=True)


def change_scale(state_dir: Path, device: str, number: int, *, expected: int | None = None) -> int:
    """Have `device` served by so many processes; returns by how many it was to be before.

    Args:
        state_dir: of the cluster.
        device: its id; one that was not served before is from now on.
        number: 0: it is served no more.
        expected: change nothing where somebody else has changed it since.

    Raises:
        OSError, ValueError: as `read_scale`.
    """
    check_scale(device, number)
    with _locked(state_dir):
        scale = read_scale(state_dir)
        before = scale.get(device, 0)
        if before != number and expected in (None, before):
            write_scale(state_dir, {**scale, device: number})
        return before


@contextlib.contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    lock = os.open(state_dir / "scale.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
