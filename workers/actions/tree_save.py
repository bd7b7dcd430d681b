"""Saving trees: files are read by handle, large ones in pieces by several threads, unchanged ones not at all."""

import contextlib
import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from executor.action import Batch, Run
from workers.actions.file_state import failed
from workers.actions.pace import Pace
from workers.actions.tree_entries import KIND, LINK, STAMP, Entry, Row, kind_of, open_below, read_xattrs, shown
from workers.actions.tree_scan import Folder, Found, Moved, Scan, moving

PIECE_BYTES = 1 << 20
"""Content of a large file is saved in pieces of this size: equal ones once, several at a time."""
TRIES = 3
_THREADS = 3
_AHEAD = 8
_SETTLED_NS = 2_000_000_000
"""A file that changed so shortly before it was read may change again without a trace in its times, whose grain is up to
2 s on some file systems; the next snapshot reads it again."""
_GRAIN_NS = 20_000_000
"""The clock behind the times of files moves every 1 to 10 ms: so soon after a change, a second one can be missed."""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TreeReader:
    """Makes the entries of a scan, and saves the bytes of its files.

    Args:
        known: entries of an earlier snapshot by path, whose contents are still in the store.
        threads: whether `batch` may be used by several threads.
    """

    def __init__(self, run: Run, batch: Batch, known: dict[str, Row], *, threads: bool) -> None:
        self.reused = 0
        self.rows: list[Row] = []
        self._run = run
        self._batch = batch
        self._known = known
        self._threads = ThreadPoolExecutor(_THREADS if threads else 1, "rex-read")
        self._shared: dict[tuple[int, int], str] = {}

    def read(self, scan: Scan) -> list[Row]:
        """The entries, every file read.

        Raises:
            ActionError: it cannot be read or saved, or does not hold still.
            Moved: the tree changed meanwhile; what was read counts when the batch is used again.
        """
        pace = Pace(self._run, scan.count)
        try:
            for folder in scan.folders:
                self._folder(folder, pace)
        finally:
            self._threads.shutdown(cancel_futures=True)
        return self.rows

    def _folder(self, folder: Folder, pace: Pace) -> None:
        if folder.its is not None and self._is_known(folder.its) and all(map(self._is_known, folder.inner)):
            for found in (folder.its, *folder.inner):
                self._reuse(found)
            pace.step(len(folder.inner) + 1)
            return
        try:
            handle = open_below(folder.path)
        except OSError as error:
            raise Moved(folder.path) from error
        try:
            if folder.its is not None:
                self._its(handle, folder.its)
            for found in folder.inner:
                if self._run.cancelled():
                    self._run.proceed()
                self._one(handle, found)
                pace.step(1, found.path)
            if folder.its is not None and _stamp(os.fstat(handle)) != _stamp(folder.its.state):
                raise Moved(folder.path)
        except FileNotFoundError as error:
            raise Moved(folder.path) from error
        except OSError as error:
            raise failed("save", shown(folder.path), error) from error
        finally:
            os.close(handle)

    def _is_known(self, found: Found) -> bool:
        """Whether nothing of it can have changed: the time of its last change, which nobody can set, is the same."""
        row = self._known.get(found.path)
        if row is None:
            return False
        its = found.state
        if row[STAMP] != [its.st_mtime_ns, its.st_size, its.st_ctime_ns, its.st_dev, its.st_ino, True]:
            return False
        return bool(its.st_nlink == 1 or row[KIND] != "f" or row[LINK] == self._first(found))

    def _first(self, found: Found) -> str:
        """Path of the first name of the same file; empty when this is it."""
        state = found.state
        first = self._shared.setdefault((state.st_dev, state.st_ino), found.path)
        return "" if first == found.path else first

    def _reuse(self, found: Found) -> None:
        self.rows.append(self._known[found.path])
        self.reused += 1

    def _its(self, handle: int, its: Found) -> None:
        self.rows.append(_entry(its.path, "d", its.state, time.time_ns(), xattrs=read_xattrs(handle)))

    def _one(self, handle: int, found: Found) -> None:
        if self._is_known(found):
            self._reuse(found)
            return
        now, kind = time.time_ns(), kind_of(found.state.st_mode)
        if kind == "f":
            self._file(handle, found)
            return
        link = os.readlink(found.name, dir_fd=handle) if kind == "l" else ""
        self.rows.append(_entry(found.path, kind or "o", found.state, now, link=link))

    def _file(self, handle: int, found: Found) -> None:
        if found.state.st_nlink > 1 and (first := self._first(found)):
            self.rows.append(_entry(found.path, "f", found.state, time.time_ns(), link=first))
            return
        with _opened(handle, found) as fd:
            for _ in range(TRIES):
                entry = self._read(fd, found)
                if entry is not None:
                    self.rows.append(entry)
                    return
        raise moving(found.path, TRIES)

    def _read(self, fd: int, found: Found) -> Entry | None:
        """The entry; None when the file changed under our hands."""
        now, before = time.time_ns(), os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise Moved(found.path)
        xattrs = read_xattrs(fd)
        content = self._pieces(fd, before.st_size)
        after = os.fstat(fd)
        if content is None or _stamp(before) != _stamp(after):
            return None
        if after.st_ctime_ns > now - _GRAIN_NS and self._pieces(fd, after.st_size) != content:
            return None
        return _entry(found.path, "f", before, now, content=content, xattrs=xattrs)

    def _pieces(self, fd: int, size: int) -> list[str] | None:
        """The names of the saved pieces; None when there are not `size` bytes."""
        if size <= PIECE_BYTES:
            content = os.pread(fd, size + 1, 0)
            if len(content) != size:
                return None
            return [self._batch.add(content)] if size else []
        return self._many_pieces(fd, size)

    def _many_pieces(self, fd: int, size: int) -> list[str] | None:
        names: list[str] = []
        waiting: deque[Future[str | None]] = deque()
        for offset in range(0, size, PIECE_BYTES):
            if len(waiting) >= _AHEAD and not _took(waiting, names):
                return None
            if self._run.cancelled():
                self._run.proceed()
            waiting.append(self._threads.submit(self._piece, fd, offset, min(PIECE_BYTES, size - offset)))
        while waiting:
            if not _took(waiting, names):
                return None
        return None if os.pread(fd, 1, size) else names

    def _piece(self, fd: int, offset: int, size: int) -> str | None:
        content = os.pread(fd, size, offset)
        return self._batch.add(content) if len(content) == size else None


