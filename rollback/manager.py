"""Takes a failed execution back: makes the plan of the way back, and lets the ledger begin it."""

import logging
from collections.abc import Mapping
from typing import Any

from config.settings import Settings
from executor.model.errors import LedgerTrouble, UnknownExecution, told_unforeseen
from executor.model.execution import ExecutionState
from executor.model.plan import Plan, Step, sequence
from executor.ports import Ledger
from executor.resolution import STUMBLES
from rollback.compensation import WayBackPlan, plan_way_back

_log = logging.getLogger("rex.rollback")


class RollbackManager:
    """Manages rollback operations for failed strategy executions."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings

    def rollback(self, execution: str) -> None:
        """Begin the rollback of an execution that is drained; of any other one there is nothing to do.

        The error callback of each canvas and the outbox both ask for it; the ledger lets it begin once.
        """
        try:
            head = self._ledger.head(execution)
        except UnknownExecution:
            _log.warning("dropped a message: there is no execution %s", execution)
            return
        if head["state"] != ExecutionState.ROLLING_BACK or int(head.get("gen", 0)) != 0:
            return
        try:
            self._begin(execution)
        except LedgerTrouble:
            raise
        except Exception as error:  # noqa: BLE001
            # it is tried again, as the cause may be this coordinator alone; but not for ever
            _log.exception("the rollback of %s could not be planned", execution)
            told = told_unforeseen("the rollback could not be planned", error)
            left = self._left(execution, told["message"])
            self._ledger.stumble(execution, ExecutionState.ROLLING_BACK, told, remaining=left, most=STUMBLES)

    def _begin(self, execution: str) -> None:
        forward = self._ledger.plan(execution, 0)
        if forward is None:
            return
        back = self.execute_compensating_actions(execution, forward)
        self._ledger.begin_rollback(
            execution,
            0,
            back.plan.model_copy(update={"strategy": forward.strategy}),
            back.steps,
            remaining=back.remaining,
            timeout_s=self._timeout_s(forward, back),
        )

    def execute_compensating_actions(self, execution: str, forward: Plan) -> WayBackPlan:
        """The plan of the way back by compensation, with the probes that must hold at its end."""
        steps = self._ledger.steps(execution, 0)
        length, fuse = self._settings.execution.sequence_length, self._settings.execution.fuse
        actions = self._ledger.actions(execution, 0, list(steps))
        back = plan_way_back(forward, steps, actions, length=length, fuse=fuse)
        back.steps.update({probe.id: probe for probe in forward.rollback_verify})
        back.stages += sequence(forward.rollback_verify, length=length, fuse=fuse, name="verify")
        return back

    def _left(self, execution: str, reason: str) -> list[dict[str, Any]]:
        """What stays done when there is no way back."""
        try:
            steps = self._ledger.steps(execution, 0)
            rows = self._ledger.actions(execution, 0, list(steps))
            return [_row(step, rows[name], reason) for name, step in steps.items() if _done(step, rows[name])]
        except LedgerTrouble:
            raise
        except Exception:  # noqa: BLE001 - what cannot be read may be what cannot be planned
            _log.exception("what %s leaves behind could not be read", execution)
            return [{"action": None, "device": "", "reason": reason, "what": "everything that was done"}]

    def _timeout_s(self, forward: Plan, back: WayBackPlan) -> float:
        """As the strategy says; else the configured time beyond what its compensations may take one by one."""
        if forward.rollback_timeout_s is not None:
            return forward.rollback_timeout_s
        longest = sum(step.timeout_s * step.retry.max_attempts for step in back.steps.values())
        return self._settings.rollback.rollback_timeout.total_seconds() + longest


def _done(step: Step, row: Mapping[str, str]) -> bool:
    """Whether there may be something to take back."""
    parts = [(step.way_back, row.get("effect", "none"))]
    if step.fallback is not None:
        parts.append((step.fallback.way_back, row.get("effect_fallback", "none")))
    return any(effect != "none" and how.rule not in ("none", "nothing") for how, effect in parts)


def _row(step: Step, row: Mapping[str, str], reason: str) -> dict[str, Any]:
    device = row.get("device") or step.device
    return {"action": step.id, "device": device, "reason": reason, "what": step.call.shown()}
