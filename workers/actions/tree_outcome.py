"""What came of a restoring, and how it is told."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from executor.action import Json, Run
from executor.model.errors import PERMANENT, ActionError, ChangedSince
from workers.actions.tree_entries import shown

_SAID = 50


@dataclass
class Outcome:
    """Counted while it goes on."""

    restored: int = 0
    repaired: int = 0
    removed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Paths that could not be restored, with the reason."""
    changed: list[str] = field(default_factory=list)
    """Paths that others changed, and that were left."""

    def told(self, run: Run, roots: list[str]) -> Json:
        """The result.

        Raises:
            ActionError: something could not be restored.
            ChangedSince: something was left.
        """
        for path, reason in self.failed.items():
            run.log.error("not restored: %s: %s", shown(path), reason)
        left = f"; changed by others since, and left as they are: {_listed(map(shown, self.changed))}"
        if self.failed:
            reasons = (f"{shown(path)}: {reason}" for path, reason in self.failed.items())
            raise ActionError(
                f"not restored: {_listed(reasons)}; everything else was" + (left if self.changed else ""), PERMANENT
            )
        if self.changed:
            raise ChangedSince(left.removeprefix("; ") + "; everything else is restored. `--force` restores them too")
        return {"paths": roots, "restored": self.restored, "repaired": self.repaired, "removed": self.removed}


def _listed(items: Iterable[str]) -> str:
    every = list(items)
    more = f" and {len(every) - _SAID} more (all are in the log)" if len(every) > _SAID else ""
    return ", ".join(every[:_SAID]) + more
