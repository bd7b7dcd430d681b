"""``snapshot.git``: saves a git work tree with its index and HEAD, and puts all three back; its history stays."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, Field

from executor.action import Json, Run, Snapshot, Undo
from executor.model.errors import (
    CONFIGURATION,
    PERMANENT,
    TRANSIENT,
    ActionCancelled,
    ActionError,
    ActionTimedOut,
    ChangedSince,
)
from executor.model.strategy import Model
from executor.snapshot import SnapshotType
from workers.actions import saved_stream
from workers.actions.snapshot_git_repository import Head, Repository
from workers.actions.tree_entries import Entry, Excluded, Manifest, kind_of, load_manifest, shown
from workers.actions.tree_restore import TreeRestore
from workers.actions.tree_save import TreeReader
from workers.actions.tree_scan import Moved, Scan

_RULES = ".gitignore"


class Git(SnapshotType):
    """Save the files of a git work tree, its index and HEAD, without a commit, ref or object in the repository.

    Saved are tracked and untracked files as they lie there; ignored ones only when asked for, else they are left alone.
    Restoring puts back the files, the index, HEAD and the branch that it stood on: a pull, a checkout, a commit and a
    merge in progress are taken back. What was committed since stays in the repository and in the reflog; other
    branches, tags, the stash and the configuration are not touched. No hook is run. Refused are submodules,
    repositories within, a split index, and a merge or rebase in progress when it is taken.
    """

    uses = "snapshot.git"

    class Parameters(Model):
        path: str = Field(description="Absolute path of the top of the work tree")
        ignored: bool = Field(False, description="Save ignored files too")

    class Results(BaseModel):
        path: str = Field(description="With symbolic links resolved")
        branch: str | None = Field(description="The branch that HEAD stood on; null: detached")
        commit: str | None = Field(description="The commit of HEAD; null: there was none yet")
        files: int = Field(description="How many files and links were saved")
        bytes: int = Field(description="Size of all files together, before compression")

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        return saved_stream.path_problems(parameters)

    def take(self, run: Run) -> Snapshot:
        given = run.parameters
        if not given.path.startswith("/") or "\0" in given.path:
            raise ActionError(f"{given.path!r} is relative, or no path: paths are absolute", CONFIGURATION)
        path = os.path.realpath(given.path)
        saved_stream.require_below_roots(run, path)
        repository = Repository(run, path)
        saved_stream.require_below_roots(run, os.path.realpath(repository.directory))
        repository.refuse_locked()
        repository.refuse_split_index()
        if operation := repository.operation():
            raise ActionError(f"in {path} a {operation} is in progress: finish or abort it first", CONFIGURATION)
        head, index = repository.head(), repository.read_index()
        mtime_ns = 0 if index is None else repository.index.stat().st_mtime_ns
        listed = _listed(repository, ignored=given.ignored)
        data: Json = {"format": 1, "path": path, "head": head.as_json(), "everything": given.ignored}
        data["index_mtime_ns"] = str(mtime_ns)  # text, for JSON numbers are not exact everywhere
        data |= self._save(run, repository, listed, index)
        if (repository.head(), repository.read_index()) != (head, index):
            raise ActionError(f"{path} was changed by another git while it was read", TRANSIENT)
        data["summary"] |= {"path": path, **head.as_json()}
        # ignored files are not held, and nobody can tell by a path which those are
        return Snapshot(data, path, (path,) if given.ignored else ())

    def _save(self, run: Run, repository: Repository, listed: set[str], index: bytes | None) -> Json:
        try:
            scan = Scan(run, [repository.path], _Outside(repository.path, listed))
            size = sum(found.state.st_size for found in scan.files()) + len(index or b"")
            saved_stream.require_room(run, size, f"the work tree {repository.path}")
            with run.saved.batch() as batch:
                entries = list(map(Entry._make, TreeReader(run, batch, {}, threads=False).read(scan)))
                ignored = set() if run.parameters.ignored else repository.ignored()
                names = {
                    "manifest": Manifest.save(batch, [repository.path], [], entries),
                    "ignored": batch.add(json.dumps(sorted(ignored)).encode()),
                    "index": None if index is None else batch.add(index),
                }
        except Moved as error:
            message = f"{shown(str(error))} was changed by others while it was read"
            raise ActionError(message, TRANSIENT) from error
        files = [entry for entry in entries if entry.kind in "fl"]
        return names | {"summary": {"files": len(files), "bytes": sum(entry.size for entry in files)}}

    def restore(self, run: Run, data: Json, undo: Undo) -> Json:
        what = f"the work tree {data['path']}"
        first = [data[name] for name in ("manifest", "ignored", "index") if data[name] is not None]
        saved_stream.refuse_damaged(run, first, what)
        parts = json.loads(run.saved.load(data["manifest"]))["parts"]
        saved_stream.refuse_damaged(run, parts, what)
        manifest = load_manifest(run.saved, data["manifest"])
        contents = dict.fromkeys(name for entry in manifest.entries for name in entry.content)
        saved_stream.refuse_damaged(run, list(contents), what)
        with saved_stream.scratch(run) as folder:
            return _Restoring(run, data, undo, manifest, folder).restore()


@dataclass
class _Restoring:
    """One restoring. The index is put back after the files: until then it tells which files came with the run."""

    run: Run
    data: Json
    undo: Undo
    manifest: Manifest
    folder: Path

    def restore(self) -> Json:
        repository = Repository(self.run, self.data["path"])
        head = Head(self.data["head"]["branch"], self.data["head"]["commit"])
        index = None if self.data["index"] is None else self.run.saved.load(self.data["index"])
        before = self.folder / "index"
        if index is not None:
            before.write_bytes(index)
        repository.refuse_locked(index)
        self._refuse_lost(repository, head, before if index is not None else None)
        was = repository.head()
        self._refuse_moved(repository, head, was, index)
        self.run.proceed()
        left = self._files(repository, before)
        repository.write_index(index, int(self.data["index_mtime_ns"]))
        if repository.operation():
            self.run.proceed()
            repository.forget_operation()
        repository.set_head(head)
        if left is not None:
            raise left
        self._verify()
        return {"path": repository.path, **head.as_json(), "was": was.as_json(), "files": len(self.manifest.entries)}

    def _refuse_lost(self, repository: Repository, head: Head, index: Path | None) -> None:
        lost = repository.missing_objects(head, index)
        if lost:
            raise ActionError(
                f"{lost} objects that HEAD or the index of {repository.path} named are gone from the repository "
                "(pruned, or it was cloned anew); nothing was changed",
                PERMANENT,
            )

    def _refuse_moved(self, repository: Repository, head: Head, was: Head, index: bytes | None) -> None:
        if self.undo.quiet is None or self.undo.force or (was == head and repository.read_index() == index):
            return
        moved = repository.moved_between(*self.undo.quiet, was)
        if moved:
            raise ChangedSince(
                f"{moved} of the repository {repository.path} was changed since the run ended; `--force` puts it back"
            )

    def _files(self, repository: Repository, before: Path) -> ActionError | None:
        """Put the files back; what was left, to be told when the rest is done."""
        tracked = self._tracked(repository)
        # first the rules: they say which files would be ignored
        rules = {path for path in tracked if PurePosixPath(path).name == _RULES}
        entries = [entry for entry in self.manifest.entries if entry.kind == "d" or _is_rules(entry)]
        self._put_back(entries, rules)
        found = repository.untracked(ignored=self.data["everything"], index=before)
        try:
            self._put_back(self.manifest.entries, tracked | found)
        except (ActionCancelled, ActionTimedOut):
            raise
        except ActionError as error:
            return error
        return None

    def _tracked(self, repository: Repository) -> set[str]:
        try:
            return repository.tracked()
        except (ActionCancelled, ActionTimedOut):
            raise
        except ActionError as error:  # an index that the run destroyed tells nothing, and is put back
            self.run.log.warning("the index of %s cannot be read: %s", repository.path, error)
            return set()

    def _put_back(self, entries: list[Entry], removable: set[str]) -> None:
        path: str = self.data["path"]
        kept = set(json.loads(self.run.saved.load(self.data["ignored"])))
        inside = {name for name in removable if not name.endswith("/") and not _below(name, kept)}
        manifest = Manifest([path], [], entries)
        token = self.data["manifest"][:16]
        _WorkTree(self.run, manifest, self.undo, token, _Outside(path, inside)).restore()

    def _verify(self) -> None:
        """What a directory with ignored files stands in the way of is not there."""
        for entry in self.manifest.entries:
            try:
                found = kind_of(os.lstat(entry.path).st_mode)
            except OSError:
                found = None
            if found != entry.kind:
                raise ActionError(
                    f"{shown(entry.path)} could not be restored: ignored files, or others, are in its place; "
                    "everything else is restored",
                    PERMANENT,
                )


class _WorkTree(TreeRestore):
    """Leaves alone what git does not list."""

    def __init__(self, run: Run, manifest: Manifest, undo: Undo, token: str, outside: Excluded) -> None:
        super().__init__(run, manifest, undo, token)
        self._excluded = outside


class _Outside(Excluded):
    """Everything below `top` but the files `listed`, relative to it, and the directories on the way to them."""

    def __init__(self, top: str, listed: Iterable[str]) -> None:
        super().__init__([])
        self.any = True
        self._inside: set[str] = set()
        for name in listed:
            path = f"{top}/{name}"
            while path != top and path not in self._inside:
                self._inside.add(path)
                path = path.rpartition("/")[0]

    def __call__(self, root: str, path: str, name: str) -> bool:  # noqa: ARG002
        return path not in self._inside


def _listed(repository: Repository, *, ignored: bool) -> set[str]:
    """What is to be saved, relative.

    Raises:
        ActionError: there are submodules, or repositories within.
    """
    untracked = repository.untracked(ignored=ignored)
    inner = repository.submodules() or sorted(path for path in untracked if path.endswith("/"))
    if inner:
        listed = ", ".join(map(shown, inner[:10]))
        raise ActionError(
            f"{repository.path} holds other repositories, which are not saved with it: {listed}. "
            "Take a snapshot.git of each, after it is ignored here, or snapshot.files of the directory",
            CONFIGURATION,
        )
    return repository.tracked() | untracked


def _is_rules(entry: Entry) -> bool:
    return PurePosixPath(entry.path).name == _RULES


def _below(path: str, names: set[str]) -> bool:
    """Whether `path` is one of `names`, or lies in one."""
    while path:
        if path in names:
            return True
        path = path.rpartition("/")[0]
    return False
