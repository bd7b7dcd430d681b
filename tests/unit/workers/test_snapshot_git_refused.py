"""snapshot.git: what is refused, what is left, and that nothing of the repository runs."""

from pathlib import Path

import pytest
from support.work_trees import GIT, Work, make_work, restore, spoil, take
from support.worlds import Bench

from executor.model.errors import ActionCancelled, ActionError, ChangedSince
from rollback.stores import MemoryStore


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    return make_work(tmp_path, monkeypatch)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_no_hook_of_the_repository_runs(bench: Bench, work: Work, tmp_path: Path) -> None:
    """Hooks, a file system monitor, and a filter: none is started, by neither take nor restore."""
    trace = tmp_path / "trace"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho $0 >> {trace}\ncat\n")
    hook.chmod(0o755)
    data = take(bench, work)
    work.commit("app", "three")
    for name in ("reference-transaction", "post-checkout", "post-index-change"):
        (work.path / ".git/hooks" / name).symlink_to(hook)
    for key in ("core.fsmonitor", "filter.f.clean", "filter.f.smudge", "core.sshCommand"):
        work.git("config", key, str(hook))
    (work.path / ".git/info/attributes").write_text("* filter=f\n")
    trace.unlink(missing_ok=True)
    take(bench, work)
    restore(bench, work, data)
    assert not trace.exists()
    assert (work.path / "app").read_text() == "changed"


def test_what_is_no_work_tree_is_refused(bench: Bench, work: Work, tmp_path: Path) -> None:
    """Each with its reason, before anything is saved."""
    (tmp_path / "plain").mkdir()
    work.git("init", "-q", "--bare", str(tmp_path / "bare"))
    cases = [
        (tmp_path / "nothing", "there is no directory"),
        (tmp_path / "plain", "not a git repository"),
        (tmp_path / "bare", "is not the top of a git work tree: it is a bare repository"),
        (work.path / "deep", "is not the top of a git work tree: it lies in that of .*/work"),
        (work.path / ".git", "is not the top of a git work tree"),
    ]
    for path, said in cases:
        with pytest.raises(ActionError, match=said) as caught:
            take(bench, Work(path))
        assert not caught.value.classification.retryable
    run = bench.run(GIT, path=str(work.path))
    run.roots = (str(tmp_path / "plain"),)
    with pytest.raises(ActionError, match=r"lies outside .*rollback\.snapshot_roots"):
        GIT.take(run)
    assert GIT.problems({"path": "work"})[0][0] == "path"
    assert not bench.saved._kept


def test_repositories_within_a_lock_and_a_split_index_are_refused(bench: Bench, work: Work, tmp_path: Path) -> None:
    """Submodules, a clone that is not ignored, another git at work."""
    (work.path / ".git/index.lock").touch()
    with pytest.raises(ActionError, match=r"another git works in .*index\.lock exists") as caught:
        take(bench, work)
    assert caught.value.classification.retryable
    (work.path / ".git/index.lock").unlink()
    work.git("update-index", "--split-index")
    with pytest.raises(ActionError, match="has a split index"):
        take(bench, work)
    work.git("update-index", "--no-split-index")
    inner = Work(work.path / "inner")
    inner.path.mkdir()
    inner.git("init", "-q")
    inner.commit("x", "1")
    with pytest.raises(ActionError, match="holds other repositories, which are not saved with it: inner/"):
        take(bench, work)
    work.git("-c", "advice.addEmbeddedRepo=false", "add", "inner")
    with pytest.raises(ActionError, match="holds other repositories, which are not saved with it: inner"):
        take(bench, work)


def test_a_lock_at_the_restore_changes_nothing(bench: Bench, work: Work) -> None:
    """Another git is at work: told, to be tried again."""
    data = take(bench, work)
    spoil(work)
    spoiled = work.seen()
    (work.path / ".git/index.lock").touch()
    with pytest.raises(ActionError, match=r"index\.lock exists"):
        restore(bench, work, data)
    (work.path / ".git/index.lock").unlink()
    assert work.seen() == spoiled


def test_the_lock_of_a_killed_restore_is_taken_over(bench: Bench, work: Work) -> None:
    """It was to become the index: it is told from that of another git by its bytes."""
    before = work.seen()
    data = take(bench, work)
    index = (work.path / ".git/index").read_bytes()
    spoil(work)
    (work.path / ".git/index.lock").write_bytes(index)
    restore(bench, work, data)
    assert work.seen() == before
    assert not (work.path / ".git/index.lock").exists()


def test_objects_that_are_gone_are_found_before_anything_is_changed(bench: Bench, work: Work) -> None:
    """What was staged at the take, and pruned since."""
    data = take(bench, work)
    work.git("reset", "-q", "--hard")
    work.git("prune", "--expire=now")
    now = work.seen()
    with pytest.raises(ActionError, match=r"1 objects that HEAD or the index of .* named are gone"):
        restore(bench, work, data)
    assert work.seen() == now


def test_the_store_full_or_damaged(bench: Bench, work: Work) -> None:
    """Too small: refused with nothing saved. A flipped byte: refused before anything is changed."""
    data = take(bench, work)
    spoil(work)
    now = work.seen()
    name = next(name for name, (content, _) in bench.saved._kept.items() if content == b"and changed")
    bench.saved._kept[name] = (b"And changed", 0.0)
    with pytest.raises(ActionError, match=f"are missing or damaged.*{name}; nothing was changed"):
        restore(bench, work, data)
    assert work.seen() == now
    bench.saved = MemoryStore(max_bytes=20)
    with pytest.raises(ActionError, match=r"needs .* bytes, and the store of this device has room for 20"):
        take(bench, work)


def test_cancel_ends_it(bench: Bench, work: Work) -> None:
    """Take and restore."""
    data = take(bench, work)
    bench.cancel.set()
    with pytest.raises(ActionCancelled):
        take(bench, work)
    with pytest.raises(ActionCancelled):
        restore(bench, work, data)


def test_changes_after_the_run_are_left_unless_forced(bench: Bench, work: Work) -> None:
    """A commit of others: nothing is touched. A file of others: it is left, the rest is restored."""
    before = work.seen()
    data = take(bench, work)
    work.commit("app", "three")
    now = (work.path / ".git/index").stat().st_mtime
    committed = work.seen()
    with pytest.raises(ChangedSince, match=r"(HEAD|index|refs/heads/main) of the repository .* was changed since"):
        restore(bench, work, data, quiet=(now - 60, now + 60))
    assert work.seen() == committed
    restore(bench, work, data, quiet=(now - 60, now + 60), force=True)
    assert work.seen() == before
    work.write("app", "by others")
    with pytest.raises(ChangedSince, match="app"):
        restore(bench, work, data, quiet=(now - 60, now + 600))
    assert (work.path / "app").read_text() == "by others"
    restore(bench, work, data)
    assert work.seen() == before
