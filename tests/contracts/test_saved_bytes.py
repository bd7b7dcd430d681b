"""One suite over both stores of saved bytes, and what only files can suffer."""

import hashlib
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.model.errors import ActionError
from rollback.stores import FileStore, MemoryStore

Make = Callable[..., FileStore | MemoryStore]
NOISE = random.Random(7).randbytes(1 << 20)
"""Does not shrink, so that sizes are known."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["files", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return MemoryStore
    return lambda **limits: FileStore(tmp_path / "store", **limits)


@pytest.mark.parametrize("content", [b"", b"text", bytes(range(256)) * 1000])
def test_what_is_saved_comes_back(make: Make, content: bytes) -> None:
    store = make()
    name = store.save(content)
    assert name == hashlib.sha256(content).hexdigest()
    assert store.load(name) == content
    assert store.save(content) == name


def test_what_was_never_saved_is_missing(make: Make) -> None:
    with pytest.raises(ActionError, match="never saved") as caught:
        make().load("0" * 64)
    assert not caught.value.classification.retryable


def test_the_limit_holds_before_anything_is_kept(make: Make) -> None:
    store, first = make(max_bytes=100), NOISE[60:120]
    name = store.save(first)
    assert store.room() == 40
    with pytest.raises(ActionError, match="60 of 100 bytes are used; nothing was changed") as caught:
        store.save(NOISE[:41])
    assert caught.value.classification.type == "resource"
    assert store.save(first) == name, "the same bytes take no more room"
    assert store.save(NOISE[:40])
    assert store.room() == 0


def test_the_old_is_pruned_and_the_needed_kept(make: Make) -> None:
    store = make()
    old, needed = store.save(b"old"), store.save(b"needed")
    assert store.prune(3600) == 0
    assert store.prune(0, {needed}) == 1
    assert store.load(needed) == b"needed"
    with pytest.raises(ActionError):
        store.load(old)
    assert store.load(store.save(b"old")) == b"old"


def test_room_is_counted_anew_after_pruning(make: Make) -> None:
    store = make(max_bytes=100)
    store.save(NOISE[:90])
    store.prune(0)
    assert store.save(NOISE[100:190])


def save_together(store: FileStore | MemoryStore, *contents: bytes | None) -> list[str]:
    with store.batch() as batch:
        return [batch.add(content) for content in contents]  # type: ignore[arg-type]


def test_a_batch_counts_when_it_ends(make: Make) -> None:
    """Many contents, some twice, each found again; what was there before takes no more room."""
    store = make()
    contents = [b"%d" % number * 50 for number in range(300)] + [b"", NOISE[:5000], NOISE]
    with store.batch() as batch:
        names = [batch.add(content) for content in [*contents, *contents]]
    assert names[:303] == names[303:] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert [store.load(name) for name in names] == [*contents, *contents]
    room = store.room()
    with store.batch() as batch:
        assert batch.add(contents[7]) == names[7]
    assert store.room() == room
    assert store.damaged(names) == []


def test_nothing_of_a_batch_counts_that_was_broken_off(make: Make) -> None:
    """What it raised comes out, and the store is as before."""
    store = make()
    room = store.room()
    with pytest.raises(TypeError):
        save_together(store, NOISE, None)
    name = hashlib.sha256(NOISE).hexdigest()
    assert store.damaged([name]) == [name]
    assert store.room() == room


def test_a_batch_that_does_not_fit_is_refused(make: Make) -> None:
    """By the limit that holds for all kinds of saving together."""
    store = make(max_bytes=10_000)
    store.save(NOISE[:4000])
    with pytest.raises(ActionError, match="of 10000 bytes are used; nothing was changed") as caught:
        save_together(store, NOISE[4000:8000], NOISE[8000:12000])
    assert caught.value.classification.type == "resource"
    assert store.room() == 6000, "nothing of it stays"


def test_what_is_missing_is_told(make: Make) -> None:
    """In a question about many."""
    store = make()
    with store.batch() as batch:
        names = [batch.add(b"%d" % number) for number in range(200)]
    missing = [hashlib.sha256(b"never %d" % number).hexdigest() for number in range(100)]
    assert set(store.damaged([*names, store.save(b"single"), *missing])) == set(missing)


def test_a_batch_is_pruned_by_age_and_kept_by_name(make: Make) -> None:
    """Saving again, or looking whether all is still there, makes it young."""
    store = make()
    with store.batch() as batch:
        first = batch.add(b"first")
    with store.batch() as batch:
        second = batch.add(b"second")
        assert batch.refresh([first])
        assert not batch.refresh([first, "0" * 64])
    assert store.prune(3600) == 0
    assert store.prune(0, {second}) == 1
    assert store.damaged([first, second]) == [first]
    assert store.prune(0) == 1


def test_hints_are_kept(make: Make) -> None:
    """The last one under a key."""
    store = make()
    assert store.noted("key") is None
    store.note("key", "one")
    store.note("key", "two")
    assert store.noted("key") == "two"


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "deep" / "store")


def the_file(store: FileStore) -> Path:
    (found,) = (path for path in kept(store))
    return found


def kept(store: FileStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"]


def test_files_are_private(files: FileStore) -> None:
    files.save(b"secret")
    path = the_file(files)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(files.root.stat().st_mode) == 0o700


def test_a_flipped_bit_is_found_and_mended_by_saving_again(files: FileStore) -> None:
    name = files.save(b"before")
    path = the_file(files)
    path.write_bytes(b"befors")
    with pytest.raises(ActionError, match="damaged"):
        files.load(name)
    assert files.save(b"before") == name
    assert files.load(name) == b"before"


def test_a_name_cannot_lead_out_of_the_store(files: FileStore) -> None:
    with pytest.raises(ActionError, match="no SHA-256"):
        files.load("../../../../etc/passwd")


@pytest.mark.parametrize("root", ["/proc/rex-store", "/dev/null/store"])
def test_a_place_that_cannot_be_written_is_named(root: str) -> None:
    with pytest.raises(ActionError, match=f"in {root}: .*nothing was changed") as caught:
        FileStore(Path(root)).save(b"x")
    assert caught.value.classification.type == "resource"


def test_a_disk_that_is_full_keeps_nothing_half(files: FileStore) -> None:
    """In a process of its own: its files may not grow beyond 4096 bytes."""
    source = """
