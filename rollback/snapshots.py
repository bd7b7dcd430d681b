"""What the snapshots of an execution hold: the saved states, and which action's effect lies in one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from executor.model.plan import Step

Rows = Mapping[str, Mapping[str, str]]
"""What the ledger says of each step, by id."""


@dataclass(frozen=True)
class Saved:
    """One snapshot that was taken."""

    step: str
    device: str
    covers: tuple[str, ...]
    """Targets that it holds, each with all that lies below it."""

    def holds(self, device: str, target: str) -> bool:
        """Whether what was done to `target` on `device` is taken back with it."""
        return device == self.device and any(_lies_in(target, cover) for cover in self.covers)


def _lies_in(target: str, cover: str) -> bool:
    return target == cover or target.startswith(cover.rstrip("/") + "/")


def saved_states(steps: Iterable[Step], actions: Rows) -> list[Saved]:
    """The snapshots that can be restored: those that were taken to their end."""
    found = []
    for step in steps:
        row = actions.get(step.id, {})
        if step.purpose == "snapshot" and row.get("status") == "succeeded" and row.get("undo"):
            record = json.loads(row["undo"])
            found.append(Saved(step.id, row.get("device") or step.device, tuple(record.get("covers", ()))))
    return found
