"""Watching executions: do the conditions hold that say whether they went well?"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from executor.expressions import Reads, holds, reads_of_condition
from executor.model.errors import UNMET, ExpressionError
from executor.model.execution import READ, readable_all
from executor.model.fan_out import expanded


class MonitoredLedger(Protocol):
    def head(self, execution: str) -> dict[str, str]: ...
    def actions(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, dict[str, str]]: ...


class MonitoringSystem:
    """Evaluates conditions over what the ledger holds."""

    def __init__(self, ledger: MonitoredLedger) -> None:
        self._ledger = ledger

    def check_success_criteria(
        self,
        execution: str,
        head: Mapping[str, str],
        conditions: Iterable[str],
        fan_outs: Mapping[str, tuple[str, ...]] | None = None,
    ) -> list[dict[str, Any]]:
        """Each condition with ``met``, and ``error`` where it failed to evaluate: then it counts as not met.

        Args:
            execution: its id.
            head: its own fields.
            conditions: CEL.
            fan_outs: the instances of each action that runs on several devices.
        """
        listed = list(conditions)
        reads = Reads()
        for source in listed:
            reads |= reads_of_condition(source)
        values = self._values(execution, head, expanded(sorted(reads.actions), fan_outs or {}))
        return [_checked(source, values) for source in listed]

    def _values(self, execution: str, head: Mapping[str, str], steps: list[str]) -> dict[str, Any]:
        rows = self._ledger.actions(execution, 0, steps)
        return {
            "inputs": json.loads(head.get("inputs") or "{}"),
            "context": json.loads(head.get("context") or "{}"),
            "actions": readable_all([name, *(row.get(part, "") for part in READ)] for name, row in rows.items()),
            "device": {"id": "", "labels": {}, "capabilities": []},
            "execution": {"id": execution, "strategy": head["strategy"], "attempt": 1},
        }


def unmet_error(what: str, checked: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The error of an execution whose conditions do not hold; None when they do."""
    unmet = [c["expression"] + (f" ({c['error']})" if c.get("error") else "") for c in checked if not c["met"]]
    if not unmet:
        return None
    return {
        "type": "Unmet",
        "message": f"{what} not met: {'; '.join(unmet)}",
        "classification": UNMET.as_dict(),
        "action": None,
    }


def _checked(source: str, values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"expression": source, "met": holds(source, values)}
    except ExpressionError as error:
        return {"expression": source, "met": False, "error": str(error)}
