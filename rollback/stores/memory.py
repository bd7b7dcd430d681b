"""Saved bytes in memory: the twin of `FileStore` for tests and dry runs."""

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager

from executor.model.errors import PERMANENT, ActionError
from rollback.stores.limits import too_much


class MemoryStore:
    """Keeps at most `max_bytes`; forgets all when the process ends."""

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self.max_bytes = max_bytes
        self._kept: dict[str, tuple[bytes, float]] = {}
        self._notes: dict[str, str] = {}
        self._lock = threading.Lock()

    def save(self, content: bytes) -> str:
        """Keep `content`; its SHA-256. See `executor.action.SavedBytes`."""
        name = hashlib.sha256(content).hexdigest()
        with self._lock:
            used = sum(len(kept) for kept, _ in self._kept.values())
            if name not in self._kept and used + len(content) > self.max_bytes:
                raise too_much("in memory", len(content), used, self.max_bytes)
            self._kept[name] = (bytes(content), time.time())
        return name

    def load(self, sha256: str) -> bytes:
        """What was saved. See `executor.action.SavedBytes`."""
        with self._lock:
            found = self._kept.get(sha256)
        if found is None:
            raise ActionError(f"saved bytes {sha256} are not in memory: never saved, or pruned", PERMANENT)
        content = found[0]
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ActionError(f"saved bytes {sha256} in memory are damaged", PERMANENT)
        return content

    @contextmanager
    def batch(self) -> Iterator["MemoryBatch"]:
        """Many contents at once. See `executor.action.SavedBytes`."""
        batch = MemoryBatch(self)
        yield batch
        with self._lock:
            self._kept |= {name: (content, time.time()) for name, content in batch.contents.items()}

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
        with self._lock:
            return max(self.max_bytes - sum(len(kept) for kept, _ in self._kept.values()), 0)

    def note(self, key: str, text: str) -> None:
        """Keep `text` as a hint for later."""
        self._notes[key] = text

    def noted(self, key: str) -> str | None:
        """The hint under `key`."""
        return self._notes.get(key)

    def prune(self, older_than_s: float, keep: Set[str] = frozenset()) -> int:
        """Forget what is older than `older_than_s` and not in `keep`; how many were forgotten."""
        limit = time.time() - older_than_s
        with self._lock:
            old = [name for name, (_, saved) in self._kept.items() if saved <= limit and name not in keep]
            for name in old:
                del self._kept[name]
        return len(old)


class MemoryBatch:
    """Contents that wait for the end of their batch."""

    def __init__(self, store: MemoryStore) -> None:
        self.contents: dict[str, bytes] = {}
        self._store = store
        self._room = store.room()

    def add(self, content: bytes) -> str:
        """Take `content` over; its SHA-256. See `executor.action.Batch`."""
        name = hashlib.sha256(content).hexdigest()
        if name not in self.contents:
            if len(content) > self._room and self._store.damaged([name]):
                limit = self._store.max_bytes
                raise too_much("in memory", len(content), limit - self._room, limit)
            self._room -= len(content)
            self.contents[name] = bytes(content)
        return name

    def refresh(self, names: Iterable[str]) -> bool:
        """Whether all of `names` are there; then they count as saved now."""
        missing = self._store.damaged(found := list(names))
        if not missing:
            self.contents |= {name: self._store.load(name) for name in found}
        return not missing
