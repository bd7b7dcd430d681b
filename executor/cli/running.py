"""The cluster that `rex up` runs on this machine, and how other commands find it.

Its address, with the password, stands in a file of mode 0600 in the state directory. Whoever holds the lock beside it
is alive: a lock ends with its process, a file does not.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FILE = "cluster.json"
_LOCK = "cluster.lock"


class AlreadyRunning(Exception):
    """Another `rex up` uses this state directory."""


@contextlib.contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Be the one cluster of `state_dir` while the block runs.

    Raises:
        AlreadyRunning: there is one.
    """
    lock = os.open(state_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _locked(lock):
            told = _read(state_dir)
            who = f" (process {told['pid']})" if told else ""
            raise AlreadyRunning(
                f"a cluster runs already in {state_dir}{who}: use it, end it, or give this one a state directory of "
                "its own with REX_STATE_DIR"
            )
        (state_dir / _FILE).unlink(missing_ok=True)
        try:
            yield
        finally:
            (state_dir / _FILE).unlink(missing_ok=True)
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    # somebody who only looks holds it for a moment
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def address_file(state_dir: Path) -> Path:
    """Where the address of its cluster stands while that runs."""
    return state_dir / _FILE


def announce(state_dir: Path, told: dict[str, Any]) -> None:
    """Write down where the cluster is; only its user may read it."""
    temporary = state_dir / f".{_FILE}"
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(told, file)
    temporary.replace(state_dir / _FILE)


def running_cluster(state_dir: Path) -> dict[str, Any] | None:
    """What the living cluster of `state_dir` announced; None where there is none."""
    return _read(state_dir) if is_running(state_dir) else None


def is_running(state_dir: Path) -> bool:
    """Whether a cluster of `state_dir` is alive, announced or not."""
    try:
        lock = os.open(state_dir / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _read(state_dir: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((state_dir / _FILE).read_text(encoding="utf-8"))
        if isinstance(told, dict) and "broker_url" in told:
            return told
    return None
