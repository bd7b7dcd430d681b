"""`snapshot.files` when things go wrong: kills, damage, files that do not hold still, links that lead elsewhere."""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.trees import Gardener, described
from support.waiting import wait_until
from support.worlds import ROOT, Bench

from executor.action import Undo
from executor.model.errors import ActionError
from rollback.stores import FileStore
from workers.actions.pace import Pace
from workers.actions.snapshot_files import SnapshotFiles
from workers.actions.tree_save import PIECE_BYTES
from workers.run import ActionRun, perform

FILES = SnapshotFiles()

CHILD = """
import json, sys, time
from pathlib import Path
from executor.action import Undo
from rollback.stores import FileStore
from workers.actions.pace import Pace
from workers.actions.snapshot_files import SnapshotFiles
from workers.run import ActionRun
kind, (tree, store, steps, data) = SnapshotFiles(), json.loads(sys.argv[1])
left = steps
def step():
    global left
    left -= 1
    if left == 0:
        print("there", flush=True)
        time.sleep(60)
    return False
def guard(): step()
run = ActionRun(parameters=kind.Parameters(path=tree), execution="e", action="a", device="d", attempt=1, key="k",
    deadline=time.monotonic() + 60, saved=FileStore(Path(store)), cancelled=step, guard=guard)
if data is None: kind.take(run)
else: kind.restore(run, data, Undo(snapshot=data))
print("done", flush=True)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench()
    made.saved = FileStore(tmp_path / "store")  # type: ignore[assignment]
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Everything that there is, and a file of several pieces."""
    root = tmp_path / "tree"
    Gardener(root, random.Random(11)).grow(60)
    (root / "large").write_bytes(random.Random(12).randbytes(PIECE_BYTES * 3))
    return root


def restore(bench: Bench, run: ActionRun, **undo: Any) -> Any:
    again = bench.run(FILES, key="another key", **run.parameters.model_dump(exclude_unset=True))
    return perform(FILES, "compensate", again, Undo(snapshot=run.snapshot, **undo))


def packs(bench: Bench) -> list[Path]:
    store: Any = bench.saved
    return sorted((store.root / "packs").iterdir())


def killed_at(step: int, tree: Path, bench: Bench, data: Any = None) -> bool:
    """Take, or restore, in a process that is killed when it asks for the `step`th time; whether it came so far."""
    import json

    store: Any = bench.saved
    argument = json.dumps([str(tree), str(store.root), step, data])
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, argument], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = child.stdout.readline().strip()
        child.send_signal(signal.SIGKILL)
    assert said in ("there", "done")
    return said == "there"


@pytest.mark.parametrize("step", [2, 20, 40, 60])
def test_a_killed_restoring_is_done_again(bench: Bench, tree: Path, step: int) -> None:
    """Killed anywhere, the next one gives exactly the state from before, and leaves nothing of the first."""
    before = described(tree)
    run = bench.begin(FILES, path=str(tree))
    Gardener(tree, random.Random(step)).change(40)
    (tree / "large").write_bytes(b"small")
    assert killed_at(step, tree, bench, run.snapshot)
    restore(bench, run)
    assert described(tree) == before


def test_a_killed_restoring_of_a_single_file_leaves_nothing_beside_it(bench: Bench, tree: Path) -> None:
    """What it had begun lies in a directory that is not part of the snapshot."""
    run = bench.begin(FILES, path=str(tree / "large"))
    (tree / "large").write_bytes(b"changed")
    before = sorted(path.name for path in tree.iterdir())
    steps = next(step for step in range(1, 50) if killed_at(step, tree / "large", bench, run.snapshot) and begun(tree))
    assert steps > 1
    restore(bench, run)
    assert sorted(path.name for path in tree.iterdir()) == before


def begun(folder: Path) -> bool:
    return any(path.name.startswith(".rex-") for path in folder.iterdir())


@pytest.mark.parametrize("step", [1, 10, 20, 40])
def test_a_killed_saving_leaves_the_store_sound(bench: Bench, tree: Path, step: int) -> None:
    """What it had written is nobody's, and is pruned; the next one saves all."""
    before = described(tree)
    assert killed_at(step, tree, bench)
    run = bench.begin(FILES, path=str(tree))
    store: Any = bench.saved
    store.prune(3600)
    assert all(path.name.endswith(".pack") and not path.name.startswith(".") for path in packs(bench))
    Gardener(tree, random.Random(step)).change(40)
    restore(bench, run)
    assert described(tree) == before


def test_what_is_damaged_is_named_and_the_rest_restored(bench: Bench, tree: Path) -> None:
    """One flipped byte in a pack costs one file, and the error says which."""
    before = described(tree)
    run = bench.begin(FILES, path=str(tree))
    pack = packs(bench)[0]
    content = bytearray(pack.read_bytes())
    place = content.find((tree / "large").read_bytes()[PIECE_BYTES : PIECE_BYTES + 64])
    assert place > 0
    content[place] ^= 1
    pack.write_bytes(content)
    Gardener(tree, random.Random(1)).delete(tree)
    with pytest.raises(ActionError, match=rf"not restored: {tree}/large: saved bytes .* damaged: .* SHA-256") as caught:
        restore(bench, run)
    assert str(caught.value).endswith("everything else was")
    assert not caught.value.classification.retryable
    left = described(tree)
    name = str(tree / "large")
    assert name not in left
    assert {key: left.get(key) for key in before} == {**before, name: None}


def test_a_pack_that_is_gone_is_named(bench: Bench, tree: Path) -> None:
    """Without the list of what was saved nothing can be done, and nothing is."""
    run = bench.begin(FILES, path=str(tree))
    for pack in packs(bench):
        pack.unlink()
    store: Any = bench.saved
    bench.saved = FileStore(store.root)  # type: ignore[assignment]
    (tree / "large").write_bytes(b"changed")
    with pytest.raises(ActionError, match=f"nothing of {tree} could be restored: the list of what was saved is lost"):
        restore(bench, run)
    assert (tree / "large").read_bytes() == b"changed"


