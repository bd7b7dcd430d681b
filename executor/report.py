"""What a run answers: the JSON object of one execution, made from the ledger at any time of its life."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from executor.model.execution import FINAL, READ, TERMINAL, ActionStatus, ExecutionState, readable_all
from executor.model.fan_out import device_of
from executor.model.plan import Plan, Step
from executor.taken_back import generations, rollback_section, undone

FORMAT = 1


class ReportsLedger(Protocol):
    """The reads that a report is made of."""

    def head(self, execution: str) -> dict[str, str]: ...
    def plan(self, execution: str, generation: int) -> Plan | None: ...
    def steps(self, execution: str, generation: int) -> dict[str, Step]: ...
    def actions(self, execution: str, generation: int, ids: list[str]) -> dict[str, dict[str, str]]: ...
    def now_ms(self) -> int: ...


def report(ledger: ReportsLedger, execution: str) -> dict[str, Any]:
    """The report of an execution, final or so far.

    Raises:
        UnknownExecution: it was never accepted, or retention has removed it.
    """
    head = ledger.head(execution)
    # in this order: what is written with the plan is there when the plan is
    plan = ledger.plan(execution, 0)
    steps = ledger.steps(execution, 0)
    every = [name for stage in plan.stages for name in stage.steps if name in steps] if plan else []
    order = [name for name in every if steps[name].purpose == "forward"]
    rows = ledger.actions(execution, 0, every)
    ended = head["state"] in TERMINAL
    goes = generations(ledger, execution, head)
    became = {**dict.fromkeys(json.loads(head.get("chosen") or "{}").get("kept", ()), "kept"), **undone(goes)}
    finished = int(head["finished"]) if "finished" in head else None
    started = int(head.get("started", head["created"]))
    return {
        "format": FORMAT,
        "execution_id": execution,
        "strategy": head["strategy"],
        "version": head["version"],
        "status": head["state"],
        "success": head["state"] == ExecutionState.COMPLETED,
        "degraded": any(row.get("degraded") for row in rows.values())
        or (head["state"] == ExecutionState.COMPLETED and int(head.get("failures", 0)) > 0),
        "started_at": _time(started),
        "finished_at": _time(finished),
        "duration_s": round(((finished or ledger.now_ms()) - started) / 1000, 3),
        "actions": {
            name: _action(steps[name], rows[name], ended=ended, rolled_back="rb_started" in head, undone=became)
            for name in order
        },
        **_fan_outs(plan, steps, rows),
        "snapshots": [_snapshot(steps[name], rows[name]) for name in every if steps[name].purpose == "snapshot"],
        "rollback": rollback_section(head, steps, goes, ended=ended),
        "success_criteria": _criteria(head, plan),
        "error": json.loads(head["error"]) if head.get("error") else None,
        **({"waiting_for": head["waiting_for"]} if head.get("waiting_for") else {}),
    }


def _action(
    step: Step, row: Mapping[str, str], *, ended: bool, rolled_back: bool, undone: Mapping[str, str]
) -> dict[str, Any]:
    status = row.get("status", ActionStatus.PENDING)
    if status not in FINAL:
        if ended:
            status = ActionStatus.CANCELLED
        elif status == ActionStatus.READY:
            status = ActionStatus.WAITING if "unserved" in row else ActionStatus.PENDING
    outcome = json.loads(row.get("outcome") or "{}")
    error = outcome.get("error")
    if row.get("degraded"):
        error = json.loads(row["failure"])
    begun = row.get("effect", "none") != "none" and status != ActionStatus.SKIPPED
    declared = rolled_back and begun and step.way_back.rule == "none"
    return {
        "status": str(status),
        "undo": undone.get(step.id, "none" if declared else None),
        "degraded": bool(row.get("degraded")),
        "device": row.get("device") or step.device or None,
        "attempts": int(row.get("attempt", 0)),
        "started_at": _time(row.get("started")),
        "finished_at": _time(row.get("finished")),
        "result": outcome.get("result") if status == ActionStatus.SUCCEEDED else None,
        "error": error,
        **({"reason": outcome["reason"]} if "reason" in outcome else {}),
    }


def _fan_outs(
    plan: Plan | None, steps: Mapping[str, Step], rows: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:  # fmt: skip
    """``fan_outs``, where there are any: of each its status, its devices, how many of them came to which end, and how
    many may fail.
    """
    told = {}
    for name, instances in plan.fan_outs.items() if plan else ():
        read = [[one, *(rows[one].get(part, "") for part in READ)] for one in instances if one in rows]
        became = Counter(rows[one].get("status", str(ActionStatus.PENDING)) for one in instances if one in rows)
        status = readable_all(read)[name]["status"] if read else str(ActionStatus.PENDING)
        first = steps.get(instances[0])
        bearable = first.fan_out.bearable if first and first.fan_out and first.on_failure == "continue" else 0
        told[name] = {
            "status": status,
            "devices": [device_of(one) for one in instances],
            "ended": dict(became),
            "bearable": bearable,
        }
    return {"fan_outs": told} if told else {}


def _snapshot(step: Step, row: Mapping[str, str]) -> dict[str, Any]:
    """One state that was saved before the first action."""
    outcome = json.loads(row.get("outcome") or "{}")
    return {
        "id": step.id,
        "what": step.call.shown(),
        "status": row.get("status", str(ActionStatus.PENDING)),
        "device": row.get("device") or step.device,
        "saved": outcome.get("result"),
        "error": outcome.get("error"),
    }


def _criteria(head: Mapping[str, str], plan: Plan | None) -> list[dict[str, Any]]:
    if head.get("criteria"):
        return list(json.loads(head["criteria"]))
    return [{"expression": source, "met": None} for source in (plan.success_criteria if plan else ())]


def _time(milliseconds: str | int | None) -> str | None:
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(int(milliseconds) / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
