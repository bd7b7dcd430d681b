"""``snapshot.sqlite``: saves an SQLite database, and puts it back under the connections that others have open."""

import os
import stat
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, Field

from executor.action import Json, Run, Snapshot, Undo
from executor.model.durations import Duration
from executor.model.errors import CONFIGURATION, TRANSIENT, ActionError, ChangedSince
from executor.model.strategy import Model
from executor.snapshot import SnapshotType
from workers.actions import saved_stream
from workers.actions.file_state import failed, real_path, refuse_special
from workers.actions.snapshot_sqlite_copy import (
    COMPANIONS,
    Database,
    Unreadable,
    Waiting,
    put_aside,
    put_in_place,
    refuse_damaged_copy,
    same_content,
)


class Sqlite(SnapshotType):
    """Save an SQLite database while others use it.

    It is copied by SQLite's own backup within one read transaction, so the copy is one committed state, in WAL mode
    too. Restoring writes that state over the database in one transaction: others keep their connections, see either
    the old or the new content, and one that is killed in the middle is rolled back by SQLite. A database that is gone,
    or no database any more, is put in place anew.
    """

    uses = "snapshot.sqlite"

    class Parameters(Model):
        path: str = Field(description="Absolute path of the database file")
        missing_ok: bool = Field(
            False, description="Whether it may be missing; then restoring removes what the run created there"
        )
        busy_timeout: Duration = Field(timedelta(seconds=5), description="How long to wait for the locks of others")

    class Results(BaseModel):
        path: str = Field(description="With symbolic links resolved")
        existed: bool = Field(description="Whether there was a database")
        bytes: int = Field(description="Size of what was saved")

    def problems(self, parameters: Json) -> list[tuple[str, str]]:
        return saved_stream.path_problems(parameters)

    def take(self, run: Run) -> Snapshot:
        path = real_path(run.parameters.path)
        saved_stream.require_below_roots(run, path)
        found = _look(path)
        covers = tuple(f"{path}{end}" for end in ("", *COMPANIONS))
        if found is None:
            if not run.parameters.missing_ok:
                raise ActionError(
                    f"there is no database {path}; with `missing_ok: true` restoring removes what the run creates",
                    CONFIGURATION,
                )
            summary = {"path": path, "existed": False, "bytes": 0}
            return Snapshot({"format": 1, "path": path, "existed": False, "summary": summary}, path, covers)
        data: Json = {"format": 1, "path": path, "existed": True, "mode": stat.S_IMODE(found.st_mode)}
        data |= {"uid": found.st_uid, "gid": found.st_gid, **_save(run, path)}
        data["summary"] = {"path": path, "existed": True, "bytes": data["content"]["bytes"]}
        return Snapshot(data, path, covers)

    def restore(self, run: Run, data: Json, undo: Undo) -> Json:
        path: str = data["path"]
        names = saved_stream.whole(run, data["content"], f"the database {path}") if data["existed"] else []
        saved_stream.require_below_roots(run, path)
        found = _look(path)
        if undo.quiet is not None and not undo.force and (found is not None or data["existed"]):
            _refuse_changed(path, found, undo.quiet)
        if not data["existed"]:
            run.proceed()
            put_aside(path)
            return {"path": path, "existed": False, "removed": found is not None}
        with saved_stream.scratch(run) as folder:
            copy = folder / "copy"
            _write(run, copy, names, path)
            refuse_damaged_copy(run, copy, path)
            how = _put_back(run, copy, path, found is not None, data)
            _verify(run, copy, folder / "check", path)
        return {"path": path, "existed": True, "bytes": data["content"]["bytes"], "by": how}


def _look(path: str) -> os.stat_result | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed("read", path, error) from error
    refuse_special(path, found)
    return found


def _save(run: Run, path: str) -> Json:
    waiting = Waiting(run, run.parameters.busy_timeout.total_seconds())
    with saved_stream.scratch(run) as folder:
        copy = folder / "copy"
        with Database(path, waiting, writable=_settled(path)) as source:
            saved_stream.require_room(run, source.size(), f"the database {path}")
            source.copy_to(copy)
            wal = source.is_wal()
        refuse_damaged_copy(run, copy, path)
        with run.saved.batch() as batch, copy.open("rb") as file:
            stream = saved_stream.SavingStream(run, batch)
            while block := file.read(saved_stream.PIECE_BYTES):
                stream.write(block)
            content = stream.end()
    return {"content": content, "wal": wal}


def _settled(path: str) -> bool:
    """Whether closing the last connection writes nothing: a log with content would be moved into the database."""
    try:
        return not Path(f"{path}-wal").exists() or Path(f"{path}-wal").stat().st_size == 0
    except FileNotFoundError:
        return True


def _refuse_changed(path: str, found: os.stat_result | None, quiet: tuple[float, float]) -> None:
    """Times of the files are all there is: only the state before the run is known, not that after it."""
    if found is None:
        above = os.path.dirname(path)  # noqa: PTH120 - text, as all paths here
        try:
            changed = os.stat(above).st_mtime  # noqa: PTH116
        except OSError as error:
            raise failed("look into", above, error) from error
        if changed >= quiet[0]:
            raise ChangedSince(
                f"the database {path} is gone, and its directory was changed since the run ended; `--force` puts it "
                "back"
            )
        return
    for name in (path, f"{path}-wal", f"{path}-journal"):
        times = _look(name)
        if times and any(quiet[0] < moment < quiet[1] for moment in (times.st_mtime, times.st_ctime)):
            raise ChangedSince(f"{name} was changed since the run ended; `--force` overwrites it")


def _write(run: Run, copy: Path, names: list[str], path: str) -> None:
    try:
        with copy.open("wb") as file:
            for piece in saved_stream.pieces(run, names):
                file.write(piece)
    except OSError as error:
        raise failed(f"prepare the copy of {path} in", copy.parent, error) from error


def _put_back(run: Run, copy: Path, path: str, there: bool, data: Json) -> str:
    """Over the file that is there, or as a new one; which of the two."""
    waiting = Waiting(run, run.parameters.busy_timeout.total_seconds())
    run.proceed()
    if there:
        try:
            with Database(path, waiting, writable=True) as target:
                target.overwrite_with(copy, wal=data["wal"])
            _set_mode(path, data["mode"])
            return "overwritten"
        except Unreadable:
            run.log.warning("%s is no database that can be opened any more: it is put in place anew", path)
    put_in_place(run, copy, path, mode=data["mode"], owner=(data["uid"], data["gid"]))
    return "put in place anew"


def _set_mode(path: str, mode: int) -> None:
    if stat.S_IMODE(os.lstat(path).st_mode) != mode:
        try:
            os.chmod(path, mode)  # noqa: PTH101 - text, as all paths here
        except OSError as error:
            raise failed("set the mode of", path, error) from error


def _verify(run: Run, copy: Path, check: Path, path: str) -> None:
    with Database(path, Waiting(run, run.parameters.busy_timeout.total_seconds()), writable=True) as database:
        database.copy_to(check)
    refuse_damaged_copy(run, check, path)
    if not same_content(copy, check):
        raise ActionError(
            f"{path} was restored, and holds something else right after: others write to it. Stop them, and restore "
            "again",
            TRANSIENT,
        )
