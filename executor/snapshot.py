"""The contract of a snapshot type: save a part of the world before a run, and put it back.

A snapshot type is an action type. Listed under ``snapshot:`` it is taken on its device before the first action; among
the actions it saves at its place in the run. Either way what it saved is its undo record, and to take it back is to
restore. Third parties subclass `SnapshotType` and name it under the entry point group ``rex.actions``.
"""

from abc import abstractmethod
from typing import Any

from executor.action import ActionType, Json, Run, Snapshot, Undo, WayBack
from executor.model.errors import PERMANENT, ActionError


class SnapshotType(ActionType):
    """Saves a part of the world, and restores it."""

    idempotent = True
    permissions = ("snapshot",)
    isolated = False

    @abstractmethod
    def take(self, run: Run) -> Snapshot:
        """Save, without changing anything; bytes go to ``run.saved``, small JSON into ``Snapshot.data``.

        ``data["summary"]`` (JSON, optional) becomes the result of the action. ``Snapshot.covers`` names what is held,
        by the same words as the targets of the actions that change it: absolute paths for files.
        Look before you save: what cannot be saved (missing, unreadable, outside ``run.roots``, larger than
        ``run.saved.room()``) is an error now, before anything has run.

        Raises:
            ActionError: it cannot be saved, or changed while it was read.
        """

    @abstractmethod
    def restore(self, run: Run, data: Json, undo: Undo) -> Json:
        """Put back what `take` saved as `data`; may be called again after it was broken off anywhere.

        Verify everything before the first change; call ``run.proceed()`` before each effect. Where ``undo.quiet`` is
        given, and ``undo.force`` is not, what others changed in that time is left and told with `ChangedSince`.

        Returns:
            JSON: what was restored.

        Raises:
            ChangedSince: others changed it since.
            ActionError: something could not be restored; the message names exactly what, the rest is restored.
        """

    def way_back(self, parameters: Json) -> WayBack:  # noqa: ARG002
        """Always by what was saved."""
        return WayBack.RESTORES

    def snapshot(self, run: Run) -> Snapshot:
        """Take it: an action's snapshot comes before its effect, and this one has no other effect."""
        return self.take(run)

    def execute(self, run: Run) -> Any:
        """What was saved, in short."""
        return (run.snapshot or {}).get("summary", {})

    def compensate(self, run: Run, undo: Undo) -> Json:
        """Restore."""
        if undo.snapshot is None:
            raise ActionError(f"{run.action} saved nothing: there is nothing to restore", PERMANENT)
        return self.restore(run, undo.snapshot, undo)
