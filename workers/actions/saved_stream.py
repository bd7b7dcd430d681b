"""What snapshot types share: a stream of bytes cut into saved pieces, and read back whole or not at all."""

import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from executor.action import Batch, Json, Run
from executor.model.errors import CONFIGURATION, PERMANENT, RESOURCE, ActionError, ChangedSince
from workers.actions.atomic import prefix_of
from workers.actions.file_state import failed

PIECE_BYTES = 4 << 20
_MANY = 500
"""More names than this go into a saved list of their own: undo records are small."""


class SavingStream:
    """Takes bytes in any portions and saves them in pieces of `PIECE_BYTES`."""

    def __init__(self, run: Run, batch: Batch) -> None:
        self._run = run
        self._batch = batch
        self._open = bytearray()
        self._names: list[str] = []
        self._size = 0

    def write(self, block: bytes) -> None:
        """Take `block` over.

        Raises:
            ActionError: the store is full, the deadline passed, or the run was cancelled.
        """
        self._open += block
        self._size += len(block)
        while len(self._open) >= PIECE_BYTES:
            self._save(bytes(memoryview(self._open)[:PIECE_BYTES]))
            del self._open[:PIECE_BYTES]

    def end(self) -> Json:
        """What to keep in `Snapshot.data`, for `whole` to find it again."""
        if self._open:
            self._save(bytes(self._open))
            self._open.clear()
        if len(self._names) <= _MANY:
            return {"bytes": self._size, "pieces": self._names}
        return {"bytes": self._size, "list": self._batch.add(json.dumps(self._names).encode())}

    def _save(self, piece: bytes) -> None:
        self._run.proceed()
        self._names.append(self._batch.add(piece))


def whole(run: Run, saved: Json, what: str) -> list[str]:
    """The names of the pieces of `saved`, each read and verified; `what` is how the error calls it.

    Raises:
        ActionError: something of it is missing or damaged.
    """
    lists = [saved["list"]] if "list" in saved else []
    refuse_damaged(run, lists, what)
    names: list[str] = json.loads(run.saved.load(lists[0])) if lists else saved["pieces"]
    refuse_damaged(run, names, what)
    return names


def refuse_damaged(run: Run, names: list[str], what: str) -> None:
    """Read and verify the saved contents `names`; `what` is how the error calls what was saved.

    Raises:
        ActionError: something is missing or damaged.
    """
    damaged = run.saved.damaged(names)
    if damaged:
        raise ActionError(
            f"what was saved of {what} cannot be used: {len(damaged)} of its {len(names)} pieces are missing or "
            f"damaged in the store of this device, the first is {damaged[0]}; nothing was changed",
            PERMANENT,
        )


def pieces(run: Run, names: Iterable[str]) -> Iterator[bytes]:
    """The pieces one after the other, as long as the run may go on."""
    for name in names:
        run.proceed()
        yield run.saved.load(name)


def require_room(run: Run, size: int, what: str) -> None:
    """Refuse beforehand what the store cannot take.

    Args:
        size: bytes that it will need, at least.

    Raises:
        ActionError: it is larger than the room that is left.
    """
    room = run.saved.room()
    if size > room:
        raise ActionError(
            f"{what} needs {size} bytes, and the store of this device has room for {room}; nothing was changed. "
            "Give the store more room, or shorten the retention time",
            RESOURCE,
        )


def require_below_roots(run: Run, path: str) -> None:
    """Refuse a resolved path outside the directories that this device allows.

    Raises:
        ActionError: it lies outside.
    """
    roots = [os.path.realpath(root) for root in run.roots]
    if not any(os.path.commonpath((root, path)) == root for root in roots):
        allowed = ", ".join(roots) or "none"
        raise ActionError(
            f"{path} lies outside the directories that this device allows for snapshots (rollback.snapshot_roots: "
            f"{allowed})",
            CONFIGURATION,
        )


def refuse_unknown_changes(what: str) -> ChangedSince:
    """The error for a world that keeps no record of when it was changed."""
    return ChangedSince(
        f"it cannot be known whether others changed {what} since the run ended; `--force` restores it anyway, and "
        "what they did there is lost"
    )


@contextmanager
def scratch(run: Run) -> Iterator[Path]:
    """A private directory for copies, removed at the end; what a killed attempt of this action left is removed too.

    Raises:
        ActionError: it cannot be made.
    """
    prefix = prefix_of(run.key)
    base = Path(tempfile.gettempdir())
    try:
        for leftover in base.glob(f"{prefix}*"):
            _remove_flat(leftover)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    except OSError as error:
        raise failed("make a temporary directory in", base, error) from error
    try:
        yield made
    finally:
        _remove_flat(made)


def _remove_flat(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return  # not ours: anybody may put a link of that name where temporary files lie
    for path in directory.iterdir():
        path.unlink(missing_ok=True)
    directory.rmdir()


def path_problems(parameters: Json) -> list[tuple[str, str]]:
    """What is wrong with ``path`` as written."""
    path = parameters.get("path")
    if isinstance(path, str) and not path.startswith(("/", "${{")):
        return [("path", f"{path!r} is relative: paths are absolute")]
    return []