import os, resource, sys
from pathlib import Path
from rollback.stores import FileStore
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    FileStore(Path(sys.argv[1])).save(os.urandom(10000))
except Exception as error:
    print(type(error).__name__, error)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", source, str(files.root)], cwd=root, capture_output=True, text=True, check=True
    )
    assert "ActionError cannot save 10000 bytes" in done.stdout
    assert not kept(files)


def test_several_processes_share_one_store(files: FileStore) -> None:
    source = """
import sys
from pathlib import Path
from rollback.stores import FileStore
store = FileStore(Path(sys.argv[1]))
for number in range(50):
    content = b"%d" % number * 1000
    assert store.load(store.save(content)) == content
"""
    root = Path(__file__).resolve().parents[2]
    several = [subprocess.Popen([sys.executable, "-c", source, str(files.root)], cwd=root) for _ in range(3)]
    assert [process.wait() for process in several] == [0, 0, 0]
    assert len(kept(files)) == 50


def test_leftovers_of_dead_processes_go(files: FileStore) -> None:
    """What is unfinished while nobody saves can only come from a process that died."""
    name = files.save(b"kept")
    leftovers = [the_file(files).parent / ".dead", files.root / "packs" / ".dead.pack"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    assert files.prune(3600) == 0
    assert not any(leftover.exists() for leftover in leftovers)
    assert files.load(name) == b"kept"
