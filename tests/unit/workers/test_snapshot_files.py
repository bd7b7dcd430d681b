"""`snapshot.files` puts back exactly what was there: bytes, modes, owners, times, attributes and links."""

import json
import os
import random
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.trees import Gardener, described
from support.waiting import wait_until
from support.worlds import Bench

from executor.action import Undo
from executor.model.errors import ActionCancelled, ActionError, ChangedSince
from rollback.stores import FileStore, MemoryStore
from workers.actions import tree_needed
from workers.actions.snapshot_files import SnapshotFiles
from workers.actions.tree_entries import Manifest, load_manifest
from workers.actions.tree_save import PIECE_BYTES
from workers.run import ActionRun, perform

FILES = SnapshotFiles()
CLOCK_REALTIME_COARSE = 5


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench()
    made.saved = FileStore(tmp_path / "store")  # type: ignore[assignment]
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "inner" / "empty").mkdir(parents=True)
    (root / "one").write_text("one")
    (root / "inner" / "two").write_text("two")
    (root / "link").symlink_to("inner")
    os.link(root / "one", root / "inner" / "other name of one")
    return root


def restore(bench: Bench, run: ActionRun, **undo: Any) -> Any:
    again = bench.run(FILES, key="another key", **run.parameters.model_dump(exclude_unset=True))
    return perform(FILES, "compensate", again, Undo(snapshot=run.snapshot, **undo))


def age(root: Path) -> None:
    """Until its times are believed: what is younger than 2 s is read again."""
    newest = max(path.lstat().st_ctime for path in [root, *root.rglob("*")])
    wait_until(lambda: time.time() > newest + 2.01, description="the tree is old enough")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), memory=st.booleans(), large=st.booleans())
def test_whatever_happens_to_a_tree_it_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, seed: int, memory: bool, large: bool
) -> None:
    """Random trees, random changes: taken, changed, restored, compared; and a second time does nothing."""
    folder = tmp_path_factory.mktemp("random")
    bench, gardener = Bench(), Gardener(folder / "tree", random.Random(seed))
    bench.saved = MemoryStore() if memory else FileStore(folder / "store")  # type: ignore[assignment]
    gardener.grow(25)
    before = described(gardener.root)
    run = bench.begin(FILES, path=str(gardener.root))
    assert described(gardener.root) == before, "taking changes nothing"
    gardener.change(15)
    with pytest.MonkeyPatch.context() as patch:
        if large:  # every file is treated as if it were a large one
            patch.setattr(tree_needed, "_HELD_BYTES", -1)
            patch.setattr(tree_needed, "_MANY", 0)
        restore(bench, run)
    assert described(gardener.root) == before
    assert restore(bench, run) == {"paths": [str(gardener.root)], "restored": 0, "repaired": 0, "removed": 0}


def test_a_tree_that_is_gone_comes_back_with_what_is_above_it(bench: Bench, tree: Path) -> None:
    """Also where the directory above it was deleted."""
    before = described(tree / "inner")
    run = bench.begin(FILES, path=str(tree / "inner"))
    Gardener(tree, random.Random()).delete(tree)
    restore(bench, run)
    assert {key: value[:-1] for key, value in described(tree / "inner").items()} == {
        key: value[:-1] for key, value in before.items()
    }


def test_what_is_saved_is_told(bench: Bench, tree: Path) -> None:
    """The summary is the result, the undo record is small and covers the real paths."""
    (tree.parent / "alias").symlink_to(tree)
    run = bench.run(FILES, paths=[str(tree.parent / "alias"), str(tree / "inner")])
    taken = perform(FILES, "snapshot", run)
    assert taken.covers == (str(tree),), "links resolved, and what lies in another is not saved twice"
    run.snapshot = taken.data
    result = perform(FILES, "execute", run)
    assert result == {"paths": [str(tree)], "files": 3, "directories": 3, "links": 1, "bytes": 6, "not_saved": []}
    assert FILES.Results.model_validate(result)
    assert set(taken.data) == {"manifest", "paths", "summary"}


