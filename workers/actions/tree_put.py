"""Putting single names back, each by the handle of its directory, so that no symbolic link can lead elsewhere."""

import base64
import contextlib
import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence, Set

from workers.actions.tree_entries import Entry, read_xattrs

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_FILE_RANGE_WRITE = 2
_AHEAD = 16
_BLOCK_BYTES = 1 << 20
_ZEROS = bytes(_BLOCK_BYTES)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(name: str, handle: int) -> Iterator[int]:
    """A file or directory, open for reading; the time of its last access stays where that is allowed."""
    try:
        fd = os.open(name, _READ | os.O_NOATIME, dir_fd=handle)
    except PermissionError:
        fd = os.open(name, _READ, dir_fd=handle)
    try:
        yield fd
    finally:
        os.close(fd)


def same_bytes(name: str, handle: int, entry: Entry, piece_bytes: int, go_on: Callable[[], None]) -> bool:
    """Whether the file has the bytes of `entry`: read whole, unless its size says it already."""
    try:
        with opened(name, handle) as fd:
            if os.fstat(fd).st_size != entry.size:
                return False
            for number, piece in enumerate(entry.content):
                go_on()
                content = os.pread(fd, piece_bytes, number * piece_bytes)
                if hashlib.sha256(content).hexdigest() != piece:
                    return False
    except PermissionError:
        return False
    return True


def write_file(temporary: str, handle: int, entry: Entry, pieces: Iterator[bytes]) -> None:
    """Write the file `temporary` as `entry` says; it is removed again when that fails."""
    fd = os.open(temporary, _MAKE, 0o600, dir_fd=handle)
    try:
        try:
            _write(fd, pieces, entry.size)
            set_attributes(fd, os.fstat(fd), entry, fresh=True)
        finally:
            os.close(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=handle)
        raise


def remove_begun(handle: int, prefix: str, but: Set[str]) -> None:
    """Delete the temporary files beside a root that a killed restoring left."""
    with os.scandir(handle) as names:
        left = [each.name for each in names if each.name.startswith(prefix) and each.name not in but]
    for name in left:
        os.unlink(name, dir_fd=handle)


def _write(fd: int, pieces: Iterator[bytes], size: int) -> None:
    hole, begun = False, 0
    for number, piece in enumerate(pieces, 1):
        if number % _AHEAD == 0:
            begun = _begin_writing(fd, begun)
        hole = len(piece) == _BLOCK_BYTES and piece == _ZEROS
        if hole:  # what is only zeros takes no room
            os.lseek(fd, len(piece), os.SEEK_CUR)
            continue
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]
    if hole:
        os.ftruncate(fd, size)


def _begin_writing(fd: int, start: int) -> int:
    """Let the disk begin with what was written since `start`, so that the end has less to wait for."""
    end = os.lseek(fd, 0, os.SEEK_CUR)
    if hasattr(_LIBC, "sync_file_range"):
        _LIBC.sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(end - start), _SYNC_FILE_RANGE_WRITE)
    return end


def set_attributes(fd: int, now: os.stat_result, entry: Entry, *, fresh: bool = False) -> bool:
    """Owner, extended attributes, mode and times of an open file or directory; whether anything was different.

    Args:
        now: its state.
        fresh: it was just made, and has no attributes.

    Raises:
        OSError: something cannot be given.
    """
    changed = False
    if (now.st_uid, now.st_gid) != (entry.uid, entry.gid):
        os.fchown(fd, entry.uid, entry.gid)
        changed = True
    if entry.xattrs or not fresh:
        changed |= _set_xattrs(fd, entry, {} if fresh else read_xattrs(fd))
    # after the owner, for a change of it takes set-user-id bits away
    if changed or stat.S_IMODE(now.st_mode) != entry.mode:
        os.fchmod(fd, entry.mode)
        changed = True
    if changed or now.st_mtime_ns != entry.mtime_ns:
        os.utime(fd, ns=(entry.atime_ns, entry.mtime_ns))
        changed = True
    return changed


def _set_xattrs(fd: int, entry: Entry, now: dict[str, str]) -> bool:
    if now == entry.xattrs:
        return False
    for name in now.keys() - entry.xattrs.keys():
        os.removexattr(fd, name)
    for name, value in entry.xattrs.items():
        if now.get(name) == value:
            continue
        try:
            os.setxattr(fd, name, base64.b64decode(value))
        except OSError as error:
            # labels of a security module follow its own rules
            if not name.startswith("security.") or error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP):
                raise
    return True


def write_link(temporary: str, handle: int, entry: Entry) -> None:
    """Make the symbolic link `temporary` as `entry` says."""
    os.symlink(entry.link, temporary, dir_fd=handle)
    set_link_attributes(temporary, handle, os.stat(temporary, dir_fd=handle, follow_symlinks=False), entry)


def set_link_attributes(name: str, handle: int, now: os.stat_result, entry: Entry) -> bool:
    """Owner and times of a symbolic link; whether anything was different."""
    changed = False
    if (now.st_uid, now.st_gid) != (entry.uid, entry.gid):
        os.chown(name, entry.uid, entry.gid, dir_fd=handle, follow_symlinks=False)
        changed = True
    if changed or now.st_mtime_ns != entry.mtime_ns:
        os.utime(name, ns=(entry.atime_ns, entry.mtime_ns), dir_fd=handle, follow_symlinks=False)
        changed = True
    return changed


def settle(handles: Sequence[int]) -> None:
    """Make what was written on the file systems of `handles` survive a power cut.

    One call for each file system, when all is in place, instead of an fsync for each of maybe 10,000 files and their
    directories: those would cost minutes on a disk, and buy nothing, for until the restoring has reported its end it is
    done again after a power cut, and finds by their bytes which files are not whole.
    """
    for handle in handles:
        if not hasattr(_LIBC, "syncfs"):
            os.sync()
            return
        if _LIBC.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
