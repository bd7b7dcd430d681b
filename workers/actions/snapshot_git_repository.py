"""One git repository, seen through git itself: nothing of what its configuration or hooks would run is run."""

import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from executor.action import Json, Run
from executor.model.errors import CONFIGURATION, TRANSIENT, ActionError
from workers.actions.atomic import sync_directory
from workers.actions.file_state import failed
from workers.actions.processes import inherited_environment, run_process

_SAFE = (
    "--no-pager", "--no-replace-objects", "--literal-pathspecs", "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false",
)  # fmt: skip
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # where the line above is not known: a missing object is missing
}
_ANSWER_BYTES = 256 << 20
_NOTE = "rex: restored"
_OPERATIONS = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase or am",
    "sequencer": "cherry-pick or revert",
}
_OF_OPERATIONS = ("MERGE_MSG", "MERGE_MODE", "MERGE_RR", "AUTO_MERGE", "REBASE_HEAD", *_OPERATIONS)
"""What git keeps of an operation in progress; what tells that there is one comes last."""


@dataclass(frozen=True)
class Head:
    """Where HEAD stands."""

    branch: str | None
    """``refs/heads/...``; None: detached."""
    commit: str | None
    """None: the branch has no commit yet."""

    def as_json(self) -> Json:
        return {"branch": self.branch, "commit": self.commit}


