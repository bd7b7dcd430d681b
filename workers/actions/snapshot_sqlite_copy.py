"""Copies of SQLite databases, through SQLite's backup; and a database put in place as a file."""

import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from executor.action import Run
from executor.model.errors import CONFIGURATION, PERMANENT, RESOURCE, TRANSIENT, ActionError, Classification
from workers.actions.atomic import prefix_of, remove_leftovers, sync_directory
from workers.actions.file_state import failed

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database. Of another database it would destroy the new one."""
_PAGES = 256
_STEP_S = 0.05
_CHECK_EVERY = 100_000
"""Steps of SQLite's virtual machine, some milliseconds."""
_OWN_HEADER = ((18, 20), (24, 28), (40, 44), (92, 100))
"""Bytes that tell of the file and not of its content: journal mode, counters of changes, version of the library."""
_KINDS: dict[int, tuple[str, Classification]] = {
    sqlite3.SQLITE_BUSY: ("it is locked by another process", TRANSIENT),
    sqlite3.SQLITE_LOCKED: ("it is locked by another connection", TRANSIENT),
    sqlite3.SQLITE_NOTADB: ("it is no SQLite database, or an encrypted one", CONFIGURATION),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", PERMANENT),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened; the worker needs to write in its directory", CONFIGURATION),
    sqlite3.SQLITE_READONLY: ("it may not be written", CONFIGURATION),
    sqlite3.SQLITE_PERM: ("it may not be opened", CONFIGURATION),
    sqlite3.SQLITE_FULL: ("its disk, or that of temporary files (TMPDIR), is full", RESOURCE),
}


class Unreadable(ActionError):
    """What lies there is no database that SQLite can work with."""


@dataclass(frozen=True)
class Waiting:
    """For whom, and how long, locks of others are waited for."""

    run: Run
    busy_s: float


