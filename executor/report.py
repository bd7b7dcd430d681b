"""What a run answers: the JSON object of one execution, made from the ledger at any time of its life."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from executor.model.execution import FINAL, TERMINAL, ActionStatus, ExecutionState
from executor.model.plan import Plan, Step

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
    order = [name for stage in plan.stages for name in stage.steps if name in steps] if plan else []
    rows = ledger.actions(execution, 0, order)
    ended = head["state"] in TERMINAL
    back_steps, back = _way_back(ledger, execution, head)
    undone = _undone(back_steps, back)
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
            name: _action(steps[name], rows[name], ended=ended, rolled_back="rb_started" in head, undone=undone)
            for name in order
        },
        "rollback": _rollback(head, steps, back_steps, back, ended=ended),
        "success_criteria": _criteria(head, plan),
        "error": json.loads(head["error"]) if head.get("error") else None,
        **({"waiting_for": head["waiting_for"]} if head.get("waiting_for") else {}),
    }


def _way_back(
    ledger: ReportsLedger, execution: str, head: Mapping[str, str]
) -> tuple[dict[str, Step], dict[str, dict[str, str]]]:
    generation = int(head.get("gen", 0))
    if generation == 0:
        return {}, {}
    steps = ledger.steps(execution, generation)
    return steps, ledger.actions(execution, generation, list(steps))


def _undone(steps: Mapping[str, Step], rows: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What became of the undo of each action; of an action and its fallback the worse."""
    undone: dict[str, str] = {}
    for name, step in steps.items():
        if step.undoes is not None:
            status = rows[name].get("status", "")
            # skipped: it turned out that nothing had been done
            became = {"succeeded": "compensated", "skipped": ""}.get(status, "failed" if status in FINAL else "")
            if became and undone.get(step.undoes) != "failed":
                undone[step.undoes] = became
    return undone


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


def remaining(
    head: Mapping[str, str],
    forward: Mapping[str, Step],
    steps: Mapping[str, Step],
    rows: Mapping[str, Mapping[str, str]],
) -> list[dict[str, Any]]:
    """What a person has to see to: known beforehand, compensations that failed, probes that do not hold."""
    left: list[dict[str, Any]] = list(json.loads(head.get("remaining") or "[]"))
    for name, step in steps.items():
        row = rows.get(name, {})
        if row.get("status") in ("succeeded", "skipped"):
            continue
        error = json.loads(row.get("outcome") or "{}").get("error") or {}
        reason = error.get("message") or "the rollback ended before its turn"
        done = forward.get(step.undoes or "")
        what = done.call.shown() if done else f"rollback.{step.id}: {step.call.shown()}"
        left.append({"action": step.undoes or step.id, "device": step.device, "reason": reason, "what": what})
    return left


def verified(steps: Mapping[str, Step], rows: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether every probe of ``rollback.verify`` held."""
    return all(rows[name].get("status") == "succeeded" for name, step in steps.items() if step.purpose == "verify")


def _rollback(
    head: Mapping[str, str],
    forward: Mapping[str, Step],
    steps: Mapping[str, Step],
    rows: Mapping[str, Mapping[str, str]],
    *,
    ended: bool,
) -> dict[str, Any]:
    begun = int(head.get("gen", 0)) > 0
    status = head.get("rb_status") or ("running" if "rb_started" in head and not ended else "not_needed")
    compensated = sorted(
        (n for n, s in steps.items() if s.purpose == "undo" and rows[n].get("status") == "succeeded"),
        key=lambda name: int(rows[name].get("ord", 0)),
    )
    done = [
        {"action": steps[n].undoes, "device": rows[n].get("device"), "attempts": int(rows[n].get("attempt", 0))}
        for n in compensated
    ]
    return {
        "status": status,
        "mechanism": "compensate" if begun else None,
        "compensated": done,
        "remaining": remaining(head, forward, steps, rows) if head.get("rb_status") else [],
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
