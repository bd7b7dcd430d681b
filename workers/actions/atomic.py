"""Putting a file in place: a temporary file beside it, fsync, rename, fsync of the directory. Whole, or not at all."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from executor.model.errors import TRANSIENT, ActionError
from workers.actions.file_state import State, failed, set_attributes, umask_mode


def put(
    path: str,
    content: bytes,
    *,
    prefix: str,
    before: State | None,
    mode: int | None = None,
    like: State | None = None,
    proceed: Callable[[], None],
) -> None:
    """Write `content` to `path`.

    Args:
        prefix: of the temporary file's name, from `prefix_of`; what a killed attempt leaves is found again by it.
        before: what must still be there right before the rename; None: nothing may be there.
        mode: None keeps that of `like`, or follows the umask.
        like: whose owner, mode, attributes and times it gets; None: a new file.
        proceed: asked right before the effect.

    Raises:
        ActionError: it could not be written, or changed meanwhile; nothing was changed.
    """
    place = Path(path)
    temporary = place.parent / f"{prefix}{secrets.token_hex(4)}"
    keep = like or before
    try:
        _write(temporary, content, path, keep, mode)
        if like is not None:
            os.utime(temporary, ns=(like.atime_ns, like.mtime_ns))
        proceed()
        if before is None:
            _link(temporary, place)
        else:
            _refuse_changed(place, before)
            temporary.replace(place)
        sync_directory(place.parent)
    except OSError as error:
        raise failed("write", path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write(temporary: Path, content: bytes, path: str, keep: State | None, mode: int | None) -> None:
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        if keep is not None:
            set_attributes(handle, keep, path, mode)
        else:
            os.fchmod(handle, umask_mode() if mode is None else mode)
        os.fsync(handle)


def _link(temporary: Path, place: Path) -> None:
    """Put it there only if nothing is: a rename would replace what came meanwhile."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(place):
            raise FileExistsError(17, "File exists", str(place)) from None
        temporary.replace(place)


def _refuse_changed(place: Path, before: State) -> None:
    """What was compared is older than this moment: nothing that others wrote since may be lost."""
    now = place.lstat()
    if (now.st_mtime_ns, now.st_size) != (before.mtime_ns, len(before.content)):
        raise ActionError(f"{place} was changed by someone else meanwhile", TRANSIENT)


def remove(path: str, *, before: State, proceed: Callable[[], None]) -> None:
    """Delete a file for good.

    Args:
        before: what must still be there right before it is deleted.
        proceed: asked right before the effect.

    Raises:
        ActionError: it could not be deleted, or changed meanwhile; nothing was changed.
    """
    place = Path(path)
    proceed()
    try:
        _refuse_changed(place, before)
        place.unlink()
        sync_directory(place.parent)
    except OSError as error:
        raise failed("delete", path, error) from error


def make_directories(missing: list[str]) -> None:
    """Create directories, outermost first; some may be there already."""
    for name in missing:
        place = Path(name)
        try:
            place.mkdir(exist_ok=True)
            sync_directory(place.parent)
        except OSError as error:
            raise failed("create the directory", name, error) from error


def remove_directories(made: list[str]) -> None:
    """Remove directories that were created, innermost first, as far as they are empty."""
    for name in reversed(made):
        try:
            Path(name).rmdir()
            sync_directory(Path(name).parent)
        except FileNotFoundError:
            continue
        except OSError:
            return  # others use it by now: it stays


def missing_directories(path: str) -> list[str]:
    """The directories above `path` that do not exist, outermost first."""
    missing: list[str] = []
    for parent in Path(path).parents:
        if parent.exists():
            break
        missing.append(str(parent))
    return missing[::-1]


def remove_leftovers(path: str, prefix: str) -> None:
    """Delete the temporary files of attempts that were killed."""
    with contextlib.suppress(OSError):
        for leftover in Path(path).parent.glob(f"{prefix}*"):
            leftover.unlink()


def sync_directory(path: Path) -> None:
    """Make the names in `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prefix_of(key: str) -> str:
    """How the temporary files of the action with this key begin."""
    return f".rex-{hashlib.sha256(key.encode()).hexdigest()[:16]}-"