class Database:
    """A connection to the database at `path`; errors name it.

    Raises:
        ActionError: it cannot be opened, is locked for too long, or damaged.
    """

    def __init__(self, path: str | Path, waiting: Waiting, *, writable: bool) -> None:
        self.path = str(path)
        self.waiting = waiting
        mode = "rw" if writable and os.access(path, os.W_OK) else "ro"
        with told(self.path, waiting.run):
            timeout = min(waiting.busy_s, waiting.run.remaining_s())
            self._connection = _connect(f"file:{quote(self.path)}?mode={mode}", timeout)
        self._connection.set_progress_handler(waiting.run.cancelled, _CHECK_EVERY)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(sqlite3.Error):  # what went wrong before is what counts
            self._connection.close()

    def size(self) -> int:
        """Bytes of all its pages."""
        return self._number("page_count") * self._number("page_size")

    def is_wal(self) -> bool:
        return self._ask("PRAGMA journal_mode") == "wal"

    def copy_to(self, place: Path) -> None:
        """Write one committed state of it to the new file `place`."""
        with told(self.path, self.waiting.run):
            # a read transaction around the backup: writers of others would make it begin again and again
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            with _open_file(place) as target:
                self._copy(self._connection, target)
            self._connection.execute("ROLLBACK")

    def overwrite_with(self, copy: Path, *, wal: bool) -> None:
        """Make its content that of `copy`, in one transaction; `wal`: the journal mode that it had."""
        with told(self.path, self.waiting.run), _open_copy(copy) as source:
            if self.is_wal() and self._number("page_size") != source.execute("PRAGMA page_size").fetchone()[0]:
                self._ask("PRAGMA journal_mode=DELETE")  # the page size cannot change in WAL mode
            # short, so that each step looks at the deadline; `_copy` counts the waiting itself
            self._connection.execute(f"PRAGMA busy_timeout={int(_STEP_S * 1000)}")
            self.waiting.run.proceed()
            self._copy(source, self._connection)
        if self.is_wal() != wal:
            try:
                self._ask(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
            except ActionError as error:  # others are connected: the content is right in either mode
                self.waiting.run.log.warning("%s keeps its journal mode: %s", self.path, error)

    def _copy(self, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        begun = time.monotonic()

        def watch(status: int, _remaining: int, _total: int) -> None:
            nonlocal begun
            self.waiting.run.proceed()
            if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                begun = time.monotonic()
            elif time.monotonic() - begun > self.waiting.busy_s:
                raise ActionError(
                    f"{self.path} was locked by others for {self.waiting.busy_s:g} s; nothing was changed. Stop them, "
                    "or give a longer busy_timeout",
                    TRANSIENT,
                )

        source.backup(target, pages=_PAGES, progress=watch, sleep=_STEP_S)

    def _number(self, pragma: str) -> int:
        return int(str(self._ask(f"PRAGMA {pragma}")))

    def _ask(self, statement: str) -> object:
        with told(self.path, self.waiting.run):
            found: tuple[object] = self._connection.execute(statement).fetchone()
            return found[0]


def _connect(uri: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)


@contextmanager
def _open_file(place: Path) -> Iterator[sqlite3.Connection]:
    connection = _connect(f"file:{quote(str(place))}?mode=rwc", 0)
    try:
        connection.execute("PRAGMA synchronous=OFF")  # a copy that a power cut takes is made again
        yield connection
    finally:
        connection.close()


@contextmanager
def _open_copy(place: Path) -> Iterator[sqlite3.Connection]:
    connection = _connect(f"file:{quote(str(place))}?mode=ro&immutable=1", 0)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def told(path: str, run: Run) -> Iterator[None]:
    """SQLite's errors as ours, with the path and what can be done.

    Raises:
        Unreadable: no database, or a damaged one.
        ActionError: any other error of SQLite.
    """
    try:
        yield
    except sqlite3.Error as error:
        if run.cancelled():
            run.proceed()  # SQLite was told to break off
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        what, kind = _KINDS.get(code, (str(error), TRANSIENT))
        words = f"the database {path}: {what} ({error})"
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise Unreadable(words, kind) from error
        raise ActionError(words, kind) from error


def refuse_damaged_copy(run: Run, copy: Path, path: str) -> None:
    """Let SQLite check a copy of the database at `path`.

    Raises:
        Unreadable: it is damaged.
    """
    with told(path, run), _open_copy(copy) as connection:
        connection.set_progress_handler(run.cancelled, _CHECK_EVERY)
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise Unreadable(f"the database {path} is damaged: {'; '.join(found)[:500]}", PERMANENT)


def same_content(one: Path, other: Path) -> bool:
    """Whether two copies hold the same pages."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        if _header(first.read(100)) != _header(second.read(100)):
            return False
        while block := first.read(1 << 20):
            if block != second.read(1 << 20):
                return False
    return True


def _header(block: bytes) -> bytes:
    kept = bytearray(block)
    for begin, end in _OWN_HEADER:
        kept[begin:end] = bytes(end - begin)
    return bytes(kept)


def put_in_place(run: Run, copy: Path, path: str, *, mode: int, owner: tuple[int, int]) -> None:
    """Make `copy` the file at `path` by a rename, without anything that SQLite left beside the former one.

    Raises:
        ActionError: it cannot be written, or given its owner.
    """
    place, prefix = Path(path), prefix_of(run.key)
    temporary = place.parent / f"{prefix}{secrets.token_hex(4)}"
    remove_leftovers(path, prefix)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file, copy.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            found = os.fstat(handle)
            if (found.st_uid, found.st_gid) != owner:
                os.fchown(handle, *owner)
            os.fchmod(handle, mode)
            os.fsync(handle)
        run.proceed()
        _remove_companions(path)
        temporary.replace(place)
        sync_directory(place.parent)
    except OSError as error:
        raise failed("write the database", path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def put_aside(path: str) -> None:
    """Remove the database and what SQLite keeps beside it.

    Raises:
        ActionError: it cannot be removed.
    """
    try:
        Path(path).unlink(missing_ok=True)
        _remove_companions(path)
        sync_directory(Path(path).parent)
    except OSError as error:
        raise failed("remove the database", path, error) from error


def _remove_companions(path: str) -> None:
    for end in COMPANIONS:
        Path(f"{path}{end}").unlink(missing_ok=True)