def test_a_link_put_in_the_place_of_a_directory_leads_nowhere(bench: Bench, tmp_path: Path) -> None:
    """It is replaced; what lies where it leads is neither changed nor removed."""
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for folder in (tree / "sub" / "inner", outside / "inner"):
        folder.mkdir(parents=True)
    (tree / "sub" / "inner" / "file").write_text("ours")
    (outside / "inner" / "file").write_text("theirs")
    (outside / "precious").write_text("theirs")
    run = bench.begin(FILES, path=str(tree))
    (tree / "sub").rename(tmp_path / "moved")
    (tree / "sub").symlink_to(outside)
    restore(bench, run)
    assert (tree / "sub" / "inner" / "file").read_text() == "ours"
    assert not (tree / "sub").is_symlink()
    assert (outside / "precious").read_text() == (outside / "inner" / "file").read_text() == "theirs"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_directory_swapped_for_a_link_while_it_is_restored_leads_nowhere(
    bench: Bench, tmp_path: Path, wanted: bool
) -> None:
    """Between looking at it and going into it: to restore what belongs there, or to remove what does not."""
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    outside.mkdir()
    (tree / "first").mkdir(parents=True)
    (tree / "first" / "file").write_text("ours")
    if wanted:
        fill(tree / "second", "ours")
    run = bench.begin(FILES, path=str(tree))
    (tree / "first" / "file").write_text("changed")
    (tree / "first" / "added").touch()
    if not wanted:
        fill(tree / "second", "added")
    fill(outside, "theirs")
    (outside / "precious").write_text("theirs")
    before = described(outside)

    def swap() -> None:
        if not (tree / "second").is_symlink():
            (tree / "second").rename(tmp_path / "kept")
            (tree / "second").symlink_to(outside)

    again = bench.run(FILES, path=str(tree))
    again._guard = swap
    if wanted:
        with pytest.raises(ActionError, match=f"not restored: {tree}/second: "):
            perform(FILES, "compensate", again, Undo(snapshot=run.snapshot))
    else:
        perform_anyhow(again, run.snapshot)
    assert described(outside) == before
    assert (tree / "first" / "file").read_text() == "ours"
    restore(bench, run)
    assert not (tree / "second").is_symlink()
    assert described(outside) == before


def fill(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(5):
        (folder / f"file{number}").write_text(text)


def perform_anyhow(run: ActionRun, snapshot: Any) -> None:
    """Whether it notices depends on what it comes to first."""
    with contextlib.suppress(ActionError):
        perform(FILES, "compensate", run, Undo(snapshot=snapshot))


def test_a_file_that_does_not_hold_still_is_refused(bench: Bench, tmp_path: Path) -> None:
    """It is read a few times, then named; nothing of the snapshot is kept."""
    tree = tmp_path / "tree"
    tree.mkdir()
    log = tree / "busy.log"
    log.write_bytes(b"x" * PIECE_BYTES * 4)
    sizes = itertools.count(PIECE_BYTES * 4 + 1)
    run = bench.run(FILES, path=str(tree))

    def grown() -> bool:
        os.truncate(log, next(sizes))
        return False

    run.cancelled = grown  # it is asked between the pieces
    with pytest.raises(ActionError, match=rf"cannot save {log}: it changed while it was read, 3 times") as caught:
        perform(FILES, "snapshot", run)
    assert caught.value.classification.retryable
    assert packs(bench) == []
    assert bench.begin(FILES, path=str(tree)).snapshot


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else")
def test_what_may_not_be_read_is_refused_by_name(bench: Bench, tmp_path: Path) -> None:
    """As a user without rights, in a process of its own."""
    tree = tmp_path / "tree"
    (tree / "closed").mkdir(parents=True)
    (tree / "file").write_text("secret")
    (tree / "file").chmod(0o600)
    (tree / "closed").chmod(0o700)
    source = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from support.worlds import Bench
from workers.actions.pace import Pace
from workers.actions.snapshot_files import SnapshotFiles
bench = Bench()
os.setuid(65534)
try:
    bench.begin(SnapshotFiles(), path={str(tree)!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(0o755)
        if folder.name.startswith("pytest-of-"):
            break
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"{tree}/closed: Permission denied; run the worker as a user that may read it" in done.stdout, done.stderr
    assert f"{tree}/file: Permission denied" in done.stdout


def test_a_store_that_fills_up_keeps_nothing_half(bench: Bench, tree: Path) -> None:
    """Others fill it after we looked: the error says so, and nothing of the snapshot stays."""
    store: Any = bench.saved
    store.max_bytes = 1 << 20
    store.room = lambda: 1 << 30
    with pytest.raises(ActionError, match="of 1048576 bytes are used; nothing was changed") as caught:
        bench.begin(FILES, path=str(tree))
    assert caught.value.classification.type == "resource"
    assert packs(bench) == []


def test_progress_is_told_now_and_then(bench: Bench, tmp_path: Path) -> None:
    """A long one is heard of a few times a second, and not for each file."""
    pace, steps = Pace(bench.run(FILES, path=str(tmp_path)), 1_000_000_000), itertools.count()

    def heard() -> bool:
        for _ in range(1000):
            pace.step(1, f"file{next(steps)}")
        return len(bench.progress) == 2

    wait_until(heard, description="progress was told twice")
    assert next(steps) > 2000
    assert 0 < bench.progress[0][0] < bench.progress[1][0] < 1
    assert bench.progress[0][1].startswith("file")
