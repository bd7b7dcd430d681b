"""``snapshot.files``: files and directory trees are saved before the run, and restored exactly."""

import json
import os
from typing import Annotated, Any

from pydantic import BaseModel, Field

from executor.action import Json, Run, Snapshot, Undo
from executor.model.errors import PERMANENT, RESOURCE, ActionError
from executor.model.strategy import Model
from executor.snapshot import SnapshotType
from rollback.stores.remembering import Remembering
from workers.actions.exclusive import exactly_one
from workers.actions.tree_entries import (
    CONTENT,
    PATH,
    STAMP,
    Excluded,
    Manifest,
    Row,
    load_manifest,
    load_rows,
    shown,
    summary_of,
)
from workers.actions.tree_restore import TreeRestore
from workers.actions.tree_save import TRIES, TreeReader
from workers.actions.tree_scan import Moved, Scan, moving, roots_of

PathText = Annotated[str, Field(pattern="^/")]


class SnapshotFiles(SnapshotType):
    """Save files and directories, with modes, owners, times, extended attributes and links; restored exactly.

    Symbolic links are saved as links and never followed below a path. Sockets and pipes belong to the process that
    made them: they are noted, not saved, and left alone. A name outside of the paths that shares its file with one
    inside (a hard link) keeps the newer bytes.
    """

    uses = "snapshot.files"

    class Parameters(Model):
        paths: Annotated[list[PathText], Field(min_length=1)] | None = Field(
            None, description="Absolute paths of files and directories, each with all that is in it"
        )
        path: PathText | None = Field(None, description="A single one, instead of `paths`")
        exclude: list[Annotated[str, Field(min_length=1)]] = Field(
            [],
            description="Patterns such as '*.log' (a name at any depth) or 'cache/*' (a path below the root; `*` also "
            "passes `/`); what fits is neither saved nor touched",
        )
        missing_ok: bool = Field(
            False, description="A path that is not there is no error: restoring removes what has appeared"
        )

    class Results(BaseModel):
        paths: list[str] = Field(description="The real paths, symbolic links resolved")
        files: int = Field(description="How many files, each name of a hard link counted")
        directories: int
        links: int = Field(description="How many symbolic links")
        bytes: int = Field(description="Size of all files together, before compression")
        not_saved: list[str] = Field(description="Sockets and pipes, up to 20")

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        return exactly_one(parameters, ("paths", "path"))

    def take(self, run: Run) -> Snapshot:
        """Save; see `executor.snapshot.SnapshotType.take`."""
        parameters = run.parameters
        paths = [parameters.path] if parameters.path is not None else parameters.paths
        if not paths:
            raise ActionError("snapshot.files needs one of paths and path", PERMANENT)
        last: Moved | None = None
        for _ in range(TRIES):
            roots, missing = roots_of(run, paths, missing_ok=parameters.missing_ok)
            try:
                name, summary = _Taking(run, roots, missing, parameters.exclude).take()
            except Moved as error:
                last = error
                continue
            data = {"manifest": name, "paths": roots, "summary": summary}
            return Snapshot(data, target=roots[0] if len(roots) == 1 else "", covers=tuple(roots))
        raise moving(str(last), TRIES)

    def restore(self, run: Run, data: Json, undo: Undo) -> Json:
        """Put back; see `executor.snapshot.SnapshotType.restore`."""
        try:
            manifest = load_manifest(run.saved, data["manifest"])
        except ActionError as error:
            raise ActionError(
                f"nothing of {', '.join(map(shown, data['paths']))} could be restored: the list of what was saved is "
                f"lost: {error}",
                PERMANENT,
            ) from error
        return TreeRestore(run, manifest, undo, data["manifest"][:16]).restore()


class _Taking:
    """One try at saving."""

    def __init__(self, run: Run, roots: list[str], missing: list[str], exclude: list[str]) -> None:
        self._run = run
        self._roots = roots
        self._exclude = exclude
        self._saved: Any = run.saved
        self._remembers = isinstance(run.saved, Remembering)
        self._key = f"snapshot.files {json.dumps([roots, exclude])}"
        self._scan = Scan(run, [root for root in roots if root not in missing], Excluded(exclude))

    def take(self) -> tuple[str, Json]:
        """Name of the manifest, and the summary.

        Raises:
            ActionError: it cannot be saved.
            Moved: it changed meanwhile.
        """
        name, names, known = self._earlier()
        self._refuse_too_much(known)
        with self._saved.batch() as batch:
            if known and not batch.refresh([name, *names]):
                known = {}  # something of it was pruned
            reader = TreeReader(self._run, batch, known, threads=self._remembers)
            rows = reader.read(self._scan)
            if not known or not reader.reused == len(rows) == len(known):
                name = Manifest.save(batch, self._roots, self._exclude, rows)
        if self._remembers:
            self._saved.note(self._key, name)
        return name, summary_of(rows, self._roots)

    def _earlier(self) -> tuple[str, list[str], dict[str, Row]]:
        """The last snapshot of the same, for what did not change: its name, what it needs, its entries by path."""
        name = self._saved.noted(self._key) if self._remembers else None
        if name is None:
            return "", [], {}
        try:
            head, rows = load_rows(self._saved, name)
        except (ActionError, ValueError):  # a hint that is worth nothing any more
            return "", [], {}
        contents = [content for row in rows for content in row[CONTENT]]
        return name, [*head["parts"], *contents], {row[PATH]: row for row in rows}

    def _refuse_too_much(self, known: dict[str, Row]) -> None:
        room, size = self._run.saved.room(), self._scan.bytes
        if size > room:
            size -= sum(
                found.state.st_size
                for found in self._scan.files()
                if (row := known.get(found.path)) is not None and row[STAMP][:3] == _stamp(found.state)
            )
        if size > room:
            raise ActionError(
                f"cannot save {', '.join(self._roots)}: {size} bytes are to be saved, and the store of this device has "
                f"room for {room}; nothing was changed. Give it more room (setting rollback.store_max_bytes), shorten "
                "the retention time, or exclude something",
                RESOURCE,
            )


def _stamp(state: os.stat_result) -> list[int]:
    return [state.st_mtime_ns, state.st_size, state.st_ctime_ns]
