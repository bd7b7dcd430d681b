"""Saved bytes as files of one private directory: durable, compressed, checked when read.

Small undo records lie each in a file of its own, what is saved in batches lies in packs. Several processes of one
device share a store. Whoever saves holds ``lock`` shared, pruning holds it alone: what somebody is about to rely on is
not taken away, and what is unfinished then belongs to a process that died. Reading takes no lock.
"""

import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from executor.model.errors import PERMANENT, ActionError
from rollback.stores.limits import too_much
from rollback.stores.notes import Notes
from rollback.stores.objects import Objects
from rollback.stores.packs import Packs
from rollback.stores.writing import PackBatch, cannot_save, sync_directory

_RECOUNT_S = 10.0
_RECOUNT_BYTES = 64 << 20
_THREADS = 2
"""As many as pay: reading, hashing and expanding let go of the interpreter."""
_MANY = 64
_NAME = re.compile("[0-9a-f]{64}")


class FileStore:
    """A store below the directory `root`, which is created when needed and holds at most `max_bytes`."""

    def __init__(self, root: Path, max_bytes: int = 1 << 30) -> None:
        self.root = Path(root)
        self.max_bytes = max_bytes
        self._objects = Objects(self.root)
        self._packs = Packs(self.root / "packs")
        self._notes = Notes(self.root / "notes")
        self._lock = threading.Lock()
        self._used = 0
        self._since = 0
        self._counted_at = float("-inf")

    def save(self, content: bytes) -> str:
        """Keep `content` durably; its SHA-256. See `executor.action.SavedBytes`."""
        name = hashlib.sha256(content).hexdigest()
        try:
            with self._locked(fcntl.LOCK_SH):
                if not self._objects.refresh(name, content):
                    place, stored = self._objects.pack(name, content)
                    self._make_room(len(stored))
                    self._objects.write(place, stored)
        except OSError as error:
            raise cannot_save(len(content), self.root, error) from error
        return name

    @contextmanager
    def batch(self) -> Iterator[PackBatch]:
        """Many contents at once, from any thread. See `executor.action.SavedBytes`."""
        try:
            lock = self._take_lock(fcntl.LOCK_SH)
        except OSError as error:
            raise cannot_save(0, self.root, error) from error
        try:
            self._packs.renew()
            batch = PackBatch(self._packs, self._make_room)
            try:
                yield batch
            except BaseException:
                batch.give_up()
                raise
            batch.finish()
            self._packs.renew()
        finally:
            os.close(lock)
            self._packs.relax()

    def load(self, sha256: str) -> bytes:
        """What was saved, verified. See `executor.action.SavedBytes`."""
        name = _checked(sha256)
        content = self._from_pack(name) if self._is_packed(name) else self._either(name)
        if content is None:
            raise ActionError(
                f"saved bytes {name} are not in {self.root}: never saved here, pruned, or in a pack that somebody "
                "deleted or cut off; what needs them has to come from a backup",
                PERMANENT,
            )
        return content

    def damaged(self, names: Iterable[str]) -> list[str]:
        """Which of `names` are missing or damaged; all are read. See `executor.action.SavedBytes`."""
        self._packs.renew()
        # in the order in which they lie on the disk
        wanted = sorted(
            dict.fromkeys(names), key=lambda name: self._packs.place(bytes.fromhex(_checked(name))) or ("", 0)
        )
        if len(wanted) < _MANY:
            bad = {name for name in wanted if not self._is_whole(name)}
        else:
            with ThreadPoolExecutor(_THREADS, "rex-verify") as threads:
                parts = [wanted[start : start + _MANY] for start in range(0, len(wanted), _MANY)]
                bad = {name for part in threads.map(self._bad, parts) for name in part}
        return [name for name in wanted if name in bad]

    def room(self) -> int:
        """How many bytes may still be saved: by the limit of the store, and by what is free on the disk."""
        left = self.max_bytes - self._count()
        with suppress(OSError):
            disk = os.statvfs(self.root if self.root.exists() else self.root.parent)
            left = min(left, disk.f_bavail * disk.f_frsize)
        return max(left, 0)

    def note(self, key: str, text: str) -> None:
        """Keep `text` as a hint for later; it may be lost, and is only as good as what it is checked by."""
        self._notes.write(key, text)

    def noted(self, key: str) -> str | None:
        """The hint under `key`."""
        return self._notes.read(key)

    def prune(self, older_than_s: float, keep: Set[str] = frozenset()) -> int:
        """Delete what was last saved more than `older_than_s` seconds ago and is not in `keep`; how many contents.

        A pack goes as a whole: when nothing of it was saved since, and nothing is in `keep`. Waits for those who save.
        """
        if not self.root.is_dir():
            return 0
        with self._locked(fcntl.LOCK_EX):
            before = time.time() - older_than_s
            gone = self._objects.prune(before, set(keep))
            gone += self._prune_packs(before, {bytes.fromhex(name) for name in keep})
            self._notes.prune(before)
        self._count()
        return gone

    def _prune_packs(self, before: float, keep: Set[bytes]) -> int:
        self._packs.renew()
        gone = 0
        for path in sorted(self._packs.root.iterdir()):
            if path.name.startswith("."):
                path.unlink()
                continue
            if path.stat().st_mtime > before:
                continue
            contents = self._packs.contents(path.name)
            if keep.isdisjoint(contents):
                path.unlink()
                gone += len(contents)
        self._packs.renew()
        return gone

    def _is_packed(self, name: str) -> bool:
        return self._packs.place(bytes.fromhex(name)) is not None

    def _from_pack(self, name: str) -> bytes | None:
        try:
            return self._packs.load(bytes.fromhex(name))
        except ActionError:
            # an action may have saved the same bytes by themselves
            with suppress(ActionError):
                if (content := self._objects.load(name)) is not None:
                    return content
            raise

    def _either(self, name: str) -> bytes | None:
        content = self._objects.load(name)
        return self._packs.load(bytes.fromhex(name)) if content is None else content

    def _is_whole(self, name: str) -> bool:
        try:
            self.load(name)
        except ActionError:
            return False
        return True

    def _bad(self, names: list[str]) -> list[str]:
        return [name for name in names if not self._is_whole(name)]

    def _make_room(self, size: int, unwritten: int = 0) -> None:
        """Count what is kept now and then, not for every save: other processes write here too.

        Args:
            unwritten: bytes that were made room for before, and are not on the disk yet.
        """
        with self._lock:
            stale = time.monotonic() - self._counted_at > _RECOUNT_S or self._since > _RECOUNT_BYTES
            full = self._used + size > self.max_bytes
        if stale or full:
            self._count(unwritten)
        with self._lock:
            if self._used + size > self.max_bytes:
                raise too_much(f"in {self.root}", size, self._used, self.max_bytes)
            self._used += size
            self._since += size

    def _count(self, unwritten: int = 0) -> int:
        used = unwritten + sum(kept.size for kept in self._objects.all())
        with suppress(FileNotFoundError), os.scandir(self._packs.root) as packs:
            for each in packs:
                with suppress(FileNotFoundError):
                    used += each.stat().st_size
        with self._lock:
            self._used, self._since, self._counted_at = used, 0, time.monotonic()
        return used

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        lock = self._take_lock(how)
        try:
            yield
        finally:
            os.close(lock)

    def _take_lock(self, how: int) -> int:
        """A handle that holds the lock of the store until it is closed, or until its process dies."""
        if not self._packs.root.is_dir():
            self._packs.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._packs.root.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.root)
            sync_directory(self.root.parent)
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, how)
        except OSError:
            os.close(handle)
            raise
        return handle


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ActionError(f"{name!r} is no SHA-256 in hexadecimal", PERMANENT)
    return name
