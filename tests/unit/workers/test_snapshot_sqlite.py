"""snapshot.sqlite: one committed state, and back under the connections of others."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.dying import kill_at_every_step
from support.worlds import Bench

from executor.action import Undo
from executor.model.errors import ActionCancelled, ActionError, ChangedSince
from rollback.stores import MemoryStore
from workers.actions.saved_stream import PIECE_BYTES
from workers.actions.snapshot_sqlite import Sqlite

SQLITE = Sqlite()


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def make(path: Path, *, wal: bool = False, rows: int = 100, page_size: int = 4096) -> Path:
    with closing(connect(path)) as db:
        db.execute(f"PRAGMA page_size={page_size}")
        db.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
        db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO t VALUES (?, ?)", ((n, b"%d" % n * 100) for n in range(rows)))
        db.execute("COMMIT")
    return path


def rows(path: Path) -> list[tuple[object, ...]]:
    with closing(connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return db.execute("SELECT n, x FROM t ORDER BY n").fetchall()


@pytest.fixture(params=["delete", "wal"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database in each journal mode."""
    return make(tmp_path / "app.db", wal=request.param == "wal")


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copies are made in a directory of the test, and none is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert not list(folder.iterdir())
    assert not list(tmp_path.glob(".rex-*"))


def spoil(path: Path) -> None:
    with closing(connect(path)) as db:
        db.execute("DELETE FROM t WHERE n % 3 = 0")
        db.execute("CREATE TABLE IF NOT EXISTS more (y)")
        db.execute("INSERT INTO more VALUES (randomblob(200000))")


def test_what_was_changed_is_put_back(bench: Bench, path: Path) -> None:
    """Rows, tables and journal mode are as before; the result says what was saved."""
    before = rows(path)
    result, undo = bench.do(SQLITE, path=str(path))
    assert result == {"path": str(path), "existed": True, "bytes": path.stat().st_size}
    spoil(path)
    assert undo()["by"] == "overwritten"
    assert rows(path) == before
    with closing(connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_a_take_while_others_write_holds_one_committed_state(bench: Bench, path: Path) -> None:
    """A process moves amounts between two rows all the time: their sum in the copy is that of every commit."""
    with closing(connect(path)) as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER)")
        db.execute("INSERT INTO account VALUES (1, 500), (2, 500)")
    writing = (
        "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
        "print('up', flush=True)\n"
        "while True:\n db.execute('BEGIN IMMEDIATE')\n db.execute('UPDATE account SET amount=amount-1 WHERE id=1')\n"
        " db.execute('INSERT INTO t(x) VALUES (randomblob(5000))')\n"
        " db.execute('UPDATE account SET amount=amount+1 WHERE id=2')\n db.execute('COMMIT')\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", writing, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"up\n"
        run = bench.begin(SQLITE, path=str(path), busy_timeout="15s")
    finally:
        writer.kill()
        writer.communicate()
    SQLITE.restore(bench.run(SQLITE, path=str(path)), run.snapshot, Undo(snapshot=run.snapshot))
    rows(path)
    with closing(connect(path)) as db:
        assert db.execute("SELECT sum(amount) FROM account").fetchone() == (1000,)


def test_others_that_have_it_open_see_the_restored_content(bench: Bench, path: Path) -> None:
    """A connection opened before the restore reads what is restored, and can write."""
    run = bench.begin(SQLITE, path=str(path))
    spoil(path)
    with closing(connect(path)) as other:
        assert other.execute("SELECT count(*) FROM t").fetchone() == (66,)
        bench.undo(SQLITE, run)
        assert other.execute("SELECT count(*) FROM t").fetchone() == (100,)
        other.execute("INSERT INTO t VALUES (1000, 'x')")
    assert len(rows(path)) == 101


def test_a_committed_state_that_is_only_in_the_log_is_saved(bench: Bench, tmp_path: Path) -> None:
    """A writer died and left its log: what it committed is in the copy, and the take leaves the files alone."""
    path = make(tmp_path / "app.db", wal=True)
    source = (
        "import os, sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n"
        "db.execute('INSERT INTO t VALUES (500, 1)')\ndb.commit()\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", source, str(path)], check=True)
    seen = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    assert seen[1]
    run = bench.begin(SQLITE, path=str(path))
    assert (path.read_bytes(), Path(f"{path}-wal").read_bytes()) == seen
    spoil(path)
    bench.undo(SQLITE, run)
    assert rows(path)[-1][0] == 500