def _took(waiting: "deque[Future[str | None]]", names: list[str]) -> bool:
    name = waiting.popleft().result()
    if name is None:
        for future in waiting:  # nobody may still read when the file is closed
            future.exception()
        return False
    names.append(name)
    return True


def _stamp(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _entry(
    path: str,
    kind: str,
    state: os.stat_result,
    now: int,
    *,
    content: list[str] | None = None,
    link: str = "",
    xattrs: dict[str, str] | None = None,
) -> Entry:
    changed = max(state.st_mtime_ns, state.st_ctime_ns)
    return Entry(
        path,
        kind,
        stat.S_IMODE(state.st_mode),
        state.st_uid,
        state.st_gid,
        state.st_atime_ns,
        state.st_mtime_ns,
        state.st_size,
        state.st_ctime_ns,
        state.st_dev,
        state.st_ino,
        changed < now - _SETTLED_NS,
        content or [],
        link,
        xattrs or {},
    )


@contextlib.contextmanager
def _opened(handle: int, found: Found) -> Iterator[int]:
    """Open for reading, without leaving a trace in the time of the last access where that is allowed."""
    try:
        fd = os.open(found.name, _FLAGS | os.O_NOATIME, dir_fd=handle)
    except PermissionError:
        fd = os.open(found.name, _FLAGS, dir_fd=handle)
    try:
        yield fd
    finally:
        os.close(fd)
