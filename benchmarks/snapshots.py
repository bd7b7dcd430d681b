"""``python -m benchmarks.snapshots``: snapshot.files beside ``cp -a``.

What is compared, in turns within each round, over the same file system, everything in the page cache:

- *cp -a*: a copy of the tree, which a power cut may take with it.
- *cp -a, sync*: the same, and ``sync -f`` of the copy, after which it survives: that is what a snapshot promises too.
- *snapshot*: the first one, into an empty store; *again*: a second one of the unchanged tree.
- *restore*: the tree was moved away, all of it is put back. *restore some*: one file of a hundred was changed.

The trees: 10,000 files of 0 to 4 KB (text, in 100 directories), one file of 1 GB that cannot be compressed, and one
that can. Times are medians in seconds; a ratio above 1 means faster than the copy.
"""

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from executor.action import Undo
from rollback.stores import FileStore
from workers.actions.snapshot_files import SnapshotFiles
from workers.run import ActionRun

_GB = 1 << 30
_SETTLED_S = 2.1
_KIND = SnapshotFiles()


def small(folder: Path) -> None:
    """10,000 small files."""
    chance = random.Random(1)
    words = [chance.randbytes(4).hex() for _ in range(2000)]
    for number in range(10_000):
        path = folder / f"d{number % 100:02}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} " + " ".join(chance.choices(words, k=chance.randrange(455))))


def noise(folder: Path) -> None:
    """1 GB that cannot be compressed."""
    folder.mkdir(parents=True)
    chance = random.Random(2)
    with (folder / "noise").open("wb") as file:
        for _ in range(_GB >> 24):
            file.write(chance.randbytes(1 << 24))


def text(folder: Path) -> None:
    """1 GB of log lines, no two alike."""
    folder.mkdir(parents=True)
    chance = random.Random(3)
    with (folder / "log").open("wb") as file:
        while file.tell() < _GB:
            lines = (
                f"2026-11-21T10:{n % 60:02}:00 INFO worker[{chance.randrange(9999)}] request "
                f"{chance.getrandbits(64):x} took {chance.randrange(1000)} ms\n"
                for n in range(10_000)
            )
            file.write("".join(lines).encode()[: _GB - file.tell()])


TREES: dict[str, Callable[[Path], None]] = {"10,000 files": small, "1 GB noise": noise, "1 GB text": text}


def _run(store: Path, folder: Path, snapshot: Any = None) -> ActionRun:
    return ActionRun(
        parameters=_KIND.Parameters(path=str(folder)),
        execution="bench",
        action="save",
        device="here",
        attempt=1,
        key="bench",
        deadline=time.monotonic() + 3600,
        saved=FileStore(store, 20 * _GB),
        snapshot=snapshot,
    )


def _timed(times: dict[str, list[float]], name: str, do: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    value = do()
    times.setdefault(name, []).append(time.perf_counter() - begun)
    return value


def _command(*argv: object) -> None:
    subprocess.run([str(each) for each in argv], check=True)


def _discard(place: Path, what: Path) -> None:
    """Make room again, so that the next one finds memory as warm as the last one did.

    But not of many files: for a minute after their end ext4 makes new ones slowly, whoever asks.
    """
    if sum(1 for _ in what.rglob("*")) < 100:
        shutil.rmtree(what)
    _command("sync", "-f", place)


def _round(place: Path, make: Callable[[Path], None], times: dict[str, list[float]]) -> None:
    tree, store, copy = place / "tree", place / "store", place / "copy"
    make(tree)
    time.sleep(_SETTLED_S)  # what was changed just now is read again by any later snapshot
    _command("cp", "-a", tree, place / "warm")
    _discard(place, place / "warm")
    _timed(times, "cp", lambda: _command("cp", "-a", tree, copy))
    _discard(place, copy)
    copy = place / "copy2"
    _timed(times, "cp_sync", lambda: (_command("cp", "-a", tree, copy), _command("sync", "-f", place)))
    _discard(place, copy)
    taken = _timed(times, "snapshot", lambda: _KIND.take(_run(store, tree)))
    again = _timed(times, "again", lambda: _KIND.take(_run(store, tree)))
    _command("sync", "-f", place)
    assert again.data == taken.data, "the tree did not change"
    for path in sorted(path for path in tree.rglob("*") if path.is_file())[::100]:
        with path.open("r+b") as file:
            file.write(b"changed")
    _command("sync", "-f", place)
    undo = Undo(snapshot=taken.data)
    _timed(times, "restore_some", lambda: _KIND.restore(_run(store, tree), taken.data, undo))
    tree.rename(place / "old")
    _discard(place, place / "old")
    _timed(times, "restore", lambda: _KIND.restore(_run(store, tree), taken.data, undo))


def measure(folder: Path, rounds: int, only: list[str] | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and ratios by tree."""
    found: dict[str, Any] = {}
    for name, make in TREES.items():
        if only and name not in only:
            continue
        times: dict[str, list[float]] = {}
        for number in range(rounds):
            say(f"{name}: round {number + 1} of {rounds}")
            with _place(folder) as place:
                _round(place, make, times)
        median = {key: statistics.median(values) for key, values in times.items()}
        found[name] = {
            **{f"{key}_s": round(value, 3) for key, value in median.items()},
            "snapshot_ratio": round(median["cp"] / median["snapshot"], 2),
            "snapshot_ratio_sync": round(median["cp_sync"] / median["snapshot"], 2),
            "restore_ratio": round(median["cp"] / median["restore"], 2),
            "restore_ratio_sync": round(median["cp_sync"] / median["restore"], 2),
            "again_times_faster": round(median["snapshot"] / median["again"], 1),
        }
    return found


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rex-bench-", dir=folder) as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.snapshots", description="Compare snapshot.files with cp -a.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=list(TREES), metavar="TREE", help="may be repeated")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="file system to work on")
    asked = parser.parse_args()
    found = measure(asked.folder, asked.rounds, asked.only, lambda line: print(line, file=sys.stderr, flush=True))
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    rows = list(next(iter(found.values())))
    print(" " * 22 + "".join(name.rjust(14) for name in found))
    for row in rows:
        print(row.ljust(22) + "".join(str(each[row]).rjust(14) for each in found.values()))


if __name__ == "__main__":
    main()
