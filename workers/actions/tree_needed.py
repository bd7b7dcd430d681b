"""Which saved contents a restoring needs: found by looking, and verified before anything is changed."""

import os
import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from executor.action import Run
from executor.model.errors import ActionError
from workers.actions.tree_entries import Entry, open_below
from workers.actions.tree_put import same_bytes
from workers.actions.tree_save import PIECE_BYTES
from workers.actions.tree_staged import Staged

_HELD_BYTES = 64 << 20
"""So much is kept in memory from its verification until it is written; more is read twice."""
_MANY = 4
_AHEAD = 8
_THREADS = 2


class Needed:
    """Looks at the tree as it is, and verifies what will be written.

    Args:
        staged: takes large files; None: they are verified by reading, and nothing is touched before it is judged.
    """

    def __init__(self, run: Run, entries: list[Entry], staged: Staged | None) -> None:
        self._staged = staged
        self.lost: list[tuple[Entry, str]] = []
        """Files whose content is missing or damaged in the store, with what is wrong."""
        self._run = run
        self._held: dict[str, bytes] = {}
        self._verify([entry for entry in self._files(entries) if entry.content])

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """The content of a file, verified; of a large one the next pieces are read while one is written."""
        if len(entry.content) < _MANY:
            yield from map(self._load, entry.content)
            return
        with ThreadPoolExecutor(_THREADS, "rex-load") as threads:
            waiting: deque[Future[bytes]] = deque()
            try:
                for name in entry.content:
                    self._go_on()
                    waiting.append(threads.submit(self._load, name))
                    if len(waiting) >= _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def _load(self, name: str) -> bytes:
        content = self._held.get(name)
        return self._run.saved.load(name) if content is None else content

    def is_untouched(self, entry: Entry, now: os.stat_result) -> bool:
        """Whether its times prove that nothing of it was changed since it was saved."""
        return (
            entry.settled
            and entry.ctime_ns == now.st_ctime_ns
            and entry.mtime_ns == now.st_mtime_ns
            and entry.size == now.st_size
            and entry.ino == now.st_ino
            and entry.dev == now.st_dev
        )

    def _files(self, entries: list[Entry]) -> list[Entry]:
        """The files that may have to be written."""
        found: list[Entry] = []
        folder, handle = "", -1
        try:
            for entry in entries:
                if entry.kind != "f" or entry.link:
                    continue
                above, _, name = entry.path.rpartition("/")
                if above != folder:
                    if handle >= 0:
                        os.close(handle)
                    folder, handle = above, _opened(above)
                if handle < 0 or not self._stands(handle, name, entry):
                    found.append(entry)
        finally:
            if handle >= 0:
                os.close(handle)
        return found

    def _stands(self, handle: int, name: str, entry: Entry) -> bool:
        try:
            now = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(now.st_mode) and self.is_untouched(entry, now)

    def _verify(self, files: list[Entry]) -> None:
        large: list[Entry] = []
        held = 0
        for entry in files:
            self._go_on()
            held += entry.size
            if held > _HELD_BYTES:
                large.append(entry)
                continue
            try:
                self._held |= {name: self._run.saved.load(name) for name in entry.content}
            except ActionError as error:
                self.lost.append((entry, str(error)))
        large = [entry for entry in large if not self._is_staged(entry)]
        bad = set(self._run.saved.damaged(dict.fromkeys(name for entry in large for name in entry.content)))
        for entry in large:
            missing = [name for name in entry.content if name in bad]
            if missing:
                self.lost.append((entry, self._wrong(missing[0])))

    def _is_staged(self, entry: Entry) -> bool:
        """Whether nothing is left to verify: it was written, or is known to be lost."""
        if self._staged is None or len(entry.content) < _MANY:
            return False
        try:
            return self._is_whole(entry) or self._staged.add(entry, self.pieces(entry))
        except ActionError as error:
            if self._run.cancelled():
                raise
            self.lost.append((entry, str(error)))
            return True

    def _is_whole(self, entry: Entry) -> bool:
        """Whether it has its bytes already: a restoring that was broken off had come so far."""
        above, _, name = entry.path.rpartition("/")
        try:
            handle = open_below(above)
        except OSError:
            return False
        try:
            regular = stat.S_ISREG(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode)
            return regular and same_bytes(name, handle, entry, PIECE_BYTES, self._go_on)
        except OSError:
            return False
        finally:
            os.close(handle)

    def _go_on(self) -> None:
        if self._run.cancelled():
            self._run.proceed()

    def _wrong(self, name: str) -> str:
        try:
            self._run.saved.load(name)
        except ActionError as error:
            return str(error)
        return f"saved bytes {name} could not be read"


def _opened(path: str) -> int:
    try:
        return open_below(path)
    except OSError:
        return -1
