"""What is written down of a tree: an entry for each name, saved in parts, and one content that names the parts."""

import base64
import contextlib
import errno
import fnmatch
import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from executor.action import Batch, Json, SavedBytes
from executor.model.errors import PERMANENT, ActionError

FORMAT = 1
_PART = 5000
"""Entries in one saved part: a large tree needs no content as large as its list, and equal parts are saved once."""


class Entry(NamedTuple):
    """One name in a tree, as it was."""

    path: str
    """Absolute; bytes that are not UTF-8 as surrogates, as `os.fsdecode` gives them."""
    kind: str
    """``d`` directory, ``f`` file, ``l`` symbolic link, ``o`` other: a socket or a pipe, which is not saved."""
    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    size: int
    ctime_ns: int
    dev: int
    ino: int
    settled: bool
    """Its last change was long enough before it was read that a later one shows in its times."""
    content: list[str]
    """Of a file: names of its pieces in the store, in order."""
    link: str
    """Of a symbolic link: where it leads. Of a file: path of the entry that it shares its bytes with (a hard link)."""
    xattrs: dict[str, str]
    """Extended attributes, the values in base 64."""


Row = Sequence[Any]
"""An entry, or what it is read back as: not worth turning into an entry where 10,000 are only compared."""
PATH, KIND, SIZE, CONTENT, LINK = (Entry._fields.index(name) for name in ("path", "kind", "size", "content", "link"))
STAMP = slice(Entry._fields.index("mtime_ns"), Entry._fields.index("settled") + 1)


@dataclass(frozen=True)
class Manifest:
    """A saved state of several roots."""

    roots: list[str]
    """Real absolute paths."""
    exclude: list[str]
    """Patterns, see `Excluded`."""
    entries: list[Entry]
    """Each directory before what is in it. A root that was not there has none."""

    @staticmethod
    def save(batch: Batch, roots: list[str], exclude: list[str], rows: Sequence[Row]) -> str:
        """Save it; its name."""
        parts = [batch.add(_bytes(rows[start : start + _PART])) for start in range(0, len(rows), _PART)]
        return batch.add(_bytes({"format": FORMAT, "roots": roots, "exclude": exclude, "parts": parts}))


def load_manifest(saved: SavedBytes, name: str) -> Manifest:
    """What `Manifest.save` saved as `name`.

    Raises:
        ActionError: something of it is missing or damaged, or of a later version of this program.
    """
    head, rows = load_rows(saved, name)
    return Manifest(head["roots"], head["exclude"], list(map(Entry._make, rows)))


def load_rows(saved: SavedBytes, name: str) -> tuple[Json, list[Row]]:
    """The head of a manifest, and its entries as they were written.

    Raises:
        ActionError: as `load_manifest`.
    """
    head = json.loads(saved.load(name))
    if head["format"] != FORMAT:
        raise ActionError(
            f"the list of saved files {name} has format {head['format']}, this version reads {FORMAT}: "
            "restore with the version that saved it",
            PERMANENT,
        )
    rows: list[Row] = []
    for part in head["parts"]:
        rows.extend(json.loads(saved.load(part)))
    return head, rows


def _bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Excluded:
    """Says what is left out. A pattern without ``/`` fits a name at any depth, one with ``/`` the path below the root.

    Patterns are those of `fnmatch`: ``*`` also passes ``/``. What lies below an excluded directory is excluded too.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        names = [pattern for pattern in patterns if "/" not in pattern]
        paths = [pattern.strip("/") for pattern in patterns if "/" in pattern]
        self._name, self._path = _any_of(names), _any_of(paths)
        self.any = bool(patterns)

    def __call__(self, root: str, path: str, name: str) -> bool:
        if not self.any:
            return False
        below = path[len(root) :].lstrip("/")
        return bool((self._name and self._name.match(name)) or (self._path and self._path.match(below)))


def _any_of(patterns: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None


def kind_of(mode: int) -> str | None:
    """The `Entry.kind` of a file mode; None for a device, which can be neither saved nor left out silently."""
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISDIR(mode):
        return "d"
    if stat.S_ISLNK(mode):
        return "l"
    return "o" if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode) else None


def read_xattrs(fd: int) -> dict[str, str]:
    """Extended attributes of an open file or directory."""
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):  # the file system has none
            return {}
        raise
    return {name: base64.b64encode(os.getxattr(fd, name)).decode() for name in names}


def open_below(path: str, *, make: bool = False) -> int:
    """A handle of the directory `path`, of which no part may be a symbolic link by now.

    Args:
        make: create what is missing.

    Raises:
        OSError: it is not there, or a part of it is no directory (any more).
    """
    names = path.strip("/").split("/") if path.strip("/") else []
    handle = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, name in enumerate(names, 1):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=handle)
            how = os.O_RDONLY if number == len(names) else os.O_PATH
            inner = os.open(name, how | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
            os.close(handle)
            handle = inner
    except OSError:
        os.close(handle)
        raise
    return handle if names else _readable_root(handle)


def _readable_root(handle: int) -> int:
    os.close(handle)
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def summary_of(rows: Sequence[Row], roots: Sequence[str]) -> Json:
    """How much it is, for people."""
    kinds = [row[KIND] for row in rows]
    return {
        "paths": list(roots),
        "files": kinds.count("f"),
        "directories": kinds.count("d"),
        "links": kinds.count("l"),
        "bytes": sum(row[SIZE] for row in rows if row[KIND] == "f" and not row[LINK]),
        "not_saved": [shown(row[PATH]) for row in rows if row[KIND] == "o"][:20],
    }


def shown(path: str) -> str:
    """`path` as text that can be printed and sent."""
    return path.encode("utf-8", "backslashreplace").decode()
