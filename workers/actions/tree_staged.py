"""Large files of a restoring, written before anything is changed: writing them is how they are verified, in one go."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator

from workers.actions.tree_entries import Entry, open_below
from workers.actions.tree_put import write_file


class Staged:
    """Files that wait beside their place, or in the nearest directory above it that is there.

    Args:
        prefix: of their names.
    """

    def __init__(self, prefix: str) -> None:
        self.names: set[str] = set()
        """The names that they have while they wait."""
        self._prefix = f"{prefix}{secrets.token_hex(4)}-"
        self._handles: dict[str, int] = {}
        self._waiting: dict[str, tuple[int, str]] = {}

    def add(self, entry: Entry, pieces: Iterator[bytes]) -> bool:
        """Whether it could be written; not, when that could fill the disk.

        Raises:
            ActionError: a piece is missing or damaged.
        """
        with contextlib.suppress(OSError):
            handle = self._nearest(entry.path)
            disk = os.fstatvfs(handle)
            if disk.f_bavail * disk.f_frsize > 2 * entry.size:
                name = f"{self._prefix}{len(self.names)}"
                self.names.add(name)
                write_file(name, handle, entry, pieces)
                self._waiting[entry.path] = (handle, name)
                return True
        return False

    def move(self, entry: Entry, name: str, handle: int) -> bool:
        """Whether the file of `entry` waited, and is `name` in the directory `handle` now."""
        waiting = self._waiting.pop(entry.path, None)
        if waiting is None:
            return False
        try:
            os.rename(waiting[1], name, src_dir_fd=waiting[0], dst_dir_fd=handle)
        except OSError as error:
            self._waiting[entry.path] = waiting
            if error.errno == errno.EXDEV:  # there is another file system by now
                return False
            raise
        return True

    def close(self) -> None:
        """Remove what was not needed."""
        for handle, name in self._waiting.values():
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=handle)
        for handle in self._handles.values():
            os.close(handle)

    def _nearest(self, path: str) -> int:
        above = path.rpartition("/")[0]
        while above not in self._handles:
            try:
                self._handles[above] = open_below(above)
            except (FileNotFoundError, NotADirectoryError):
                above = above.rpartition("/")[0]
        return self._handles[above]
