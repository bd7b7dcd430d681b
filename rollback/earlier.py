"""What earlier rollbacks of an execution have done already."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from executor.model.execution import FINAL
from executor.model.plan import Step

Generations = Iterable[tuple[Mapping[str, Step], Mapping[str, Mapping[str, str]]]]
"""Steps and rows of each generation of the way back, oldest first."""


@dataclass(frozen=True)
class Earlier:
    """Ids of undo steps, as `rollback.compensation` names them."""

    done: frozenset[str] = frozenset()
    """Taken back, or found not to have been done."""
    doubtful: frozenset[str] = frozenset()
    """Broken off, and nobody knows how far they came."""
    touched: frozenset[str] = frozenset()
    """All that a rollback had in its plan."""
    ends_ms: tuple[int, ...] = field(default=(), compare=False)
    """When each of them ended."""


def read_earlier(generations: Generations) -> Earlier:
    """What became of the steps of all earlier generations; what is done stays done."""
    done: set[str] = set()
    doubtful: set[str] = set()
    touched: set[str] = set()
    ends: list[int] = []
    for steps, rows in generations:
        for name, step in steps.items():
            row = rows.get(name, {})
            if row.get("finished"):
                ends.append(int(row["finished"]))
            if step.purpose != "undo":
                continue
            touched.add(name)
            status, effect = row.get("status"), row.get("effect", "none")
            if status in ("succeeded", "skipped"):
                done.add(name)
                done.update(step.stands_for if status == "succeeded" else ())
            elif status in FINAL and effect in ("unknown", "completed") and not step.idempotent:
                doubtful.add(name)
    return Earlier(frozenset(done), frozenset(doubtful - done), frozenset(touched), tuple(ends))
