"""snapshot.git: work tree, index and HEAD as before, and a history that nobody touched."""

import os
import subprocess
from pathlib import Path

import pytest
from support.dying import kill_at_every_step
from support.worlds import Bench

from executor.action import Json, Undo
from executor.model.errors import ActionCancelled, ActionError, ChangedSince
from rollback.stores import MemoryStore
from workers.actions.snapshot_git import Git

GIT = Git()


class Work:
    """A work tree and what a person sees of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str, fails: bool = False) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.path, text=True, capture_output=True, check=False)
        assert fails or done.returncode == 0, done.stderr
        return done.stdout

    def write(self, name: str, content: str) -> None:
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def commit(self, name: str, content: str) -> str:
        self.write(name, content)
        self.git("add", "-A")
        self.git("commit", "-qm", f"{name} is {content}")
        return self.git("rev-parse", "HEAD").strip()

    def files(self) -> dict[str, tuple[object, ...]]:
        """Everything outside of .git: content or link, mode, time."""
        found: dict[str, tuple[object, ...]] = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                place = Path(folder, name)
                relative = os.fsencode(place.relative_to(self.path))
                if relative.startswith(b".git/"):
                    continue
                state = place.lstat()
                content = str(place.readlink()) if place.is_symlink() else place.read_bytes()
                found[repr(relative)] = (content, oct(state.st_mode), state.st_mtime_ns)
        return found

    def repository(self) -> dict[str, bytes]:
        """Every byte of .git."""
        return {str(p): p.read_bytes() for p in sorted((self.path / ".git").rglob("*")) if p.is_file()}

    def seen(self) -> tuple[object, ...]:
        """Files, index, HEAD with its branch, and what status says."""
        index = self.path / ".git/index"
        return (
            self.files(),
            self.git("ls-files", "--stage", "-t"),
            self.git("symbolic-ref", "-q", "HEAD", fails=True),
            self.git("rev-parse", "-q", "--verify", "HEAD", fails=True),
            self.git("status", "--porcelain=v2", "--branch"),
            index.exists(),
        )


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A repository with two commits, staged, unstaged, untracked and ignored changes, odd names and a link."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(
        "[user]\nname = N\nemail = n@e\n[init]\ndefaultBranch = main\n[gc]\nauto = 0\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    made = Work(tmp_path / "work")
    made.path.mkdir()
    made.git("init", "-q")
    made.write(".gitignore", "*.log\ncache/\n")
    made.write("deep/er/file", "deep")
    (made.path / "link").symlink_to("deep")
    made.write("tool", "#!/bin/sh\n")
    (made.path / "tool").chmod(0o755)
    made.commit("app", "one")
    made.commit("app", "two")
    made.write("app", "changed")
    made.write("staged", "staged")
    made.git("add", "staged")
    made.write("staged", "and changed")
    made.write("untracked/new", "new")
    Path(os.fsdecode(os.fsencode(made.path) + b"/odd \xff\n name")).write_bytes(b"\x00\xff")
    made.write("run.log", "ignored")
    made.write("cache/a", "ignored")
    (made.path / "deep/er/file").unlink()
    return made


@pytest.fixture
def bench() -> Bench:
    return Bench()


def take(bench: Bench, work: Work, **more: object) -> Json:
    data = bench.begin(GIT, path=str(work.path), **more).snapshot
    assert data is not None
    return data


def restore(bench: Bench, work: Work, data: Json, **undo: object) -> Json:
    return GIT.restore(bench.run(GIT, path=str(work.path)), data, Undo(snapshot=data, **undo))


def spoil(work: Work) -> None:
    """What a deploy does: another branch, commits, files that come, go and change."""
    work.git("stash", "-q", "--include-untracked")
    work.git("checkout", "-q", "-b", "release", "HEAD~1")
    work.write(".gitignore", "*.tmp\n")
    work.write("cache/tracked", "by the new commit")
    (work.path / "tool").unlink()
    (work.path / "link").unlink()
    work.write("link/now", "a directory")
    work.commit("app", "released")
    work.write("since", "untracked")
    work.write("a.tmp", "ignored by the new rules")
    (work.path / "app").chmod(0o600)


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
