"""Looking at trees before anything is saved: what is there, how much it is, and what stands against saving it."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from executor.action import Run
from executor.model.errors import CONFIGURATION, TRANSIENT, ActionError
from workers.actions.file_state import failed
from workers.actions.tree_entries import Excluded, kind_of, open_below, shown

_DEEPEST = 200
_SAID = 10
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Moved(Exception):
    """Something changed while it was looked at; says what."""


class Found(NamedTuple):
    """One name, with its state when it was looked at."""

    name: str
    path: str
    state: os.stat_result


@dataclass
class Folder:
    """A directory, and what of it is to be saved; or, for a root that is a file, the directory above it."""

    path: str
    its: Found | None
    """The directory's own state; None when it is not part of what is saved."""
    inner: list[Found] = field(default_factory=list)


def roots_of(run: Run, paths: list[str], *, missing_ok: bool) -> tuple[list[str], list[str]]:
    """The real paths, without those that lie in another one; and which of them are not there.

    Raises:
        ActionError: a path is missing, or not one of those that may be saved here.
    """
    allowed = [os.path.realpath(root) for root in run.roots]
    roots: list[str] = []
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise ActionError(f"{path!r} is relative, or no path: paths are absolute", CONFIGURATION)
        real = os.path.realpath(path)
        if real == "/":
            raise ActionError(f"{path} is the whole file system: name the directories that matter", CONFIGURATION)
        if not any(_is_in(real, root) for root in allowed):
            leads = "" if real == path.rstrip("/") else f" (which leads to {real})"
            raise ActionError(
                f"cannot save {path}{leads}: this device takes snapshots below {', '.join(run.roots)} only "
                "(setting rollback.snapshot_roots)",
                CONFIGURATION,
            )
        roots.append(real)
    roots = [root for root in dict.fromkeys(roots) if not any(_is_in(root, each) and root != each for each in roots)]
    missing = [root for root in roots if not os.path.lexists(root)]
    if missing and not missing_ok:
        raise ActionError(
            f"cannot save {', '.join(missing)}: not there; with `missing_ok: true` restoring removes what appears",
            CONFIGURATION,
        )
    return sorted(roots), missing


def _is_in(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


class Scan:
    """Everything below the roots, as it is now; nothing is read yet.

    Raises:
        ActionError: something cannot be saved; the message names it.
        Moved: a directory went away meanwhile.
    """

    def __init__(self, run: Run, roots: list[str], excluded: Excluded) -> None:
        self.folders: list[Folder] = []
        self.count = 0
        self.bytes = 0
        self._run = run
        self._excluded = excluded
        self._reads_all = os.geteuid() == 0
        self._problems: list[str] = []
        self._shared: set[tuple[int, int]] = set()
        for root in roots:
            self._root(root)
        if self._problems:
            self._problems.sort()
            more = len(self._problems) - _SAID
            raise ActionError(
                "cannot save " + "; ".join(self._problems[:_SAID]) + (f"; and {more} more" if more > 0 else ""),
                CONFIGURATION,
            )

    def files(self) -> Iterator[Found]:
        for folder in self.folders:
            for found in folder.inner:
                if stat.S_ISREG(found.state.st_mode):
                    yield found

    def _is_first(self, state: os.stat_result) -> bool:
        """Whether it is the first name of a file with several."""
        key = (state.st_dev, state.st_ino)
        known = key in self._shared
        self._shared.add(key)
        return not known

    def _root(self, root: str) -> None:
        above, _, name = root.rpartition("/")
        try:
            handle = open_below(above)
        except OSError as error:
            raise failed("save", root, error) from error
        try:
            state = os.stat(name, dir_fd=handle, follow_symlinks=False)
            found = Found(name, root, state)
            self.count += 1
            if stat.S_ISDIR(state.st_mode):
                self._folder(handle, found, root, 1)
            elif self._admits(handle, found):
                self.folders.append(Folder(above, None, [found]))
        except FileNotFoundError as error:
            raise Moved(root) from error
        finally:
            os.close(handle)

    def _folder(self, above: int, its: Found, root: str, depth: int) -> None:
        if self._run.cancelled():
            self._run.proceed()
        if depth > _DEEPEST:
            raise ActionError(f"cannot save {shown(its.path)}: more than {_DEEPEST} directories deep", CONFIGURATION)
        try:
            handle = os.open(its.name, _FLAGS, dir_fd=above)
        except PermissionError as error:
            self._problems.append(_unreadable(its.path, error))
            return
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise Moved(its.path) from error
            raise failed("save", shown(its.path), error) from error
        try:
            folder = Folder(its.path, its)
            self.folders.append(folder)
            self._look_into(handle, folder, root, depth)
        finally:
            os.close(handle)

    def _look_into(self, handle: int, folder: Folder, root: str, depth: int) -> None:
        prefix = folder.path + "/"
        deeper = []
        with os.scandir(handle) as names:
            for each in names:
                name = each.name
                if self._excluded.any and self._excluded(root, prefix + name, name):
                    continue
                try:
                    found = Found(name, prefix + name, each.stat(follow_symlinks=False))
                except FileNotFoundError as error:
                    raise Moved(prefix + name) from error
                mode = found.state.st_mode
                if stat.S_ISDIR(mode):
                    deeper.append(found)
                elif self._admits(handle, found):
                    folder.inner.append(found)
        # one order, so that the list of an unchanged tree is the same
        folder.inner.sort(key=lambda found: found.name)
        self.count += len(folder.inner) + len(deeper)
        for found in sorted(deeper, key=lambda found: found.name):
            self._folder(handle, found, root, depth + 1)

    def _admits(self, handle: int, found: Found) -> bool:
        mode = found.state.st_mode
        regular = stat.S_ISREG(mode)
        if regular:
            if found.state.st_nlink == 1 or self._is_first(found.state):
                self.bytes += found.state.st_size
            if self._reads_all:
                return True
        if kind_of(mode) is None:
            what = "block" if stat.S_ISBLK(mode) else "character"
            self._problems.append(f"{shown(found.path)}: a {what} device; name it in `exclude`")
            return False
        if regular and not os.access(found.name, os.R_OK, dir_fd=handle):
            self._problems.append(_unreadable(found.path, PermissionError(errno.EACCES, "Permission denied")))
            return False
        return True


def _unreadable(path: str, error: OSError) -> str:
    return f"{shown(path)}: {error.strerror}; run the worker as a user that may read it, or name it in `exclude`"


def moving(path: str, tries: int) -> ActionError:
    """For what does not hold still."""
    return ActionError(
        f"cannot save {shown(path)}: it changed while it was read, {tries} times in a row; stop what writes it, or "
        "name it in `exclude`",
        TRANSIENT,
    )
