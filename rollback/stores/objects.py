"""Single saved contents, each in a file of its own: ``<first two digits>/<sha256>``, with ``.zst`` where compressed."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from executor.model.errors import PERMANENT, ActionError
from rollback.stores.records import RAW, ZSTD, expand, shrink
from rollback.stores.writing import sync_directory

_ENDINGS = {RAW: "", ZSTD: ".zst"}


class Kept(NamedTuple):
    """One file, as it lies there."""

    path: Path
    size: int
    saved: float
    """`time.time` of its last saving."""

    @property
    def name(self) -> str:
        """SHA-256 of the content; empty for what a process that died left behind."""
        return "" if self.path.name.startswith(".") else self.path.name.removesuffix(".zst")


class Objects:
    """The files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def refresh(self, name: str, content: bytes) -> bool:
        """Whether `content` is already there, undamaged; then it counts as saved now, so that no prune takes it."""
        for codec, place in self._places(name):
            with suppress(FileNotFoundError):
                if expand(codec, place.read_bytes()) == content:
                    os.utime(place)
                    return True
        return False

    def pack(self, name: str, content: bytes) -> tuple[Path, bytes]:
        """Where it is to lie, and what is to be written there."""
        codec, stored = shrink(content)
        return dict(self._places(name))[codec], stored

    def write(self, place: Path, stored: bytes) -> None:
        """Durable; complete, or not at all."""
        for directory in (self.root, place.parent):
            if not directory.is_dir():
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(directory.parent)
        temporary = place.parent / f".{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(stored)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(place)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(place.parent)

    def load(self, name: str) -> bytes | None:
        """The content, verified; None when it is not there.

        Raises:
            ActionError: it is damaged, or cannot be read.
        """
        wrong: ActionError | None = None
        for codec, place in self._places(name):
            try:
                content = expand(codec, place.read_bytes())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ActionError(f"cannot read saved bytes {place}: {error.strerror}") from error
            if content is not None and hashlib.sha256(content).hexdigest() == name:
                return content
            found = "they cannot be decompressed" if content is None else _told(content)
            wrong = ActionError(
                f"saved bytes {place} are damaged: {found}; they are not used. Everything else in the store can be; "
                "what needs them has to come from a backup",
                PERMANENT,
            )
        if wrong is not None:
            raise wrong
        return None

    def all(self) -> Iterator[Kept]:
        """What is kept, and what dead processes left."""
        for shard in self.root.glob("??"):
            for path in shard.iterdir():
                with suppress(FileNotFoundError):  # another process pruned it meanwhile
                    found = path.stat()
                    yield Kept(path, found.st_size, found.st_mtime)

    def prune(self, before: float, keep: frozenset[str] | set[str]) -> int:
        """Delete what was last saved before `before` (`time.time`), and what was left behind; how many contents."""
        gone = 0
        for kept in list(self.all()):
            if not kept.name or (kept.saved <= before and kept.name not in keep):
                kept.path.unlink(missing_ok=True)
                gone += bool(kept.name)
        return gone

    def _places(self, name: str) -> list[tuple[int, Path]]:
        shard = self.root / name[:2]
        return [(codec, shard / f"{name}{ending}") for codec, ending in _ENDINGS.items()]


def _told(content: bytes) -> str:
    return f"their SHA-256 is {hashlib.sha256(content).hexdigest()}"