@pytest.mark.parametrize("wal", [False, True])
def test_a_restore_killed_anywhere_and_called_again_is_exact(bench: Bench, tmp_path: Path, wal: bool) -> None:
    """SIGKILL at each step, also between the pages that are written: nobody finds a half restored database."""
    path = make(tmp_path / "app.db", wal=wal, rows=5_000)
    before = rows(path)
    data = bench.begin(SQLITE, path=str(path)).snapshot
    assert data is not None
    spoiled = before[:0]

    def ruin() -> None:
        spoil(path)
        spoiled[:] = rows(path)

    def check() -> None:
        assert rows(path) == before

    def all_or_nothing() -> None:
        assert rows(path) in (before, spoiled)

    assert kill_at_every_step(bench, SQLITE, data, ruin, check, all_or_nothing, path=str(path)) > 5


def test_a_database_that_is_gone_is_put_in_place_with_its_mode(bench: Bench, path: Path) -> None:
    """Removed, with a log of it left behind: the file comes back with mode and owner, without that log."""
    before = rows(path)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    wanted = path.stat()
    run = bench.begin(SQLITE, path=str(path))
    path.unlink()
    Path(f"{path}-wal").write_bytes(b"of another database")
    Path(f"{path}-journal").write_bytes(b"of another database")
    assert bench.undo(SQLITE, run)["by"] == "put in place anew"
    now = path.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (wanted.st_mode, wanted.st_uid, wanted.st_gid)
    assert rows(path) == before


def test_what_is_no_database_any_more_is_replaced(bench: Bench, path: Path) -> None:
    """A run that wrote nonsense over it is taken back too."""
    before = rows(path)
    run = bench.begin(SQLITE, path=str(path))
    path.write_bytes(b"nonsense" * 3000)
    assert bench.undo(SQLITE, run)["by"] == "put in place anew"
    assert rows(path) == before


def test_another_page_size_is_taken_back(bench: Bench, path: Path, tmp_path: Path) -> None:
    """The run built it anew with larger pages."""
    before = rows(path)
    run = bench.begin(SQLITE, path=str(path))
    for name in tmp_path.glob("app.db*"):
        name.unlink()
    make(path, wal=True, page_size=16384)
    bench.undo(SQLITE, run)
    assert rows(path) == before


def test_one_that_was_missing_is_removed(bench: Bench, tmp_path: Path) -> None:
    """With missing_ok, restoring removes what the run created, its log included."""
    path = tmp_path / "new.db"
    with pytest.raises(ActionError, match=r"there is no database .*new\.db; with `missing_ok: true`"):
        bench.begin(SQLITE, path=str(path))
    run = bench.begin(SQLITE, path=str(path), missing_ok=True)
    make(path, wal=True)
    Path(f"{path}-wal").write_bytes(b"")
    assert bench.undo(SQLITE, run)["removed"] is True
    assert not list(tmp_path.glob("new.db*"))
    assert bench.undo(SQLITE, run)["removed"] is False


