"""snapshot.git: work tree, index and HEAD as before, and a history that nobody touched."""

import os
from pathlib import Path

import pytest
from support.dying import kill_at_every_step
from support.work_trees import GIT, Work, make_work, restore, spoil, take
from support.worlds import Bench

from executor.model.errors import ActionError


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    return make_work(tmp_path, monkeypatch)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_take_leaves_no_trace(bench: Bench, work: Work) -> None:
    """Every byte of .git is as before, and so are the files."""
    before = work.repository(), work.files()
    result, _ = bench.do(GIT, path=str(work.path))
    assert (work.repository(), work.files()) == before
    head = work.git("rev-parse", "HEAD").strip()
    assert result == {
        "path": str(work.path), "branch": "refs/heads/main", "commit": head, "files": 7, "bytes": result["bytes"]
    }  # fmt: skip


def test_a_deploy_is_taken_back(bench: Bench, work: Work) -> None:
    """Branch, index, tracked and untracked files as before; ignored ones are left; again, and nothing changes."""
    before = work.seen()
    main = work.git("rev-parse", "main")
    data = take(bench, work)
    spoil(work)
    stash = work.git("stash", "list")
    release = work.git("rev-parse", "release")
    result = restore(bench, work, data)
    assert work.seen() == before
    assert result["was"] == {"branch": "refs/heads/release", "commit": release.strip()}
    assert (work.git("rev-parse", "main"), work.git("rev-parse", "release")) == (main, release)
    assert work.git("stash", "list") == stash
    assert "rex: restored" in work.git("reflog")
    assert "dangling" not in work.git("fsck", "--strict")
    again = work.repository()
    restore(bench, work, data)
    assert work.seen() == before
    assert work.repository().keys() == again.keys()


def test_commits_on_the_branch_itself_are_taken_back_and_kept(bench: Bench, work: Work) -> None:
    """A pull moves the branch: it goes back, and the commit is found in the reflog."""
    before = work.seen()
    data = take(bench, work)
    newest = work.commit("app", "three")
    restore(bench, work, data)
    assert work.seen() == before
    assert newest in work.git("reflog", "--format=%H", "main")
    assert work.git("cat-file", "-t", newest) == "commit\n"


def test_a_detached_head_and_a_branch_without_commits(bench: Bench, work: Work, tmp_path: Path) -> None:
    """Both are as they were."""
    work.git("checkout", "-q", "--detach")
    before = work.seen()
    data = take(bench, work)
    spoil(work)
    restore(bench, work, data)
    assert work.seen() == before
    fresh = Work(tmp_path / "fresh")
    fresh.path.mkdir()
    fresh.git("init", "-q")
    fresh.write("x", "1")
    before = fresh.seen()
    data = take(bench, fresh)
    fresh.commit("y", "2")
    restore(bench, fresh, data)
    assert fresh.seen() == before


def test_a_merge_that_the_run_left_in_progress_is_forgotten(bench: Bench, work: Work) -> None:
    """A conflict: no MERGE_HEAD after, no conflict in the index. One at the take is refused."""
    work.git("branch", "side", "HEAD~1")
    before = work.seen()
    data = take(bench, work)
    work.git("stash", "-q", "--include-untracked")
    work.git("checkout", "-q", "side")
    work.commit("app", "conflicting")
    work.git("checkout", "-q", "main")
    work.git("merge", "side", fails=True)
    assert (work.path / ".git/MERGE_HEAD").exists()
    with pytest.raises(ActionError, match="a merge is in progress: finish or abort it first"):
        take(bench, work)
    restore(bench, work, data)
    assert work.seen() == before
    assert not list((work.path / ".git").glob("MERGE_*"))


def test_ignored_files_are_left_or_saved(bench: Bench, work: Work) -> None:
    """As the parameter says; with it, those that came since go."""
    data, all_of_it = take(bench, work), take(bench, work, ignored=True)
    everything = work.files()
    work.write("cache/a", "changed")
    work.write("cache/b", "since")
    restore(bench, work, data)
    assert (work.path / "cache/a").read_text() == "changed"
    assert (work.path / "cache/b").exists()
    restore(bench, work, all_of_it)
    assert work.files() == everything


def test_a_file_that_was_ignored_is_not_removed_by_other_rules(bench: Bench, work: Work) -> None:
    """The run's commit ignores nothing: what the old rules ignored stays."""
    data = take(bench, work)
    work.write(".gitignore", "")
    work.git("add", ".gitignore")
    work.git("commit", "-qm", "no rules")
    restore(bench, work, data)
    assert (work.path / "run.log").read_text() == "ignored"
    assert (work.path / "cache/a").exists()


def test_a_change_of_the_same_size_and_time_is_still_seen(bench: Bench, work: Work) -> None:
    """Changed in the instant in which it was staged: git looks again only at what is not older than the index."""
    work.write("racy", "one")
    work.git("add", "racy")
    work.write("racy", "two")
    index, racy = work.path / ".git/index", work.path / "racy"
    stamp = index.stat().st_mtime_ns + 5_000_000_000
    os.utime(racy, ns=(stamp, stamp))
    work.git("update-index", "--refresh", fails=True)
    work.git("add", "racy")
    racy.write_text("six")
    os.utime(racy, ns=(stamp, stamp))
    os.utime(index, ns=(stamp, stamp))
    work.git("config", "core.trustctime", "false")
    data = take(bench, work)
    work.git("add", "untracked")
    restore(bench, work, data)
    assert index.stat().st_mtime_ns == stamp
    assert "racy" in work.git("diff", "--name-only")


def test_an_index_that_was_destroyed_is_put_back(bench: Bench, work: Work) -> None:
    """And one that is gone."""
    before = work.seen()
    data = take(bench, work)
    (work.path / ".git/index").write_bytes(b"nonsense")
    work.write("since", "x")
    restore(bench, work, data)
    assert work.seen() == before
    (work.path / ".git/index").unlink()
    restore(bench, work, data)
    assert work.seen() == before


@pytest.mark.thorough
def test_a_restore_killed_anywhere_and_called_again_is_exact(bench: Bench, work: Work) -> None:
    """SIGKILL at each of its steps."""
    before = work.seen()
    data = take(bench, work)
    round_ = iter(range(1000))

    def ruin() -> None:
        spoil(work)
        work.git("branch", "-m", "release", f"release-{next(round_)}")

    def check() -> None:
        assert work.seen() == before

    assert kill_at_every_step(bench, GIT, data, ruin, check, path=str(work.path)) > 10


def test_a_linked_work_tree(bench: Bench, work: Work, tmp_path: Path) -> None:
    """Its index and HEAD lie in the repository that it belongs to."""
    work.git("worktree", "add", "-q", "-b", "linked", str(tmp_path / "linked"))
    linked = Work(tmp_path / "linked")
    linked.write("app", "changed")
    linked.git("add", "app")
    data = take(bench, linked)
    files, staged = linked.files(), linked.git("ls-files", "--stage")
    linked.commit("app", "three")
    restore(bench, linked, data)
    assert (linked.files(), linked.git("ls-files", "--stage")) == (files, staged)
    assert linked.git("log", "-1", "--format=%s") == "app is two\n"
