"""Takes a failed execution back: makes the plan of the way back, and lets the ledger begin it."""

import logging

from config.settings import Settings
from executor.model.errors import UnknownExecution
from executor.model.plan import Plan, sequence
from executor.ports import Ledger
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
        generation = int(head.get("gen", 0))
        forward = self._ledger.plan(execution, 0)
        if head["state"] != "rolling_back" or generation != 0 or forward is None:
            return
        back = self.execute_compensating_actions(execution, forward)
        self._ledger.begin_rollback(
            execution,
            generation,
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

    def _timeout_s(self, forward: Plan, back: WayBackPlan) -> float:
        """As the strategy says; else the configured time beyond what its compensations may take one by one."""
        if forward.rollback_timeout_s is not None:
            return forward.rollback_timeout_s
        longest = sum(step.timeout_s * step.retry.max_attempts for step in back.steps.values())
        return self._settings.rollback.rollback_timeout.total_seconds() + longest
