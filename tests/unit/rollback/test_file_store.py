"""What packs can suffer: damage, kills, several processes at once, and a store from before there were packs."""

import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.model.errors import ActionError
from rollback.stores import FileStore
from rollback.stores.records import HEAD_BYTES

ROOT = Path(__file__).resolve().parents[3]
NOISE = random.Random(9).randbytes(1 << 20)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def filled(store: FileStore, count: int = 20) -> list[str]:
    with store.batch() as batch:
        return [batch.add(NOISE[number * 100 : number * 100 + 100]) for number in range(count)]


def the_pack(store: FileStore) -> Path:
    (found,) = (path for path in (store.root / "packs").iterdir())
    return found


def again(store: FileStore) -> FileStore:
    """As another process sees it."""
    return FileStore(store.root, store.max_bytes)


def test_packs_are_private(store: FileStore) -> None:
    """As every directory of the store."""
    filled(store)
    assert stat.S_IMODE(the_pack(store).stat().st_mode) == 0o600
    for folder in (store.root, store.root / "packs"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_shrinks_is_compressed_and_what_does_not_is_not(store: FileStore) -> None:
    """Text of single saves and of batches takes a fraction; noise no more than its size and a head."""
    text = b"the same line again\n" * 10_000
    store.save(text)
    with store.batch() as batch:
        batch.add(text + b"end")
    assert store.max_bytes - store.room() < 3000
    before = store.room()
    with store.batch() as batch:
        batch.add(NOISE)
    assert before - store.room() < len(NOISE) + 300


def test_the_store_from_before_is_read(store: FileStore) -> None:
    """Files without compression, named by their SHA-256 alone."""
    content = b"text that shrinks " * 100
    name = hashlib.sha256(content).hexdigest()
    place = store.root / name[:2] / name
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert store.load(name) == content
    assert store.save(content) == name
    assert [path.name for path in place.parent.iterdir()] == [name], "it is not saved a second time"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_flipped_bit_costs_one_content_at_most(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Wherever it is: in a head, a content, or the table. It is found, and everything else loads."""
    store = FileStore(tmp_path_factory.mktemp("flip") / "store")
    names = filled(store)
    pack = the_pack(store)
    content = bytearray(pack.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    pack.write_bytes(content)
    fresh = again(store)
    lost = fresh.damaged(names)
    hit = place // (HEAD_BYTES + 100)
    assert lost == ([names[hit]] if hit < len(names) else [])
    for name in set(names) - set(lost):
        assert fresh.load(name)
    if lost:
        with pytest.raises(ActionError, match=f"saved bytes {lost[0]} in {pack} are damaged: .*not used"):
            fresh.load(lost[0])


def test_damaged_content_is_mended_by_saving_it_again(store: FileStore) -> None:
    """The new copy counts, for every process."""
    names = filled(store)
    pack = the_pack(store)
    content = bytearray(pack.read_bytes())
    content[HEAD_BYTES + 5] ^= 1
    pack.write_bytes(content)
    other = again(store)
    assert other.damaged(names) == names[:1]
    assert filled(store) == names
    assert other.damaged(names) == []


@pytest.mark.parametrize("left", [0, 5, 1000, 3000])
def test_a_pack_that_was_cut_off_loses_what_was_cut(store: FileStore, left: int) -> None:
    """What lies before the cut is found without the table at the end."""
    names = filled(store)
    os.truncate(the_pack(store), left)
    whole = left // (HEAD_BYTES + 100)
    fresh = again(store)
    assert set(fresh.damaged(names)) == set(names[whole:])
    with pytest.raises(ActionError, match="in a pack that somebody deleted or cut off"):
        fresh.load(names[-1])
    assert set(store.damaged(names)) == set(names[whole:]), "also by a process that knew the table"


def test_a_deleted_pack_is_noticed_by_a_process_that_had_it_open(store: FileStore) -> None:
    """And the contents are saved anew."""
    names = filled(store)
    assert store.load(names[0])
    the_pack(store).unlink()
    assert set(store.damaged(names)) == set(names)
    assert filled(store) == names
    assert store.damaged(names) == []


def test_several_threads_share_a_batch(store: FileStore) -> None:
    """Each content once, none lost."""
    with store.batch() as batch:
        threads = [
            threading.Thread(target=lambda: [batch.add(NOISE[n * 1000 : n * 1000 + 1000]) for n in range(300)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(300):
        content = NOISE[number * 1000 : number * 1000 + 1000]
        assert store.load(hashlib.sha256(content).hexdigest()) == content
    assert store.max_bytes - store.room() < 300 * 1200


WRITER = """
import random, sys
from pathlib import Path
from rollback.stores import FileStore
store, chance = FileStore(Path(sys.argv[1])), random.Random(int(sys.argv[2]))
for number in range(30):
    contents = [b"%d" % chance.randrange(500) * 100 for _ in range(20)]
    with store.batch() as batch:
        names = [batch.add(content) for content in contents]
    assert not store.damaged(names)
    assert [store.load(name) for name in names] == contents
    if sys.argv[3] == "prune":
        store.prune(3600)
"""


def test_several_processes_save_prune_and_read_at_once(store: FileStore) -> None:
    """What one has saved all find; nothing unfinished stays."""
    several = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.root), str(seed), how], cwd=ROOT)
        for seed, how in enumerate(["", "", "prune"])
    ]
    assert [process.wait() for process in several] == [0, 0, 0]
    store.prune(3600)
    assert all(path.suffix == ".pack" for path in (store.root / "packs").iterdir())


def test_pruning_waits_for_those_who_save(store: FileStore) -> None:
    """What a batch relies on cannot go before it has said so."""
    (name,) = filled(store, 1)
    os.utime(the_pack(store), (0, 0))
    pruning = threading.Thread(target=lambda: again(store).prune(3600))
    with store.batch() as batch:
        pruning.start()
        pruning.join(0.2)
        assert pruning.is_alive()
        assert batch.add(NOISE[:100]) == name
    pruning.join()
    assert store.load(name) == NOISE[:100]


KILLED = """
import sys
from pathlib import Path
from rollback.stores import FileStore, writing
writing.PACK_BYTES = 1 << 20
with FileStore(Path(sys.argv[1])).batch() as batch:
    number = 0
    while True:
        number += 1
        batch.add(number.to_bytes(4, "big") * 20_000 + __import__("os").urandom(50_000))
        print(number, flush=True)
"""


@pytest.mark.parametrize("number", [1, 30, 60])
def test_a_killed_batch_leaves_nothing_that_counts(store: FileStore, number: int) -> None:
    """Its files go at the next pruning, its lock with the process; what was there before is whole."""
    names = filled(store)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.root)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < number:
            pass
        child.send_signal(signal.SIGKILL)
    assert store.prune(3600) == 0
    assert the_pack(store)
    assert store.damaged(names) == []
    assert filled(store) == names
