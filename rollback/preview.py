"""What a rollback would do, as people read it beforehand."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from executor.model.fan_out import device_of, fan_outs, instance_id
from executor.model.plan import Step
from executor.model.rollback import Chosen
from rollback.compensation import WayBackPlan
from rollback.selection import seconds_of
from rollback.snapshots import Rows

Json = dict[str, Any]


Tell = Callable[[str, str], str]
"""Fills in the expressions of a text, as far as they can be; also given is the action that it is about."""


def shown_plan(way_back: WayBackPlan, chosen: Chosen, forward: Mapping[str, Step], rows: Rows, *, tell: Tell) -> Json:
    """The plan as JSON: stages of steps, with device and estimated time; what is kept, and what cannot be undone."""
    stages = [
        {
            "kind": stage.kind,
            "name": stage.name,
            "steps": [_shown_step(way_back.steps[name], forward, rows, tell) for name in stage.steps],
        }
        for stage in way_back.stages
    ]
    return {
        "mechanism": chosen.mechanism,
        "chosen": chosen.model_dump(mode="json"),
        "stages": stages,
        "steps": sum(len(stage.steps) for stage in way_back.stages),
        "seconds": next((one.seconds for one in chosen.estimates if one.mechanism == chosen.mechanism), None),
        "kept": list(way_back.kept),
        "remaining": [dict(row) for row in way_back.remaining],
    }


def _shown_step(step: Step, forward: Mapping[str, Step], rows: Rows, tell: Tell) -> Json:
    done = forward.get(step.undoes or "")
    return {
        "step": step.id,
        "action": step.undoes,
        "device": step.device,
        "how": how_of(step),
        "what": tell(step.call.shown(), step.undoes or ""),
        "undoes": tell(done.call.shown(), done.id) if done else None,
        "seconds": round(seconds_of(step, rows), 3),
        **({"unless": step.unless} if step.unless else {}),
        **({"stands_for": list(step.stands_for)} if step.stands_for else {}),
    }


def how_of(step: Step) -> str:
    """verify, restore snapshot, probe, restore, or compensate."""
    if step.purpose == "verify":
        return "verify"
    if (step.undoes or "").startswith("snapshot/"):
        return "restore snapshot"
    if step.probe is not None:
        return "probe, then compensate"
    return "restore" if step.method == "compensate" and step.idempotent else "compensate"


def shown_offer(
    way_back: WayBackPlan, forward: Mapping[str, Step], rows: Rows, *, stage: Iterable[str], tell: Tell
) -> Json:
    """For each action that did something: what its undo would do, and what else can be chosen.

    Args:
        way_back: everything taken back by compensation.
        forward: steps of the way forward.
        rows: their rows.
        stage: the actions of the stage at which it stopped; of these one that failed can be tried again.
        tell: fills in expressions.
    """
    undoing: dict[str, list[Json]] = {}
    for step in way_back.steps.values():
        if step.purpose == "undo" and step.undoes is not None:
            undoing.setdefault(step.undoes, []).append(_shown_step(step, forward, rows, tell))
    lacking = {row["action"]: row["reason"] for row in way_back.remaining}
    retryable, needing = set(stage), needs_of(forward, rows)
    offer: Json = {}
    for name, step in forward.items():
        row = rows.get(name, {})
        failed = row.get("status") in ("failed", "timed_out") and name in retryable
        if step.purpose == "forward" and (name in undoing or name in lacking or failed):
            offer[name] = {
                "status": row.get("status", "pending"),
                "device": row.get("device") or step.device,
                "done": tell(step.call.shown(), name),
                "undo": undoing.get(name, []),
                "cannot": lacking.get(name),
                "wishes": ["undo", "keep", *(["retry"] if failed else [])],
                "needed_by": needing.get(name, []),
            }
    return offer


def needs_of(forward: Mapping[str, Step], rows: Rows) -> dict[str, list[str]]:
    """By action: those with effects that need it, or were made of its result.

    Of a fan-out an instance is needed by that on the same device; by an action that runs elsewhere all of them are.
    """
    needing: dict[str, list[str]] = {}
    known = fan_outs(forward)
    for name, step in forward.items():
        if rows.get(name, {}).get("effect", "none") != "none":
            made_of = step.reads.actions if step.way_back.rule != "nothing" else ()
            for other in dict.fromkeys([*dict(step.needs), *made_of]):
                beside = instance_id(other, device_of(name))
                for one in [beside] if beside in forward else known.get(other, (other,)):
                    needing.setdefault(one, []).append(name)
    return needing
