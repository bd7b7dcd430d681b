"""Writing packs: contents are appended, made durable together, and counted from the moment of their renaming."""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from executor.model.errors import RESOURCE, ActionError
from rollback.stores.packs import SUFFIX, Packs
from rollback.stores.records import head_of, shrink, table_of

PACK_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20


class _Growing:
    """One pack that is being written, under a name that nobody reads."""

    def __init__(self, root: Path) -> None:
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}{SUFFIX}"
        self.path = root / name
        self.temporary = root / f".{name}"
        self.size = 0
        self.rows: dict[bytes, int] = {}
        self._waiting = bytearray()
        self._file = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def append(self, name: bytes, head: bytes, stored: bytes) -> None:
        self.rows[name] = self.size
        self.size += len(head) + len(stored)
        self._waiting += head
        if len(stored) >= _BUFFER_BYTES:
            self._flush()
            _write_all(self._file, stored)
            return
        self._waiting += stored
        if len(self._waiting) >= _BUFFER_BYTES:
            self._flush()

    @property
    def unwritten(self) -> int:
        """Bytes that wait in memory."""
        return len(self._waiting)

    def finish(self) -> None:
        """All of it on the disk."""
        table = table_of(self.rows)
        self._waiting += table
        self.size += len(table)
        self._flush()
        os.fsync(self._file)
        self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _flush(self) -> None:
        _write_all(self._file, self._waiting)
        self._waiting = bytearray()


class PackBatch:
    """Takes contents from any number of threads. `finish` makes them count, `give_up` removes them.

    Args:
        room: raises `ActionError` unless so many further bytes may be written, besides so many that wait for it.
    """

    def __init__(self, packs: Packs, room: Callable[[int, int], None]) -> None:
        self._packs = packs
        self._room = room
        self._lock = threading.Lock()
        self._growing: _Growing | None = None
        self._full: list[_Growing] = []
        self._syncing: list[Future[None]] = []
        self._syncer = ThreadPoolExecutor(1, "rex-pack")
        self._added: set[bytes] = set()
        self._touched: set[str] = set()

    def add(self, content: bytes) -> str:
        """See `executor.action.Batch`. What is there already is compared, so that saving again mends what is damaged.

        Hashing and compressing happen in the calling thread, outside of any lock.
        """
        digest = hashlib.sha256(content)
        name = digest.digest()
        if name in self._added or self._is_there(name, content):
            return digest.hexdigest()
        codec, stored = shrink(content)
        head = head_of(name, len(content), codec, len(stored))
        with self._lock:
            if name not in self._added:
                self._room(len(head) + len(stored), self._growing.unwritten if self._growing else 0)
                try:
                    self._append(name, head, stored)
                except OSError as error:
                    raise cannot_save(len(content), self._packs.root, error) from error
                self._added.add(name)
        return digest.hexdigest()

    def refresh(self, names: Iterable[str]) -> bool:
        """Whether all of `names` are in packs; then they count as saved now."""
        touched = self._packs.holding(map(bytes.fromhex, names))
        if touched is None:
            return False
        self._touched |= touched
        return True

    def finish(self) -> None:
        """Everything durable, then visible."""
        try:
            self._packs.touch(self._touched)
            if self._growing is not None:
                self._close_growing()
            for future in self._syncing:
                future.result()
            for pack in self._full:
                pack.temporary.rename(pack.path)
            if self._full:
                sync_directory(self._packs.root)
        except OSError as error:
            self.give_up()
            size = sum(pack.size for pack in self._full)
            raise cannot_save(size, self._packs.root, error) from error
        finally:
            self._syncer.shutdown()

    def give_up(self) -> None:
        """Nothing of it counts, nothing stays."""
        self._syncer.shutdown()
        for pack in [*self._full, *([self._growing] if self._growing else [])]:
            pack.close()
            with suppress(OSError):
                pack.temporary.unlink()

    def _is_there(self, name: bytes, content: bytes) -> bool:
        place = self._packs.place(name)
        if place is None:
            return False
        try:
            if self._packs.load(name) != content:
                return False
        except ActionError:
            return False
        self._touched.add(place[0])
        return True

    def _append(self, name: bytes, head: bytes, stored: bytes) -> None:
        if self._growing is not None and self._growing.size + len(stored) > PACK_BYTES:
            self._close_growing()
        if self._growing is None:
            self._growing = _Growing(self._packs.root)
        self._growing.append(name, head, stored)

    def _close_growing(self) -> None:
        """The disk works on a full pack while the next one fills."""
        if self._growing is not None:
            self._full.append(self._growing)
            self._syncing.append(self._syncer.submit(self._growing.finish))
            self._growing = None


def cannot_save(size: int, where: Path, error: OSError) -> ActionError:
    return ActionError(
        f"cannot save {size} bytes for the way back in {where}: {error.strerror or error}; "
        "nothing was changed. Free space there, or set another directory",
        RESOURCE,
    )


def sync_directory(path: Path) -> None:
    """Make a new name in `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(fd: int, content: bytes | bytearray) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
