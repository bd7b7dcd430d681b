"""Directory trees for tests: written down whole, to be compared, and random ones with random changes."""

import base64
import os
import random
import shutil
import stat
from pathlib import Path
from typing import Any

NAMES = [
    "a",
    "b",
    "deep",
    "with space",
    "-rf",
    "ünï",
    "new\nline",
    os.fsdecode(b"\xff\xfe not utf-8"),
    ".hidden",
    "x" * 200,
]


def described(root: Path) -> dict[str, Any]:
    """Everything about a tree that must come back; hard links as the set of their names."""
    found: dict[str, Any] = {}
    names: dict[tuple[int, int], list[str]] = {}
    for path in [root, *walked(root)]:
        state = path.lstat()
        key = os.fsencode(path).decode("latin-1")
        found[key] = [stat.S_IFMT(state.st_mode), stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid]
        found[key] += [state.st_mtime_ns, detail(path, state)]
        if stat.S_ISREG(state.st_mode):
            names.setdefault((state.st_dev, state.st_ino), []).append(key)
            found[key].append(names[state.st_dev, state.st_ino])
    return found


def walked(root: Path) -> list[Path]:
    found: list[Path] = []
    if root.is_dir() and not root.is_symlink():
        for path in sorted(root.iterdir()):
            found += [path, *walked(path)]
    return found


def detail(path: Path, state: os.stat_result) -> Any:
    if stat.S_ISLNK(state.st_mode):
        return str(path.readlink())
    attributes = {name: base64.b64encode(os.getxattr(path, name)) for name in os.listxattr(path)}
    return (path.read_bytes() if stat.S_ISREG(state.st_mode) else None, attributes)


class Gardener:
    """Grows a tree below `root`, and changes it, by chance."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root = root
        self.chance = chance

    def grow(self, count: int) -> None:
        self.root.mkdir(exist_ok=True)
        for _ in range(count):
            self.add()
        for path in walked(self.root):
            if self.chance.random() < 0.5 and not path.is_symlink():
                self.attributes(path)

    def change(self, count: int) -> None:
        for _ in range(count):
            self.chance.choice([self.add, self.remove, self.rewrite, self.alter, self.swap, self.link])()

    def add(self) -> None:
        path = self.folder() / self.chance.choice(NAMES)
        if os.path.lexists(path):
            return
        kind = self.chance.randrange(6)
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            path.symlink_to(self.chance.choice(["a", "/etc/passwd", "..", "nowhere"]))
        elif kind == 2:
            path.touch()
        else:
            path.write_bytes(self.chance.randbytes(self.chance.randrange(300)) * self.chance.choice([1, 10]))

    def remove(self) -> None:
        if path := self.any():
            self.delete(path)

    def delete(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def rewrite(self) -> None:
        if (path := self.any()) and path.is_file() and not path.is_symlink():
            path.write_bytes(self.chance.randbytes(50))

    def alter(self) -> None:
        if (path := self.any()) and not path.is_symlink():
            self.attributes(path)

    def swap(self) -> None:
        """Something of another kind under the same name."""
        if path := self.any():
            self.delete(path)
            self.chance.choice([path.mkdir, path.touch, lambda: path.symlink_to("elsewhere")])()

    def link(self) -> None:
        path, name = self.any(), self.folder() / self.chance.choice(NAMES)
        if path and path.is_file() and not path.is_symlink() and not os.path.lexists(name):
            os.link(path, name)

    def attributes(self, path: Path) -> None:
        path.chmod(self.chance.choice([0o700, 0o755, 0o640, 0o4755, 0o000]) | (0o700 if path.is_dir() else 0))
        times = (self.chance.randrange(2**60), self.chance.randrange(2**60))
        if self.chance.random() < 0.5:
            os.setxattr(path, "user.mark", self.chance.randbytes(5))
        if os.geteuid() == 0:
            os.chown(path, self.chance.randrange(3), self.chance.randrange(3))
        os.utime(path, ns=times)

    def any(self) -> Path | None:
        there = walked(self.root)
        return self.chance.choice(there) if there else None

    def folder(self) -> Path:
        there = [path for path in walked(self.root) if path.is_dir() and not path.is_symlink()]
        return self.chance.choice([self.root, *there])
