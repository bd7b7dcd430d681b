"""Packs: many contents in one file, written once, complete or not there at all, each content verified when read.

What lies where is read from the packs themselves, so there is no index that could be lost, or differ from them; and
nothing is locked to read, also where several hosts share the directory.
"""

import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from executor.model.errors import PERMANENT, ActionError
from rollback.stores.records import HEAD_BYTES, expand, read_head, read_table, scan

_log = logging.getLogger("rex.saved")

SUFFIX = ".pack"
_MANY_OPEN = 64
_FIRST_BYTES = 4096
"""Read at once: a head, and all of a small content."""
_MANY_KNOWN = 300_000
"""More places than this are not kept in memory between two uses; each takes about 200 bytes."""


class Damaged(Exception):
    """A content cannot be read back; says what is wrong with it."""


class Pack:
    """A finished pack, open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def table(self) -> dict[bytes, int]:
        """Offset of each content; from the heads where the table is damaged."""
        found = read_table(self._fd)
        return {head.name: offset for head, offset in scan(self._fd)} if found is None else found

    def content(self, name: bytes, offset: int) -> bytes:
        """What lies at `offset`, verified.

        Raises:
            Damaged: it is not what it was.
        """
        try:
            block = os.pread(self._fd, _FIRST_BYTES, offset)
            head = read_head(block[:HEAD_BYTES])
            if head is None or head.name != name:
                raise Damaged("its head cannot be read")
            stored = block[HEAD_BYTES : HEAD_BYTES + head.stored]
            if head.stored > len(stored):
                stored = os.pread(self._fd, head.stored, offset + HEAD_BYTES)
        except OSError as error:
            raise Damaged(error.strerror or str(error)) from error
        if len(stored) < head.stored:
            raise Damaged("the pack is cut off")
        content = expand(head.codec, stored)
        if content is None or len(content) != head.size:
            raise Damaged("it cannot be decompressed")
        found = hashlib.sha256(content).digest()
        if found != name:
            raise Damaged(f"their SHA-256 is {found.hex()}")
        return content


class Packs:
    """The finished packs below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._tables: dict[str, int] = {}
        """Each pack that was read, with how many contents it has."""
        self._places: dict[bytes, tuple[str, int]] = {}
        self._open: OrderedDict[str, Pack] = OrderedDict()

    def renew(self) -> None:
        """Read what other processes added, and forget what is gone. A later pack counts before an earlier one."""
        with self._lock:
            there = self.names()
            if set(self._tables) - set(there):
                self.forget()
            for name in there:
                if name in self._tables:
                    continue
                try:
                    table = self._pack(name).table()
                except FileNotFoundError:  # pruned meanwhile
                    continue
                except OSError as error:
                    _log.warning("%s cannot be read: %s; what it holds cannot be restored", self.root / name, error)
                    table = {}
                self._tables[name] = len(table)
                self._places |= {content: (name, offset) for content, offset in table.items()}

    def names(self) -> list[str]:
        """The finished packs, oldest first."""
        try:
            return sorted(path.name for path in self.root.iterdir() if path.match(f"[!.]*{SUFFIX}"))
        except FileNotFoundError:
            return []

    def forget(self) -> None:
        """Read everything anew at the next use."""
        with self._lock:
            self._tables.clear()
            self._places.clear()
            self._open.clear()

    def relax(self) -> None:
        """Give memory back after a use, where it is much."""
        with self._lock:
            if len(self._places) > _MANY_KNOWN:
                self.forget()

    def place(self, name: bytes) -> tuple[str, int] | None:
        """Pack and offset, as far as known; see `renew`."""
        return self._places.get(name)

    def holding(self, names: Iterable[bytes]) -> set[str] | None:
        """The packs in which `names` lie; None when one of them is in none."""
        places = self._places
        try:
            return {places[name][0] for name in names}
        except KeyError:
            return None

    def contents(self, pack: str) -> list[bytes]:
        """Names of what lies in `pack`, and in no later one."""
        with self._lock:
            return [name for name, (its, _) in self._places.items() if its == pack]

    def load(self, name: bytes) -> bytes | None:
        """The content, verified; None when no pack has it.

        Raises:
            ActionError: it is damaged.
        """
        for again in (False, True):
            if again:
                self.renew()
            place = self._places.get(name)
            if place is None:
                continue
            try:
                return self._pack(place[0]).content(name, place[1])
            except FileNotFoundError:
                continue
            except Damaged as error:
                if not (self.root / place[0]).exists():
                    continue
                raise ActionError(
                    f"saved bytes {name.hex()} in {self.root / place[0]} are damaged: {error}; they are not used. "
                    "Everything else in the store can be; what needs them has to come from a backup",
                    PERMANENT,
                ) from error
        return None

    def touch(self, packs: Iterable[str]) -> None:
        """Count what lies in `packs` as saved now."""
        now = time.time()
        for pack in packs:
            os.utime(self.root / pack, (now, now))

    def _pack(self, name: str) -> Pack:
        with self._lock:
            pack = self._open.get(name)
            if pack is None:
                pack = self._open[name] = Pack(self.root / name)
                if len(self._open) > _MANY_OPEN:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(name)
            return pack
