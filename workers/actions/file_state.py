"""A regular file as it is: bytes, mode, owner, times, extended attributes; and what cannot be handled, refused."""

import base64
import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.action import Json
from executor.model.errors import CONFIGURATION, ActionError
from executor.policies.classification import classify

MAX_FILE_BYTES = 64 * 1024 * 1024
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link that leads nowhere"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


@dataclass(frozen=True)
class State:
    """One regular file, whole."""

    content: bytes = field(repr=False)
    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    links: int = 1
    xattrs: dict[str, bytes] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def as_json(self) -> Json:
        """Everything but the bytes; times as text, for JSON numbers are not exact everywhere."""
        return {
            "sha256": self.sha256,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "atime_ns": str(self.atime_ns),
            "mtime_ns": str(self.mtime_ns),
            "xattrs": {name: base64.b64encode(value).decode() for name, value in self.xattrs.items()},
        }


def from_json(said: Json, content: bytes) -> State:
    """The state that `State.as_json` described."""
    return State(
        content,
        said["mode"],
        said["uid"],
        said["gid"],
        int(said["atime_ns"]),
        int(said["mtime_ns"]),
        xattrs={name: base64.b64decode(value) for name, value in said["xattrs"].items()},
    )


def real_path(path: str) -> str:
    """`path` with its symbolic links resolved.

    Raises:
        ActionError: it is relative, or no path at all.
    """
    if "\0" in path or not path:
        raise ActionError(f"{path!r} is no path", CONFIGURATION)
    if not path.startswith("/"):
        raise ActionError(f"{path!r} is relative: paths are absolute", CONFIGURATION)
    if path.endswith("/"):
        raise ActionError(f"{path!r} names a directory, not a file", CONFIGURATION)
    return os.path.realpath(path)


def read_state(path: str) -> State | None:
    """The file at `path`, None where nothing is.

    Raises:
        ActionError: it is no regular file, too large to be kept, or cannot be read.
    """
    try:
        refuse_special(path, os.lstat(path))  # before opening: opening a device or a pipe can do harm
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed("read", path, error) from error
    with os.fdopen(handle, "rb") as file:
        try:
            found = os.fstat(handle)
            refuse_special(path, found)
            content = file.read(MAX_FILE_BYTES + 1)
            if len(content) > MAX_FILE_BYTES:
                raise ActionError(
                    f"{path} has {found.st_size} bytes; more than {MAX_FILE_BYTES} cannot be kept for the way back",
                    CONFIGURATION,
                )
            return State(
                content,
                stat.S_IMODE(found.st_mode),
                found.st_uid,
                found.st_gid,
                found.st_atime_ns,
                found.st_mtime_ns,
                found.st_nlink,
                _xattrs(handle),
            )
        except OSError as error:
            raise failed("read", path, error) from error


def refuse_special(path: str, found: os.stat_result) -> None:
    """Raise `ActionError` unless it is a regular file."""
    if stat.S_ISREG(found.st_mode):
        return
    kind = next((name for test, name in _KINDS if test(found.st_mode)), "no regular file")
    raise ActionError(f"{path} is {kind}, not a regular file", CONFIGURATION)


def failed(what: str, path: str | Path, error: OSError) -> ActionError:
    """What was tried with which path, and what the system answered."""
    return ActionError(f"cannot {what} {path}: {error.strerror or error}", classify(error))


def _xattrs(handle: int) -> dict[str, bytes]:
    if not hasattr(os, "listxattr"):
        return {}
    found: dict[str, bytes] = {}
    with contextlib.suppress(OSError):  # the file system has none
        for name in os.listxattr(handle):
            found[name] = os.getxattr(handle, name)
    return found


def set_attributes(handle: int, state: State, path: str, mode: int | None = None) -> None:
    """Give an open file owner, mode and extended attributes of `state`.

    Raises:
        ActionError: the owner cannot be given: the file would silently change hands.
    """
    now = os.fstat(handle)
    if (now.st_uid, now.st_gid) != (state.uid, state.gid):
        try:
            os.fchown(handle, state.uid, state.gid)
        except PermissionError as error:
            raise ActionError(
                f"cannot keep the owner {state.uid}:{state.gid} of {path}: {error.strerror}; run the worker as root "
                "or as that user",
                CONFIGURATION,
            ) from error
    for name, value in state.xattrs.items():
        _set_xattr(handle, name, value)
    os.fchmod(handle, state.mode if mode is None else mode)


def _set_xattr(handle: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(handle, name, value)
    except OSError as error:
        # labels of a security module that only the system may set, or a file system without attributes
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP):
            raise


def umask_mode() -> int:
    """The mode of a new file: reading the umask by setting it would change it for every other thread."""
    status: Any = Path("/proc/self/status")
    with contextlib.suppress(OSError):
        for line in status.read_text().splitlines():
            if line.startswith("Umask:"):
                return 0o666 & ~int(line.split()[1], 8)
    return 0o644