class Repository:
    """The work tree whose top is `path`, real and absolute.

    Raises:
        ActionError: there is none, or git is not installed, or does not trust its owner.
    """

    def __init__(self, run: Run, path: str) -> None:
        self.path = path
        self._run = run
        if shutil.which("git") is None:
            raise ActionError("git is not on the PATH of the worker: install it there", CONFIGURATION)
        if not Path(path).is_dir():
            raise ActionError(f"there is no directory {path}", CONFIGURATION)
        inside = self._git("rev-parse", "--is-inside-work-tree").strip()
        top = os.fsdecode(self._git("rev-parse", "--show-toplevel").rstrip(b"\n")) if inside == b"true" else ""
        if not top or os.path.realpath(top) != path:
            where = f"it lies in that of {top}" if top else "it is a bare repository, or the inside of one"
            raise ActionError(f"{path} is not the top of a git work tree: {where}", CONFIGURATION)
        self.directory = os.fsdecode(self._git("rev-parse", "--absolute-git-dir").rstrip(b"\n"))
        self._common = Path(path) / os.fsdecode(self._git("rev-parse", "--git-common-dir").rstrip(b"\n"))
        self.index = self._place("index")

    def operation(self) -> str | None:
        """What is in progress: merge, rebase, ..."""
        return next((what for name, what in _OPERATIONS.items() if self._place(name).exists()), None)

    def forget_operation(self) -> None:
        """Forget what is in progress; moves nothing."""
        for name in _OF_OPERATIONS:
            place = self._place(name)
            try:
                if place.is_dir():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
            except OSError as error:
                raise failed("forget the operation in progress:", place, error) from error

    def head(self) -> Head:
        branch = self._git("symbolic-ref", "--quiet", "HEAD", accepted=(0, 1)).strip().decode()
        commit = self._git("rev-parse", "--quiet", "--verify", "HEAD", accepted=(0, 1)).strip().decode()
        return Head(branch or None, commit or None)

    def set_head(self, head: Head) -> None:
        """Put HEAD and its branch where they stood; what was committed since stays, and stands in the reflog."""
        now = self.head()
        if head.branch is None:
            if now != head:
                self._run.proceed()
                self._git("update-ref", "-m", _NOTE, "--no-deref", "HEAD", head.commit or "")
            return
        if now.branch != head.branch:
            self._run.proceed()
            self._git("symbolic-ref", "-m", _NOTE, "HEAD", head.branch)
            now = self.head()
        if now.commit != head.commit:
            self._run.proceed()
            to = ("-d", head.branch) if head.commit is None else (head.branch, head.commit)
            self._git("update-ref", "-m", _NOTE, *to)

    def tracked(self) -> set[str]:
        """Paths in the index, relative."""
        return _paths(self._git("ls-files", "-z", "--cached"))

    def untracked(self, *, ignored: bool, index: Path | None = None) -> set[str]:
        """Paths of files that are not in the index; a repository within ends with a slash.

        Args:
            ignored: those that are to be ignored too.
            index: another index file.
        """
        how = () if ignored else ("--exclude-standard",)
        return _paths(self._git("ls-files", "-z", "--others", *how, index=index))

    def ignored(self) -> set[str]:
        """Paths of files that are ignored, and of repositories."""
        found = self._git("ls-files", "-z", "--others", "--ignored", "--exclude-standard")
        return {path.rstrip("/") for path in _paths(found)}

    def submodules(self) -> list[str]:
        staged = _paths(self._git("ls-files", "-z", "--stage"))
        return sorted(line.partition("\t")[2] for line in staged if line.startswith("160000 "))

    def missing_objects(self, head: Head, index: Path | None) -> int:
        """How many objects of that HEAD and index file are not in the repository any more."""
        wanted = set() if head.commit is None else {head.commit}
        if index is not None:
            wanted |= {line.split()[1] for line in _paths(self._git("ls-files", "-z", "--stage", index=index))}
        if not wanted:
            return 0
        answer = self._git("cat-file", "--batch-check", stdin="\n".join(sorted(wanted)).encode() + b"\n")
        return sum(line.endswith(b" missing") for line in answer.splitlines())

    def refuse_split_index(self) -> None:
        """Raise `ActionError` where a part of the index lies in a file of its own."""
        if self._git("rev-parse", "--shared-index-path").strip():
            raise ActionError(
                f"{self.path} has a split index, which is not supported: git update-index --no-split-index",
                CONFIGURATION,
            )

    def refuse_locked(self, mine: bytes | None = None) -> None:
        """Raise `ActionError` when another git works on the index; `mine`: what a killed restore may have left."""
        lock = self._place("index.lock")
        if lock.exists() and (mine is None or lock.read_bytes() != mine):
            raise ActionError(
                f"another git works in {self.path}, or died there: {lock} exists. Wait for it, or remove that file",
                TRANSIENT,
            )

    def read_index(self) -> bytes | None:
        """The index file; None where there is none yet."""
        try:
            return self.index.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failed("read", self.index, error) from error

    def write_index(self, content: bytes | None, mtime_ns: int) -> None:
        """Make that the index, under git's own lock, with the time that it had: git takes what is older for unchanged.

        Raises:
            ActionError: another git holds the lock, or it cannot be written.
        """
        for leftover in self.index.parent.glob("index.rex-*"):
            leftover.unlink(missing_ok=True)
        if self.read_index() == content:
            return
        self._run.proceed()
        lock, temporary = self._place("index.lock"), self.index.with_name(f"index.rex-{secrets.token_hex(4)}")
        try:
            if content is None:
                self.index.unlink()
                return
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.utime(temporary, ns=(mtime_ns, mtime_ns))
            _be_like(temporary, self.index if self.index.exists() else Path(self.directory))
            if not lock.exists():  # else a killed restore left it, with the same content: it was looked at
                os.link(temporary, lock)
            lock.replace(self.index)
            temporary.unlink()
            sync_directory(self.index.parent)
        except OSError as error:
            raise failed("write the index", self.index, error) from error

    def moved_between(self, begin: float, end: float, head: Head) -> str | None:
        """Which of HEAD, its branch and the index was written in that time."""
        names = ["HEAD", "logs/HEAD", "reftable/tables.list", "index", *([head.branch] if head.branch else [])]
        for name in names:
            place = self._place(name)
            if place.exists() and begin < place.stat().st_mtime < end:
                return name.removeprefix("logs/")
        return None

    def _place(self, name: str) -> Path:
        """Where git keeps `name`: branches belong to all work trees of it, the rest to this one."""
        return self._common / name if name.startswith("refs/heads/") else Path(self.directory) / name

    def _git(
        self, *arguments: str, stdin: bytes = b"", accepted: Iterable[int] = (0,), index: Path | None = None
    ) -> bytes:
        environment = {k: v for k, v in inherited_environment().items() if not k.startswith("GIT_")} | _ENVIRONMENT
        if index is not None:
            environment["GIT_INDEX_FILE"] = str(index)
        finished = run_process(
            ["git", *_SAFE, *arguments],
            name=f"git {arguments[0]}",
            cwd=self.path,
            env=environment,
            stdin=stdin,
            remaining_s=self._run.remaining_s,
            cancelled=self._run.cancelled,
            keep=_ANSWER_BYTES,
            keep_tree_on=(),
        )
        if finished.exit_code not in accepted or finished.stdout_cut:
            words = finished.error_text.strip()[-1000:] or "it said too much"
            kind = TRANSIENT if ".lock" in words else CONFIGURATION
            raise ActionError(f"git {arguments[0]} in {self.path} ended with {finished.exit_code}: {words}", kind)
        return finished.stdout


def _be_like(file: Path, other: Path) -> None:
    """The owner of `other`, and the mode where it is a file too: git must be able to go on with it."""
    wanted, now = other.stat(), file.stat()
    if (wanted.st_uid, wanted.st_gid) != (now.st_uid, now.st_gid):
        os.chown(file, wanted.st_uid, wanted.st_gid)
    if other.is_file():
        file.chmod(wanted.st_mode & 0o777)


def _paths(answer: bytes) -> set[str]:
    return {os.fsdecode(path) for path in answer.split(b"\0") if path}
