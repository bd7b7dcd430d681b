"""Which mechanism takes an execution back: weighs the ways that there are, and says why.

Pure: the same estimates and facts give the same choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.model.plan import Stage, Step
from executor.model.rollback import Chosen, Estimate, Mechanism
from rollback.compensation import WayBackPlan
from rollback.snapshots import Rows

OLD_S = 600.0
"""What was saved longer ago than this may well have been changed by others: a snapshot would overwrite that."""
_QUICKER = 0.8
"""A way has to take at most this share of the time to be chosen for its speed: estimates are no better."""
_ORDER: tuple[Mechanism, ...] = ("compensate", "phased", "snapshot", "partial")
_NOTHING = "nothing was done that has to be undone"
_UNKNOWN_S = 0.1
"""For what has no measured duration."""


@dataclass(frozen=True)
class Facts:
    """What a choice goes by, besides the estimates."""

    error: Mapping[str, Any] | None
    """The error that ended the execution; None: it completed."""
    actions: int
    """How many have effects."""
    age_s: float
    """Since the first of them began."""
    verifies: bool
    """Whether there are probes that can prove a state between two phases."""


def estimate(mechanism: Mechanism, way_back: WayBackPlan, forward: Rows, parallel: int) -> Estimate:
    """What a way back would take and leave, from how long the way forward took.

    Args:
        mechanism: of the plan.
        way_back: the plan.
        forward: rows of generation 0.
        parallel: how many actions run at once; 0: no bound.
    """
    left = sum("unless" not in row for row in way_back.remaining) + len(way_back.kept)
    seconds = sum(_stage_s(stage, way_back.steps, forward, parallel) for stage in way_back.stages)
    steps = sum(step.purpose == "undo" and step.unless is None for step in way_back.steps.values())
    return Estimate(mechanism=mechanism, steps=steps, left=left, seconds=round(seconds, 3))


def seconds_of(step: Step, forward: Rows) -> float:
    """How long a step of the way back takes, as far as anybody knows: as long as what it takes back."""
    row = forward.get(step.undoes or step.id, {})
    if "started" in row and "finished" in row:
        return max(0.0, (int(row["finished"]) - int(row["started"])) / 1000)
    return _UNKNOWN_S


def _stage_s(stage: Stage, steps: Mapping[str, Step], forward: Rows, parallel: int) -> float:
    each = [seconds_of(steps[name], forward) for name in stage.steps if steps[name].unless is None]
    if stage.kind == "sequence" or not each:
        return sum(each)
    return max(*each, sum(each) / (parallel or len(each)))


def choose(estimates: Sequence[Estimate], facts: Facts) -> Chosen:
    """The best of the possible ways: never one that leaves more undone than another.

    Raises:
        ValueError: none is possible.
    """
    possible = [one for one in estimates if one.possible]
    if not possible:
        raise ValueError("there is no possible way back to choose")
    least = min(one.left for one in possible)
    best = sorted((one for one in possible if one.left == least), key=lambda one: _ORDER.index(one.mechanism))
    if facts.actions == 0 and not any(one.left for one in possible):
        return Chosen(
            mechanism=best[0].mechanism, asked="adaptive", reasons=(_NOTHING,), estimates=tuple(estimates)
        )  # fmt: skip
    reasons = [_what_stays(least, possible, facts)]
    reasons += [f"{one.mechanism} would leave {one.left} undone" for one in possible if one.left > least]
    chosen, why = _among(best, facts)
    return Chosen(
        mechanism=chosen.mechanism, asked="adaptive", reasons=(*reasons, *why), estimates=tuple(estimates)
    )  # fmt: skip


def _what_stays(least: int, possible: Sequence[Estimate], facts: Facts) -> str:
    if least > 0:
        return f"{least} effects stay in any case, for a person"
    if any(one.mechanism == "compensate" and one.left > 0 for one in possible):
        return "what has no way back of its own is held by a snapshot"
    return f"undo is known for all {facts.actions} actions with effects"


def _among(best: Sequence[Estimate], facts: Facts) -> tuple[Estimate, list[str]]:
    """One of several that leave the same, by the kind of error, the age of what was done, and the time it takes."""
    by_name = {one.mechanism: one for one in best}
    why: list[str] = []
    if "phased" in by_name and facts.verifies and _doubtful(facts.error):
        return by_name["phased"], ["the error leaves the state in doubt: it is proved after each phase"]
    if "partial" in by_name:
        return by_name["partial"], ["the actions that are named are all that has to be undone"]
    candidates = list(best)
    if facts.age_s > OLD_S and "snapshot" in by_name and len(by_name) > 1:
        why.append(
            f"what was saved is {facts.age_s / 60:.0f} min old: restoring it could overwrite what others did since"
        )
        candidates = [one for one in candidates if one.mechanism != "snapshot"]
    first = candidates[0]
    quickest = min(candidates, key=lambda one: one.seconds)
    if quickest.seconds < first.seconds * _QUICKER:
        why.append(f"{quickest.mechanism} takes {quickest.seconds:g} s, {first.mechanism} {first.seconds:g} s")
        return quickest, why
    if len(candidates) > 1:
        why.append(f"{first.mechanism} undoes action by action, and leaves what others changed since")
    return first, why


def _doubtful(error: Mapping[str, Any] | None) -> bool:
    kind = (error or {}).get("classification") or {}
    # a verification point that does not hold halts the rollback: only where going on blindly would be worse
    return kind.get("severity") == "critical"