def test_a_lock_of_others_ends_it_with_a_clear_error(bench: Bench, path: Path) -> None:
    """Who writes for longer than busy_timeout stops the restore, and nothing is changed."""
    run = bench.begin(SQLITE, path=str(path), busy_timeout="100ms")
    spoil(path)
    with closing(connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t VALUES (2000, 'x')")
        again = bench.run(SQLITE, path=str(path), busy_timeout="100ms")
        with pytest.raises(ActionError, match=r"was locked by others for 0\.1 s; nothing was changed") as caught:
            SQLITE.restore(again, run.snapshot, Undo())
        assert caught.value.classification.retryable
        other.execute("ROLLBACK")
    assert len(rows(path)) == 66


def test_a_cancel_ends_the_restore(bench: Bench, path: Path) -> None:
    """While it waits for a lock it looks whether it was cancelled."""
    run = bench.begin(SQLITE, path=str(path))
    again = bench.run(SQLITE, path=str(path), busy_timeout="60s")
    with closing(connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t VALUES (2000, 'x')")
        begun = time.monotonic()
        again._cancelled = lambda: time.monotonic() - begun > 0.3
        with pytest.raises(ActionCancelled):
            SQLITE.restore(again, run.snapshot, Undo())


def test_bad_paths_are_refused_before_anything_is_saved(bench: Bench, tmp_path: Path) -> None:
    """A directory, a text, a damaged database, a path outside the roots, by a link too."""
    text = tmp_path / "text"
    text.write_bytes(b"no database" * 500)
    damaged = make(tmp_path / "damaged.db", rows=2000)
    content = bytearray(damaged.read_bytes())
    content[8192:40960] = os.urandom(32768)
    damaged.write_bytes(content)
    cases = [(tmp_path, "is a directory"), (text, "no SQLite database"), (damaged, "is damaged")]
    for wrong, said in cases:
        with pytest.raises(ActionError, match=said) as caught:
            bench.begin(SQLITE, path=str(wrong))
        assert not caught.value.classification.retryable
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.db").symlink_to(make(tmp_path / "outside.db"))
    run = bench.run(SQLITE, path=str(inside / "link.db"))
    run.roots = (str(inside),)
    with pytest.raises(ActionError, match=r"outside\.db lies outside .*rollback\.snapshot_roots"):
        SQLITE.take(run)
    assert SQLITE.problems({"path": "app.db"}) == [("path", "'app.db' is relative: paths are absolute")]
    assert not bench.saved._kept


def test_a_store_that_is_too_small_is_told_before(bench: Bench, path: Path) -> None:
    """What is larger than the room is refused; so is what fills it meanwhile."""
    bench.saved = MemoryStore(max_bytes=1000)
    with pytest.raises(ActionError, match=r"needs \d+ bytes, and the store of this device has room for 1000") as caught:
        bench.begin(SQLITE, path=str(path))
    assert caught.value.classification.type == "resource"


def test_damaged_pieces_are_found_before_anything_is_changed(bench: Bench, tmp_path: Path) -> None:
    """A flipped byte in the store: the restore is refused, the database stays as it is."""
    path = make(tmp_path / "app.db", rows=30_000)
    run = bench.begin(SQLITE, path=str(path))
    assert path.stat().st_size > PIECE_BYTES
    spoil(path)
    name = run.snapshot["content"]["pieces"][-1]
    content, saved = bench.saved._kept[name]
    bench.saved._kept[name] = (content[:-1] + bytes([content[-1] ^ 1]), saved)
    now = rows(path)
    with pytest.raises(ActionError, match=f"1 of its 4 pieces are missing or damaged.*{name}; nothing was changed"):
        bench.undo(SQLITE, run)
    assert rows(path) == now


def test_changes_after_the_run_are_left_unless_forced(bench: Bench, path: Path) -> None:
    """Written in the quiet time: ChangedSince, and --force overwrites; before and after it nothing is asked."""
    before = rows(path)
    data = bench.begin(SQLITE, path=str(path)).snapshot
    assert data is not None
    spoil(path)
    changed = path.stat().st_mtime
    again = bench.run(SQLITE, path=str(path))
    quiet = (changed - 10, changed + 10)
    with pytest.raises(ChangedSince, match=r"app\.db was changed since the run ended; `--force` overwrites it"):
        SQLITE.restore(again, data, Undo(quiet=quiet))
    assert len(rows(path)) == 66
    SQLITE.restore(again, data, Undo(quiet=quiet, force=True))
    assert rows(path) == before
    SQLITE.restore(again, data, Undo(quiet=(changed - 20, changed - 10)))
    path.unlink()
    with pytest.raises(ChangedSince, match="is gone, and its directory was changed"):
        SQLITE.restore(again, data, Undo(quiet=quiet))
