"""The way back as a plan: which actions are taken back, in which order, where, and what is left for a person.

Works on data alone: the steps of the way forward, what the ledger says of each, and their undo records.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from executor.model.plan import Call, Plan, Stage, Step, WayBack, group, sequence

FALLBACK = "/fallback"
"""Added to an action's id for the step that takes back its fallback."""

_NOBODY_KNOWS = "nobody knows whether it was done, and its type cannot tell"


@dataclass
class WayBackPlan:
    """A rollback as planned."""

    stages: list[Stage] = field(default_factory=list)
    steps: dict[str, Step] = field(default_factory=dict)
    remaining: list[dict[str, Any]] = field(default_factory=list)
    """What cannot be undone, known beforehand: action, device, reason, what."""

    @property
    def plan(self) -> Plan:
        return Plan(stages=tuple(self.stages))


@dataclass(frozen=True)
class _Undo:
    step: Step
    order: int
    target: str


def plan_way_back(
    forward: Plan,
    steps: Mapping[str, Step],
    actions: Mapping[str, Mapping[str, str]],
    *,
    length: int,
    fuse: bool,
) -> WayBackPlan:
    """Newest first: stages backwards, sequences reversed, independent undos side by side.

    Args:
        forward: the plan of generation 0.
        steps: its steps.
        actions: what the ledger says of each, by id.
        length: where a sequence is cut.
        fuse: whether neighbours on one device share a message.
    """
    way_back = WayBackPlan()
    # pieces of one sequence were cut only for publishing: they are one again on the way back
    for kind, stages in groupby(reversed(forward.stages), key=lambda stage: stage.kind):
        if kind == "sequence":
            names = [name for stage in stages for name in reversed(stage.steps)]
            undos = [undo for name in names for undo in _undos(steps[name], actions.get(name, {}), way_back)]
            way_back.stages += sequence([undo.step for undo in undos], length=length, fuse=fuse)
        else:
            for stage in stages:
                undos = [u for name in stage.steps for u in _undos(steps[name], actions.get(name, {}), way_back)]
                way_back.stages += [group(layer, stage.name) for layer in _layers(undos)]
    return way_back


def _layers(undos: list[_Undo]) -> list[list[Step]]:
    """Undos of a group, side by side; those of one target, or of one action, newest first one after the other."""
    layers: list[list[Step]] = []
    reached: dict[tuple[str, str], int] = {}
    for undo in sorted(undos, key=lambda undo: undo.order, reverse=True):
        keys = [("action", undo.step.undoes or undo.step.id)]
        if undo.target:
            keys.append((undo.step.device, undo.target))
        layer = max((reached.get(key, 0) for key in keys), default=0)
        if layer == len(layers):
            layers.append([])
        layers[layer].append(undo.step)
        for key in keys:
            reached[key] = layer + 1
    return layers


def _undos(step: Step, action: Mapping[str, str], way_back: WayBackPlan) -> Iterable[_Undo]:
    """The undo of an action's fallback, then its own, as far as there is something to undo."""
    if action.get("status") == "skipped":
        return  # its effect may stand as unknown all the same: a first holder may have died before it asked
    order = 2 * int(action.get("ord", 0))
    parts = [("", step.call, step.way_back, action.get("effect", "none"), "undo")]
    if step.fallback is not None:
        effect = action.get("effect_fallback", "none")
        parts.insert(0, (FALLBACK, step.fallback.call, step.fallback.way_back, effect, "undo_fallback"))
    for suffix, call, how, effect, record_field in parts:
        record = json.loads(action.get(record_field) or "null")
        verdict, reason = _verdict(how, effect, record)
        if verdict == "leave":
            way_back.remaining.append(_left(step, action, call, reason))
        elif verdict in ("undo", "probe"):
            undo = _undo_step(step, action, how, suffix, probe=call if verdict == "probe" else None)
            way_back.steps[undo.id] = undo
            target = str(record.get("target") or "") if record else ""
            yield _Undo(undo, order + (suffix == FALLBACK), target)


def _verdict(how: WayBack, effect: str, record: Any) -> tuple[str, str]:
    """undo, probe, leave (with the reason) or nothing: the table "What is taken back" of the strategy reference."""
    if effect == "none" or how.rule in ("none", "nothing"):
        return "nothing", ""
    if how.rule == "restores":
        # a fallback leaves a record in any case, with no data where its type saved nothing
        return ("undo", "") if record and record.get("data") is not None else ("nothing", "")
    if how.rule == "started":
        return "undo", ""
    if effect == "started":
        return "nothing", ""
    if how.rule == "lacking":
        known = "it was done" if effect == "completed" else _NOBODY_KNOWS
        return "leave", f"{known}, and no way back is declared"
    return ("undo", "") if effect == "completed" else ("probe", "")


def _undo_step(step: Step, action: Mapping[str, str], how: WayBack, suffix: str, *, probe: Call | None) -> Step:
    call = how.call
    if call is None:
        raise ValueError(f"step {step.id} has a way back by {how.rule} without a call")
    own = how.rule in ("restores", "compensates")
    return Step(
        id=step.id + suffix,
        device=action.get("device") or step.device,
        call=call,
        method="compensate" if own else "execute",
        purpose="undo",
        timeout_s=how.timeout_s,
        retry=how.retry,
        on_failure="continue",
        # what restores compares the world with what it saved, so it may run again
        idempotent=how.rule == "restores",
        reads=call.reads if probe is None else call.reads | probe.reads,
        undoes=step.id,
        of_fallback=suffix == FALLBACK,
        probe=probe,
    )


def _left(step: Step, action: Mapping[str, str], call: Call, reason: str) -> dict[str, Any]:
    device = action.get("device") or step.device
    return {"action": step.id, "device": device, "reason": reason, "what": call.shown()}
