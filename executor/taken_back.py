"""How an execution was taken back, as its report tells it: what became of each undo, and what is left."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from executor.model.execution import FINAL
from executor.model.plan import FALLBACK, Plan, Step

Rows = Mapping[str, Mapping[str, str]]
Json = dict[str, Any]


class Reads(Protocol):
    """The reads that this is made of."""

    def plan(self, execution: str, generation: int) -> Plan | None: ...
    def steps(self, execution: str, generation: int) -> dict[str, Step]: ...
    def actions(self, execution: str, generation: int, ids: list[str]) -> dict[str, dict[str, str]]: ...


@dataclass(frozen=True)
class Generation:
    """One way back: an execution can be taken back in several goes."""

    steps: Mapping[str, Step]
    rows: Rows

    def status(self, name: str) -> str:
        return self.rows.get(name, {}).get("status", "")

    @property
    def verified(self) -> bool:
        """Whether every probe of ``rollback.verify`` held."""
        return all(self.status(name) == "succeeded" for name, step in self.steps.items() if step.purpose == "verify")

    def restored(self) -> set[str]:
        """Undo steps made needless by snapshots: where several hold one, all of them must have been restored."""
        held: dict[str, bool] = {}
        for name, step in self.steps.items():
            whole = self.status(name) == "succeeded"
            held.update({undo: held.get(undo, True) and whole for undo in step.stands_for})
        return {undo for undo, whole in held.items() if whole}

    def covered(self, step: Step) -> bool:
        """Whether everything that a snapshot held, which could not be restored, was taken back by itself."""
        return bool(step.stands_for) and all(
            name in self.steps and self.status(name) in ("succeeded", "skipped") for name in step.stands_for
        )

    def tried(self) -> bool:
        """Whether anything was to be undone, came it off or not."""
        return any(step.purpose == "undo" for step in self.steps.values())

    def succeeded(self) -> list[str]:
        """Undo steps that succeeded, in the order in which they began."""
        done = [n for n, step in self.steps.items() if step.purpose == "undo" and self.status(n) == "succeeded"]
        return sorted(done, key=lambda name: int(self.rows[name].get("ord", 0)))


def generations(ledger: Reads, execution: str, head: Mapping[str, str]) -> list[Generation]:
    """Every way back of an execution, oldest first."""
    found = []
    for number in range(1, int(head.get("last", head.get("gen", 0))) + 1):
        plan, unordered = ledger.plan(execution, number), ledger.steps(execution, number)
        order = [name for stage in plan.stages for name in stage.steps] if plan else list(unordered)
        steps = {name: unordered[name] for name in order if name in unordered}
        found.append(Generation(steps, ledger.actions(execution, number, list(steps))))
    return found


def undone(goes: Iterable[Generation]) -> dict[str, str]:
    """What became of the undo of each action: compensated or failed; of an action and its fallback the worse."""
    became: dict[str, dict[str, str]] = {}
    for go in goes:
        for name, step in go.steps.items():
            if step.undoes is not None:
                _note(became, go, name, step)
        for name in go.restored():
            became.setdefault(name.removesuffix(FALLBACK), {})[name] = "compensated"
    told = {}
    for action, parts in became.items():
        values = {value for value in parts.values() if value}
        if values:
            told[action] = "failed" if "failed" in values else "compensated"
    return told


def _note(became: dict[str, dict[str, str]], go: Generation, name: str, step: Step) -> None:
    """A later go over the same step counts, not the one before."""
    status = go.status(name)
    if status == "succeeded":
        became.setdefault(str(step.undoes), {})[name] = "compensated"
    elif status == "skipped":
        # it turned out that nothing had been done, or a snapshot held it
        became.setdefault(str(step.undoes), {}).setdefault(name, "")
    elif status in FINAL:
        became.setdefault(str(step.undoes), {})[name] = "failed"


def remaining(head: Mapping[str, str], forward: Mapping[str, Step], go: Generation | None) -> list[Json]:
    """What a person has to see to: known beforehand, compensations that failed, probes that do not hold.

    Args:
        head: the execution's own fields.
        forward: steps of the way forward.
        go: the last way back; None: there was none.
    """
    left: list[Json] = []
    for row in json.loads(head.get("remaining") or "[]"):
        snapshots = row.pop("unless", None)
        if not (snapshots and go and all(go.status(name) == "succeeded" for name in snapshots)):
            left.append(row)
    if go is None:
        return left
    halted = any(step.purpose == "verify" and go.status(n) in FINAL and go.status(n) != "succeeded"
                 for n, step in go.steps.items())  # fmt: skip
    for name, step in go.steps.items():
        status = go.status(name)
        idle = status not in FINAL and (
            # what is not asked any more, or would only have stood in for a snapshot that was restored
            (step.purpose == "verify" and halted) or (step.unless is not None and go.status(step.unless) == "succeeded")
        )
        if status not in ("succeeded", "skipped") and not idle and not go.covered(step):
            left.append(_left(head, forward, go, name, step))
    return left


def _left(head: Mapping[str, str], forward: Mapping[str, Step], go: Generation, name: str, step: Step) -> Json:
    error = json.loads(go.rows.get(name, {}).get("outcome") or "{}").get("error") or {}
    done = forward.get(step.undoes or "")
    what = step.what or (done or step).call.shown()
    return {
        "action": step.undoes or step.id,
        "device": step.device,
        "reason": error.get("message") or _why_not_begun(head),
        "what": what if done else f"rollback.{step.id}: {what}",
    }


def _why_not_begun(head: Mapping[str, str]) -> str:
    halted = json.loads(head.get("halted") or "{}")
    why = f": {halted['message']}" if halted.get("message") else ""
    return f"the rollback ended before its turn{why}"


def rollback_section(
    head: Mapping[str, str], forward: Mapping[str, Step], goes: list[Generation], *, ended: bool
) -> Json:
    """``rollback`` of the report."""
    begun = bool(goes)
    chosen = json.loads(head.get("chosen") or "{}")
    status = head.get("rb_status") or ("running" if "rb_started" in head and not ended else "not_needed")
    steps = [(go, name) for go in goes for name in go.succeeded()]
    of_actions = [(go, name) for go, name in steps if not _is_snapshot(go.steps[name])]
    told: Json = {
        "status": status,
        "mechanism": chosen.get("mechanism") if begun else None,
        "compensated": [_shown(go, name) for go, name in of_actions],
        "remaining": remaining(head, forward, goes[-1] if begun else None) if head.get("rb_status") else [],
    }
    if restored := [_shown(go, name) for go, name in steps if _is_snapshot(go.steps[name])]:
        told["restored"] = restored
    if begun:
        told["kept"] = chosen.get("kept", [])
        told["chosen"] = chosen
    if offer := head.get("offer"):
        told["offer"] = json.loads(offer)
    return told


def _is_snapshot(step: Step) -> bool:
    return (step.undoes or "").startswith("snapshot/")


def _shown(go: Generation, name: str) -> Json:
    row = go.rows[name]
    return {"action": go.steps[name].undoes, "device": row.get("device"), "attempts": int(row.get("attempt", 0))}
