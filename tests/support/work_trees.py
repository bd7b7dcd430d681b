"""Git work trees for tests: what a person sees of one, and what a deploy does to it."""

import os
import subprocess
from pathlib import Path

import pytest

from executor.action import Json, Undo
from support.worlds import Bench
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


def make_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
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
