"""What earlier rollbacks of an execution have done already."""

from collections.abc import Iterable
from dataclasses import dataclass

from executor.model.execution import FINAL
from executor.model.plan import Step
from executor.taken_back import Generation


@dataclass(frozen=True)
class Earlier:
    """Ids of undo steps, as `rollback.compensation` names them."""

    done: frozenset[str] = frozenset()
    """Taken back, or found not to have been done."""
    doubtful: frozenset[str] = frozenset()
    """Broken off, and nobody knows how far they came."""
    touched: frozenset[str] = frozenset()
    """All that a rollback had in its plan."""
    listed: frozenset[str] = frozenset()
    """Actions that the last one knew beforehand that it could not take back."""


def read_earlier(goes: Iterable[Generation], listed: Iterable[str] = ()) -> Earlier:
    """What became of the steps of all earlier ways back, oldest first; what is done stays done.

    Args:
        goes: the ways back.
        listed: actions that the last one had on its list before it began.
    """
    found: dict[str, set[str]] = {"done": set(), "doubtful": set(), "touched": set()}
    for go in goes:
        for name, step in go.steps.items():
            if step.purpose == "undo":
                found["touched"].add(name)
                if became := _became(go, name, step):
                    found[became].add(name)
        found["done"] |= go.restored()
    found["doubtful"] -= found["done"]
    return Earlier(**{name: frozenset(steps) for name, steps in found.items()}, listed=frozenset(listed))


def _became(go: Generation, name: str, step: Step) -> str:
    status, row = go.status(name), go.rows.get(name, {})
    # a snapshot that could not be restored is not put over what was undone by itself instead
    if status in ("succeeded", "skipped") or go.covered(step):
        return "done"
    broken_off = status in FINAL and row.get("effect", "none") in ("unknown", "completed")
    return "doubtful" if broken_off and not step.idempotent else ""
