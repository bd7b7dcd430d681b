"""What the `file.*` types share: the state before is saved, the state after is known beforehand, undo compares both.

A file with several names (hard links) is refused: replacing it would split the names, and taking back could not
join them again.
"""

import hashlib
import os
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from executor.action import ActionType, Found, Json, Run, Snapshot, Undo, WayBack
from executor.model.errors import CONFIGURATION, PERMANENT, ActionError, ChangedSince
from workers.actions.atomic import (
    missing_directories,
    prefix_of,
    put,
    remove,
    remove_directories,
    remove_leftovers,
)
from workers.actions.file_state import State, failed, from_json, read_state, real_path, set_attributes


class FileChange(ActionType):
    """Changes one regular file, and restores it."""

    permissions = ("file.write",)
    isolated: ClassVar[bool] = False

    def way_back(self, parameters: Json) -> WayBack:  # noqa: ARG002
        """Always by what was saved."""
        return WayBack.RESTORES

    @abstractmethod
    def after(self, run: Run, path: str, before: State | None) -> bytes | None:
        """The bytes that the file will have, None when it will be gone.

        Raises:
            ActionError: it cannot be done with the file as it is.
        """

    def admit(self, run: Run, path: str, before: State | None) -> None:
        """Raise `ActionError` when it may not be done to the file as it is."""

    def mode_after(self, run: Run, before: State | None) -> int | None:  # noqa: ARG002
        """The mode that is asked for; None: as it is."""
        return None

    def snapshot(self, run: Run) -> Snapshot:
        path = real_path(run.parameters.path)
        before = self.current(path)
        self.admit(run, path, before)
        after = self.after(run, path, before)
        if before is not None and after != before.content:
            run.saved.save(before.content)
        return Snapshot(
            {
                "path": path,
                "before": None if before is None else before.as_json(),
                "after": digest(after),
                "directories": missing_directories(path),
                "temporary": prefix_of(run.key),
            },
            target=path,
        )

    def check(self, run: Run) -> Found:
        path = self.path_of(run)
        now = self.current(path)
        if run.snapshot is not None:
            known = run.snapshot
            if digest_of(now) == known["after"]:
                return Found.DONE if self._mode_fits(run, now) else Found.NOT_DONE
            return Found.NOT_DONE if digest_of(now) == _before(known) else Found.UNKNOWN
        return self._judged(run, path, now)

    def _judged(self, run: Run, path: str, now: State | None) -> Found:
        """Without a snapshot: a change that makes no difference was done; one that can be made twice may have been."""
        try:
            wanted = self.after(run, path, now)
        except ActionError:
            return Found.UNKNOWN
        if digest(wanted) == digest_of(now):
            return Found.DONE if self._mode_fits(run, now) else Found.NOT_DONE
        if wanted is None or now is None:
            return Found.NOT_DONE
        try:
            twice = self.after(run, path, replace(now, content=wanted))
        except ActionError:
            return Found.NOT_DONE
        return Found.NOT_DONE if twice == wanted else Found.UNKNOWN

    def _mode_fits(self, run: Run, now: State | None) -> bool:
        mode = self.mode_after(run, now)
        return now is None or mode is None or now.mode == mode

    def path_of(self, run: Run) -> str:
        """The real path: what the snapshot resolved, for a link may lead elsewhere by now."""
        return str(run.snapshot["path"]) if run.snapshot else real_path(run.parameters.path)

    def current(self, path: str) -> State | None:
        """The file as it is; raises `ActionError` for one that cannot be replaced."""
        state = read_state(path)
        if state is not None and state.links > 1:
            raise ActionError(
                f"{path} has {state.links} names (hard links): replacing it would split them", CONFIGURATION
            )
        return state

    def begin(self, run: Run) -> tuple[str, State | None, State | None]:
        """Real path, state before the action, state now: they differ when an earlier attempt did it already.

        Raises:
            ChangedSince: someone else changed the file after its snapshot was taken.
        """
        path = self.path_of(run)
        remove_leftovers(path, prefix_of(run.key))
        now = self.current(path)
        known = run.snapshot
        if known is None or digest_of(now) == _before(known):
            self.admit(run, path, now)
            return path, now, now
        if digest_of(now) != known["after"]:
            raise ChangedSince(f"{path} was changed by someone else since its state was saved")
        before = known["before"]
        return path, before and from_json(before, run.saved.load(before["sha256"])), now

    def verify(self, run: Run, result: Any) -> None:
        """The file has the bytes that the result names."""
        found = digest_of(read_state(result["path"]))
        if found != result.get("sha256"):
            raise ActionError(
                f"{result['path']} has SHA-256 {found}, not {result.get('sha256')}: "
                f"someone else changed it right after {run.action}"
            )

    def compensate(self, run: Run, undo: Undo) -> Json:
        """Restore what the snapshot says, if the file is still as the action left it."""
        known = undo.snapshot
        if known is None:
            raise ActionError(f"{run.action} left no snapshot: nothing is known of the state before", PERMANENT)
        path = known["path"]
        remove_leftovers(path, known["temporary"])
        try:
            now = self.current(path)
        except ActionError as error:
            # what is no file any more is not put right by force either: it would have to be removed first
            raise ChangedSince(f"{error}; it was a file when {run.action} changed it") from error
        result_sha = (undo.result or {}).get("sha256", known["after"])
        if digest_of(now) == _before(known):
            changed = self._repair(run, path, known["before"], now)
        elif digest_of(now) in (known["after"], result_sha) or undo.force:
            self._restore(run, path, known["before"], now)
            changed = True
        else:
            raise ChangedSince(
                f"{path} was changed since {run.action} by someone else: it is left as it is. "
                f"SHA-256 now {digest_of(now)}, before the action {_before(known)}"
            )
        if known["before"] is None:
            remove_directories(known["directories"])
        return {"path": path, "restored": changed}

    def _restore(self, run: Run, path: str, before: Json | None, now: State | None) -> None:
        if before is None:
            if now is not None:
                remove(path, before=now, proceed=run.proceed)
            return
        state = from_json(before, run.saved.load(before["sha256"]))
        put(path, state.content, prefix=prefix_of(run.key), before=now, like=state, proceed=run.proceed)

    def _repair(self, run: Run, path: str, before: Json | None, now: State | None) -> bool:
        """The bytes are those from before: mode, owner and times are put right where they differ."""
        if before is None or now is None:
            return False
        state = from_json(before, now.content)
        if (state.mode, state.uid, state.gid, state.mtime_ns) == (now.mode, now.uid, now.gid, now.mtime_ns):
            return False
        run.proceed()
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                set_attributes(handle, state, path)
                os.utime(handle, ns=(state.atime_ns, state.mtime_ns))
            finally:
                os.close(handle)
        except OSError as error:
            raise failed("restore mode and times of", path, error) from error
        return True


def digest(content: bytes | None) -> str | None:
    """SHA-256 in hexadecimal; None for no file."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def digest_of(state: State | None) -> str | None:
    return None if state is None else state.sha256


def _before(known: Json) -> str | None:
    return None if known["before"] is None else str(known["before"]["sha256"])
