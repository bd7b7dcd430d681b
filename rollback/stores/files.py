"""Saved bytes as files: ``<root>/<first two digits>/<sha256>``, private, durable, checked when read.

Several processes of one device share one store without a lock: a file appears by rename, complete or not at all,
and two that save the same content write the same file.
"""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from executor.model.errors import PERMANENT, RESOURCE, ActionError
from rollback.stores.limits import too_much

_RECOUNT_S = 10.0
_LEFTOVER_S = 3600.0
"""A temporary file older than this belongs to a process that died."""


class FileStore:
    """A store below the directory `root`, which is created when needed and holds at most `max_bytes`."""

    def __init__(self, root: Path, max_bytes: int = 1 << 30) -> None:
        self.root = Path(root)
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._used = 0
        self._counted_at = float("-inf")

    def save(self, content: bytes) -> str:
        """Keep `content` durably; its SHA-256. See `executor.action.SavedBytes`."""
        name = hashlib.sha256(content).hexdigest()
        place = self._place(name)
        try:
            if self._refresh(place, content):
                return name
            self._make(place.parent)
            self._make_room(len(content))
            self._write(place, content)
        except OSError as error:
            raise ActionError(
                f"cannot save {len(content)} bytes for the way back in {self.root}: {error.strerror}; "
                "nothing was changed. Free space there, or set another directory",
                RESOURCE,
            ) from error
        return name

    def load(self, sha256: str) -> bytes:
        """What was saved, verified. See `executor.action.SavedBytes`."""
        place = self._place(sha256)
        try:
            content = place.read_bytes()
        except FileNotFoundError as error:
            raise ActionError(
                f"saved bytes {sha256} are not in {self.root}: never saved here, or pruned", PERMANENT
            ) from error
        except OSError as error:
            raise ActionError(f"cannot read saved bytes {place}: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise ActionError(
                f"saved bytes {place} are damaged: their SHA-256 is {found}; they are not used", PERMANENT
            )
        return content

    @contextmanager
    def batch(self) -> Iterator["FileStore"]:
        """Many contents at once. See `executor.action.SavedBytes`."""
        yield self

    def add(self, content: bytes) -> str:
        """One content of a batch. See `executor.action.Batch`."""
        return self.save(content)

    def damaged(self, names: Iterable[str]) -> list[str]:
        """Which of `names` cannot be loaded. See `executor.action.SavedBytes`."""
        found = []
        for name in names:
            try:
                self.load(name)
            except ActionError:
                found.append(name)
        return found

    def room(self) -> int:
        """How many bytes may still be saved."""
        return max(self.max_bytes - sum(kept for _, kept, _ in self._files()), 0)

    def prune(self, older_than_s: float, keep: Set[str] = frozenset()) -> int:
        """Delete what was last saved more than `older_than_s` ago and is not in `keep`; how many were deleted."""
        now, gone = time.time(), 0
        for path, _, saved in list(self._files()):
            temporary = path.name.startswith(".")
            age = now - saved
            if (temporary and age > _LEFTOVER_S) or (not temporary and age >= older_than_s and path.name not in keep):
                path.unlink(missing_ok=True)
                gone += not temporary
        return gone

    def _place(self, name: str) -> Path:
        if len(name) != 64 or any(digit not in "0123456789abcdef" for digit in name):
            raise ActionError(f"{name!r} is no SHA-256 in hexadecimal", PERMANENT)
        return self.root / name[:2] / name

    def _refresh(self, place: Path, content: bytes) -> bool:
        """Whether `content` is already there, undamaged; then it counts as saved now, so that no prune takes it."""
        try:
            if place.read_bytes() != content:
                return False
            os.utime(place)
        except FileNotFoundError:
            return False
        return True

    def _make(self, directory: Path) -> None:
        for path in (self.root, directory):
            if not path.is_dir():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_directory(path.parent)

    def _make_room(self, size: int) -> None:
        """Count what is kept now and then, not for every save: other processes write here too."""
        with self._lock:
            now = time.monotonic()
            if now - self._counted_at > _RECOUNT_S or self._used + size > self.max_bytes:
                self._used = sum(kept for _, kept, _ in self._files())
                self._counted_at = now
            if self._used + size > self.max_bytes:
                raise too_much(f"in {self.root}", size, self._used, self.max_bytes)
            self._used += size

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        for shard in self.root.glob("??"):
            for path in shard.iterdir():
                with suppress(FileNotFoundError):  # another process pruned it meanwhile
                    found = path.stat()
                    yield path, found.st_size, found.st_mtime

    def _write(self, place: Path, content: bytes) -> None:
        temporary = place.parent / f".{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(place)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(place.parent)


def _sync_directory(path: Path) -> None:
    """Make a new name in `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
