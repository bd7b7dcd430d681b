"""A Python action with a way back of its own, for drawn strategies: it logs what it does as their commands do."""

import os
import time
from pathlib import Path

from executor import action


@action("property.effect")
def effect(directory: str, device: str, name: str, attempt: int, does: str) -> dict[str, str]:
    """Leave a mark, and a line in the effect log."""
    if does == "fails":
        _log(directory, "try", name, attempt, device)
        raise RuntimeError("it was told to fail")
    _log(directory, "do", name, attempt, device)
    (Path(directory) / "world" / device / f"made-{name}").write_text(f"{name}\n")
    if does == "breaks":
        raise RuntimeError("it was told to break")
    return {"made": name}


@effect.compensate
def take_back(directory: str, device: str, name: str, attempt: int) -> None:
    """Remove the mark."""
    _log(directory, "undo", name, attempt, device)
    (Path(directory) / "world" / device / f"made-{name}").unlink(missing_ok=True)


def _log(directory: str, word: str, name: str, attempt: int, device: str) -> None:
    log = os.open(Path(directory) / "log", os.O_WRONLY | os.O_APPEND)
    os.write(log, f"{word} {name} {attempt} {device} {os.getpid()} {time.time_ns()}\n".encode())
    os.fsync(log)
    os.close(log)