def test_large_files_are_saved_in_pieces(bench: Bench, tree: Path) -> None:
    """Equal pieces once, holes as holes, and a changed one in the middle is found."""
    large = tree / "large"
    content = os.urandom(PIECE_BYTES) + bytes(PIECE_BYTES) + os.urandom(PIECE_BYTES // 2) + bytes(PIECE_BYTES * 2)
    large.write_bytes(content)
    run = bench.begin(FILES, path=str(tree))
    with large.open("r+b") as file:
        file.seek(PIECE_BYTES * 2 + 7)
        file.write(b"changed")
    restore(bench, run)
    assert large.read_bytes() == content
    assert large.stat().st_blocks * 512 < len(content)


def test_what_is_excluded_is_neither_saved_nor_touched(bench: Bench, tree: Path) -> None:
    """By name at any depth, or by path; also in a directory that has to go."""
    for name in ("a.log", "inner/b.log", "inner/skip/c"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("old")
    run = bench.begin(FILES, path=str(tree), exclude=["*.log", "inner/skip"])
    for name in ("a.log", "inner/b.log", "inner/skip/c"):
        (tree / name).write_text("new")
    (tree / "added").mkdir()
    (tree / "added" / "c.log").write_text("new")
    (tree / "added" / "gone").write_text("new")
    restore(bench, run)
    assert [(tree / name).read_text() for name in ("a.log", "inner/b.log", "inner/skip/c")] == ["new"] * 3
    assert [path.name for path in (tree / "added").iterdir()] == ["c.log"]


def test_what_appeared_is_removed(bench: Bench, tree: Path) -> None:
    """A path that was not there is no error when the strategy says so."""
    absent = tree / "absent"
    with pytest.raises(ActionError, match=f"cannot save {absent}: not there; with `missing_ok: true`"):
        bench.begin(FILES, path=str(absent))
    run = bench.begin(FILES, path=str(absent), missing_ok=True)
    absent.mkdir()
    (absent / "file").touch()
    assert restore(bench, run)["removed"] == 2
    assert not absent.exists()
    assert restore(bench, run)["removed"] == 0


def test_sockets_and_pipes_are_noted_and_left(bench: Bench, tree: Path) -> None:
    """They belong to a process; what stands there when it is restored stays."""
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree / "s"))
    run = bench.begin(FILES, path=str(tree))
    assert run.snapshot is not None
    assert run.snapshot["summary"]["not_saved"] == [str(tree / "pipe"), str(tree / "s")]
    (tree / "pipe").unlink()
    restore(bench, run)
    assert stat.S_ISSOCK((tree / "s").lstat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused_by_name(bench: Bench, tree: Path) -> None:
    """Together with everything else that cannot be saved, before anything is."""
    for name in ("null", "zero"):
        os.mknod(tree / name, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    with pytest.raises(ActionError, match=r"tree/null: a character device; name it in `exclude`; .*tree/zero"):
        bench.begin(FILES, path=str(tree))
    assert bench.begin(FILES, path=str(tree), exclude=["null", "zero"])


def test_only_what_is_allowed_is_saved(bench: Bench, tree: Path) -> None:
    """A link that leads out of the allowed directories is judged by where it leads."""
    (tree.parent / "allowed").mkdir()
    (tree.parent / "allowed" / "way out").symlink_to(tree)
    run = bench.run(FILES, path=str(tree.parent / "allowed" / "way out"))
    run.roots = (str(tree.parent / "allowed"),)
    with pytest.raises(ActionError, match=rf"\(which leads to {tree}\): this device takes snapshots below .* only"):
        perform(FILES, "snapshot", run)


def test_more_than_there_is_room_for_is_refused_before_anything_is_saved(bench: Bench, tree: Path) -> None:
    """With both numbers."""
    store = bench.saved = FileStore(tree.parent / "little", max_bytes=5)  # type: ignore[assignment]
    with pytest.raises(ActionError, match=f"cannot save {tree}: 6 bytes are to be saved, .* has room for 5"):
        bench.begin(FILES, path=str(tree))
    assert not list((store.root / "packs").glob("*"))  # type: ignore[attr-defined]


def test_parameters_are_one_or_several_paths() -> None:
    """Exactly one of the two ways."""
    assert FILES.problems({"paths": ["/a"]}) == []
    assert FILES.problems({"path": "/a", "paths": ["/b"]})
    assert FILES.problems({})


def test_an_unchanged_tree_is_not_read_again(bench: Bench, tree: Path) -> None:
    """The second snapshot has the same name, though the bytes could not be read any more; a changed one has another."""
    age(tree)
    first = bench.begin(FILES, path=str(tree))
    second = bench.begin(FILES, path=str(tree))
    assert second.snapshot == first.snapshot
    (tree / "one").write_text("uno")
    third = bench.begin(FILES, path=str(tree))
    assert third.snapshot != first.snapshot
    restore(bench, first)
    assert (tree / "one").read_text() == "one"


def test_what_changed_shortly_before_it_was_read_is_not_believed(bench: Bench, tree: Path) -> None:
    """Within the grain of the clock a later change may leave the same times: a young file is read again.

    The earlier snapshot is falsified, to see what the next one takes over from it.
    """
    for old in (False, True):
        if old:
            age(tree)
        run = bench.begin(FILES, path=str(tree / "one"))
        assert run.snapshot is not None
        store: Any = bench.saved
        (entry,) = load_manifest(store, run.snapshot["manifest"]).entries
        assert entry.settled is old
        with store.batch() as batch:
            other = entry._replace(content=[batch.add(b"eno")])
            false = Manifest.save(batch, [entry.path], [], [other])
        store.note(f"snapshot.files {json.dumps([[entry.path], []])}", false)
        again = bench.begin(FILES, path=str(tree / "one"))
        assert again.snapshot is not None
        assert (again.snapshot["manifest"] == false) is old


def test_two_files_that_became_one_are_two_again(bench: Bench, tree: Path) -> None:
    """Equal bytes, but a hard link now: a later change of one would change the other."""
    for name in ("three", "four"):
        (tree / name).write_text("equal")
        os.utime(tree / name, ns=(5, 5))
    run = bench.begin(FILES, path=str(tree))
    (tree / "four").unlink()
    os.link(tree / "three", tree / "four")
    restore(bench, run)
    assert (tree / "three").stat().st_ino != (tree / "four").stat().st_ino
    assert (tree / "three").read_text() == (tree / "four").read_text() == "equal"


def test_what_was_pruned_is_saved_again(bench: Bench, tree: Path) -> None:
    """An unchanged tree whose saved bytes are gone is read as if for the first time."""
    age(tree)
    bench.begin(FILES, path=str(tree))
    store: Any = bench.saved
    assert store.prune(0) > 0
    run = bench.begin(FILES, path=str(tree))
    (tree / "one").write_text("changed")
    restore(bench, run)
    assert (tree / "one").read_text() == "one"


def test_snapshots_of_the_same_stay_young(bench: Bench, tree: Path) -> None:
    """What a second snapshot relies on counts as saved then."""
    age(tree)
    bench.begin(FILES, path=str(tree))
    store: Any = bench.saved
    for pack in (store.root / "packs").iterdir():
        os.utime(pack, (0, 0))
    run = bench.begin(FILES, path=str(tree))
    assert store.prune(3600) == 0
    restore(bench, run)


def test_cancelling_stops_it(bench: Bench, tree: Path) -> None:
    """Nothing of a snapshot that was broken off is kept."""
    bench.cancel.set()
    with pytest.raises(ActionCancelled):
        bench.begin(FILES, path=str(tree))
    store: Any = bench.saved
    assert not list((store.root / "packs").glob("*"))


class TestWhatOthersChanged:
    """With a quiet time, what changed in it was changed by others."""

    def quiet(self, do: Callable[[], None]) -> tuple[float, float]:
        """`do` something while nothing of the execution runs."""
        begun = time.time()
        passed(begun)
        do()
        passed(time.time())
        return begun, time.time()

    def test_it_is_left_and_named_and_the_rest_restored(self, bench: Bench, tree: Path) -> None:
        """Changed, removed and added ones; with force they are restored too."""
        before = described(tree)
        run = bench.begin(FILES, path=str(tree))
        (tree / "inner" / "two").write_text("by the run")
        (tree / "inner" / "new").write_text("by the run")

        def others() -> None:
            (tree / "mine").write_text("theirs")
            (tree / "one").write_text("theirs")
            (tree / "link").unlink()

        window = self.quiet(others)
        with pytest.raises(ChangedSince) as caught:
            restore(bench, run, quiet=window)
        said = str(caught.value).removesuffix("; everything else is restored. `--force` restores them too")
        _, _, names = said.partition("changed by others since, and left as they are: ")
        left = ("mine", "one", "link", "inner/other name of one")
        assert set(names.split(", ")) == {f"{tree}/{name}" for name in left}
        assert (tree / "mine").read_text() == (tree / "one").read_text() == "theirs"
        assert not (tree / "link").is_symlink()
        assert (tree / "inner" / "two").read_text() == "two"
        assert not (tree / "inner" / "new").exists()
        restore(bench, run, quiet=window, force=True)
        assert described(tree) == before

    def test_what_nobody_touched_in_it_is_restored(self, bench: Bench, tree: Path) -> None:
        """The run's own changes lie before the quiet time."""
        before = described(tree)
        run = bench.begin(FILES, path=str(tree))
        Gardener(tree, random.Random(3)).change(10)
        passed(time.time())
        window = self.quiet(lambda: None)
        restore(bench, run, quiet=window)
        assert described(tree) == before


def passed(moment: float) -> None:
    """Until the coarse clock that stamps files is past `moment`."""
    wait_until(lambda: time.clock_gettime(CLOCK_REALTIME_COARSE) > moment, description="the clock moved on")
