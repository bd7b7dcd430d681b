"""Restoring trees: what is as it was stays, what differs is put back whole by rename, what was added goes.

Every name is reached by the handle of its directory, opened without following links. May be broken off anywhere and
done again: each file is either still to be done, or complete.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator

from executor.action import Json, Run, Undo
from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut
from workers.actions.pace import Pace
from workers.actions.tree_entries import Entry, Excluded, Manifest, kind_of, open_below, shown
from workers.actions.tree_needed import Needed
from workers.actions.tree_outcome import Outcome
from workers.actions.tree_put import (
    opened,
    remove_begun,
    same_bytes,
    set_attributes,
    set_link_attributes,
    settle,
    write_file,
    write_link,
)
from workers.actions.tree_save import PIECE_BYTES
from workers.actions.tree_staged import Staged

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeRestore:
    """One restoring of one manifest.

    Args:
        token: begins the names of temporary files; what a killed restoring left is found by it, and removed.
    """

    def __init__(self, run: Run, manifest: Manifest, undo: Undo, token: str) -> None:
        self._run = run
        self._manifest = manifest
        self._undo = undo
        self._prefix = f".rex-{token}-"
        self._mine = f"{secrets.token_hex(4)}-"
        self._excluded = Excluded(manifest.exclude)
        self._outcome = Outcome()
        self._inner: dict[str, list[Entry]] = {}
        self._by_path = {entry.path: entry for entry in manifest.entries}
        for entry in manifest.entries:
            self._inner.setdefault(os.path.dirname(entry.path), []).append(entry)  # noqa: PTH120 - surrogates, speed
        self._staged = Staged(self._prefix)
        self._placed: set[tuple[int, int]] = set()
        self._root = ""

    def restore(self) -> Json:
        """Do it; what was done.

        Raises:
            ActionError: something could not be restored; the rest is.
            ChangedSince: others changed something since, and it was left; the rest is restored.
        """
        handles: list[int] = []
        try:
            self._needed = Needed(self._run, self._manifest.entries, self._staged if self._undo.quiet is None else None)
            for entry, reason in self._needed.lost:
                self._outcome.failed[entry.path] = reason
            self._pace = Pace(self._run, len(self._manifest.entries))
            for root in self._manifest.roots:
                self._restore_root(root, handles)
            settle(handles)
        finally:
            self._staged.close()
            for handle in handles:
                os.close(handle)
        return self._outcome.told(self._run, self._manifest.roots)

    def _restore_root(self, root: str, handles: list[int]) -> None:
        above, _, name = root.rpartition("/")
        self._root = root
        entry = self._by_path.get(root)
        with self._noting(root):
            try:
                handle = open_below(above, make=entry is not None)
            except FileNotFoundError:
                return  # it was not there, and its directory is not either
            handles.append(handle)
            remove_begun(handle, self._prefix, self._staged.names)
            now, its = _state(handle, name), os.fstat(handle)
            if entry is not None:
                self._one(handle, its, name, entry, now)
            elif now is not None:
                self._take_away(handle, name, root, now)

    @contextlib.contextmanager
    def _noting(self, path: str) -> Iterator[None]:
        """What one path suffers does not stop the others."""
        try:
            yield
        except OSError as error:
            self._outcome.failed[path] = error.strerror or str(error)
        except (ActionCancelled, ActionTimedOut):
            raise
        except ActionError as error:  # what was whole when it was verified is damaged now
            self._outcome.failed[path] = str(error)

    def _one(self, handle: int, above: os.stat_result, name: str, entry: Entry, now: os.stat_result | None) -> None:
        """Put one name right, in the directory `handle` whose state was `above`; `now` is its own, None: gone."""
        with self._noting(entry.path):
            self._pace.step(1, entry.path)
            if entry.kind == "o" or (entry.path in self._outcome.failed and entry.kind != "d"):
                return
            if now is None and self._is_foreign(above):
                self._outcome.changed.append(entry.path)
                return
            if now is not None and kind_of(now.st_mode) != entry.kind:
                if not self._take_away(handle, name, entry.path, now):
                    return
                now = None
            if entry.kind == "d":
                self._directory(handle, name, entry, now)
            elif entry.kind == "l":
                self._link(handle, name, entry, now)
            elif entry.link:
                self._second_name(handle, name, entry, now)
            else:
                self._file(handle, name, entry, now)

    def _directory(self, handle: int, name: str, entry: Entry, now: os.stat_result | None) -> None:
        if now is None:
            self._run.proceed()
            os.mkdir(name, 0o700, dir_fd=handle)
            self._outcome.restored += 1
        fd = os.open(name, _ENTER, dir_fd=handle)
        try:
            its = os.fstat(fd)
            foreign = now is not None and self._is_foreign(its)
            if os.geteuid() != 0 and its.st_mode & 0o700 != 0o700:
                self._run.proceed()
                os.fchmod(fd, 0o700)  # what it was follows when all inside is done
            self._inside(fd, its if now is not None else None, entry)
            if not foreign:
                # compared with its state now: what was done inside moved its times
                set_attributes(fd, os.fstat(fd), entry)
            elif (its.st_mode, its.st_uid, its.st_gid) != (now and entry.mode | stat.S_IFDIR, entry.uid, entry.gid):
                self._outcome.changed.append(entry.path)
        finally:
            os.close(fd)

    def _inside(self, fd: int, its: os.stat_result | None, entry: Entry) -> None:
        """What is in a directory; `its` is the directory's state, None: it was just made."""
        with os.scandir(fd) as names:
            there = {each.name: each.stat(follow_symlinks=False) for each in names}
        wanted = {inner.path.rpartition("/")[2]: inner for inner in self._inner.get(entry.path, ())}
        for name, now in there.items():
            path = f"{entry.path}/{name}"
            if (
                name in wanted
                or name in self._staged.names
                or (not name.startswith(self._prefix) and self._excluded(self._root, path, name))
            ):
                continue
            with self._noting(path):
                self._take_away(fd, name, path, now)
        above = os.fstat(fd) if its is None else its
        for name, inner in wanted.items():
            self._one(fd, above, name, inner, there.get(name))

    def _file(self, handle: int, name: str, entry: Entry, now: os.stat_result | None) -> None:
        if now is None or not self._is_whole(handle, name, entry, now):
            if now is not None and self._is_foreign(now):
                self._outcome.changed.append(entry.path)
                return
            self._put(handle, name, lambda temporary: self._write(temporary, handle, entry))
        elif not self._needed.is_untouched(entry, now):
            self._repair(handle, name, entry, now)
        if now is not None and now.st_nlink > 1:
            self._placed.add(_identity(os.stat(name, dir_fd=handle, follow_symlinks=False)))

    def _write(self, temporary: str, handle: int, entry: Entry) -> None:
        if not self._staged.move(entry, temporary, handle):
            write_file(temporary, handle, entry, self._needed.pieces(entry))

    def _is_whole(self, handle: int, name: str, entry: Entry, now: os.stat_result) -> bool:
        """Whether the bytes are those that it had, and it shares them with no file that has its own."""
        if now.st_nlink > 1 and _identity(now) in self._placed:
            return False
        if self._needed.is_untouched(entry, now):
            return True
        if now.st_size != entry.size:
            return False
        return same_bytes(name, handle, entry, PIECE_BYTES, self._go_on)

    def _repair(self, handle: int, name: str, entry: Entry, now: os.stat_result) -> None:
        with opened(name, handle) as fd:
            its = os.fstat(fd)
            if self._is_foreign(now) and not _is_like(its, entry):
                self._outcome.changed.append(entry.path)
                return
            self._run.proceed()
            if set_attributes(fd, its, entry):
                self._outcome.repaired += 1

    def _second_name(self, handle: int, name: str, entry: Entry, now: os.stat_result | None) -> None:
        """A further name of a file that was restored before it."""
        if entry.link in self._outcome.failed:
            self._outcome.failed[entry.path] = f"the same file as {shown(entry.link)}, which could not be"
            return
        above, _, first = entry.link.rpartition("/")
        source = open_below(above)
        try:
            wanted = os.stat(first, dir_fd=source, follow_symlinks=False)
            same = now is not None and _identity(now) == _identity(wanted)
            if entry.link in self._outcome.changed or (now is not None and not same and self._is_foreign(now)):
                self._outcome.changed.append(entry.path)
                return
            if same:
                return
            self._put(
                handle,
                name,
                lambda temporary: os.link(
                    first, temporary, src_dir_fd=source, dst_dir_fd=handle, follow_symlinks=False
                ),
            )
            self._placed.add(_identity(wanted))
        finally:
            os.close(source)

    def _link(self, handle: int, name: str, entry: Entry, now: os.stat_result | None) -> None:
        same = now is not None and os.readlink(name, dir_fd=handle) == entry.link
        if now is not None and self._is_foreign(now) and not (same and _is_like(now, entry, mode=False)):
            self._outcome.changed.append(entry.path)
        elif now is None or not same:
            self._put(handle, name, lambda temporary: write_link(temporary, handle, entry))
        elif not _is_like(now, entry, mode=False):
            self._run.proceed()
            set_link_attributes(name, handle, now, entry)
            self._outcome.repaired += 1

    def _put(self, handle: int, name: str, make: Callable[[str], None]) -> None:
        temporary = f"{self._prefix}{self._mine}{self._outcome.restored}"
        self._run.proceed()
        make(temporary)
        try:
            self._run.proceed()
            os.rename(temporary, name, src_dir_fd=handle, dst_dir_fd=handle)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=handle)
            raise
        self._outcome.restored += 1

    def _take_away(self, handle: int, name: str, path: str, now: os.stat_result) -> bool:
        """Remove what was not there, with all that is in it; whether it is gone."""
        left = False
        if stat.S_ISDIR(now.st_mode):
            left = self._take_away_inside(handle, name, path)
        if self._is_foreign(now) and not name.startswith(self._prefix):
            self._outcome.changed.append(path)
            return False
        if left:
            return False
        self._run.proceed()
        if stat.S_ISDIR(now.st_mode):
            os.rmdir(name, dir_fd=handle)
        else:
            os.unlink(name, dir_fd=handle)
        self._outcome.removed += 1
        return True

    def _take_away_inside(self, handle: int, name: str, path: str) -> bool:
        """Whether something stays in the directory: what is excluded, and what others put there."""
        left = False
        fd = os.open(name, _ENTER, dir_fd=handle)
        try:
            with os.scandir(fd) as names:
                there = [(each.name, each.stat(follow_symlinks=False)) for each in names]
            for inner, now in there:
                its = f"{path}/{inner}"
                if self._excluded(self._root, its, inner):
                    left = True
                    continue
                gone = False
                with self._noting(its):
                    gone = self._take_away(fd, inner, its, now)
                left |= not gone
        finally:
            os.close(fd)
        return left

    def _go_on(self) -> None:
        if self._run.cancelled():
            self._run.proceed()

    def _is_foreign(self, state: os.stat_result) -> bool:
        """Whether others changed it: after the run had ended, before anybody took it back."""
        quiet = self._undo.quiet
        return quiet is not None and not self._undo.force and quiet[0] < state.st_ctime < quiet[1]


def _state(handle: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _is_like(now: os.stat_result, entry: Entry, *, mode: bool = True) -> bool:
    return (now.st_uid, now.st_gid, now.st_mtime_ns) == (entry.uid, entry.gid, entry.mtime_ns) and (
        not mode or stat.S_IMODE(now.st_mode) == entry.mode
    )
