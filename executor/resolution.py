"""The way of a strategy, step by step. The first file to read; the only one that knows the order.

A Celery task may not wait for tasks, so the steps stand in three functions with the canvases between them:
`execute_strategy` (validate, plan, allocate, publish the first stage), `advance` (a stage has ended) and `conclude`
(evaluate, clean up). The ledger makes each of them safe to be called twice.
"""

import logging
from typing import Any

from config.settings import Settings
from executor.distribution import Context, DistributedCoordinator, Fleet
from executor.documents import load_data
from executor.model.errors import (
    CONFIGURATION,
    NO_DEVICE,
    Classification,
    LedgerTrouble,
    NoDevice,
    StrategyInvalid,
    UnknownExecution,
    told_unforeseen,
)
from executor.model.execution import TERMINAL, ExecutionState
from executor.model.ids import is_execution_id
from executor.model.plan import Plan
from executor.model.strategy import Strategy
from executor.monitoring import MonitoringSystem, unmet_error
from executor.newer import Newer
from executor.planning import Planned, make_plan
from executor.ports import ActionCatalogue, Ledger, Queues
from executor.taken_back import Generation, generations, remaining
from executor.validation import check_context, check_inputs, validate

_log = logging.getLogger("rex.resolution")

STUMBLES = 20
"""What cannot be planned is given up after so many times, which are 2 s apart."""
_HOLD_S = 0.5
"""How often an execution that waits for a device looks again."""


class ResolutionExecutor:
    """Executes recovery strategies."""

    def __init__(
        self, ledger: Ledger, catalogue: ActionCatalogue, settings: Settings, queues: Queues | None = None
    ) -> None:
        """
        Args:
            ledger: the state of executions and devices.
            catalogue: the action types.
            settings: defaults and bounds.
            queues: tells how many messages wait for a device; None: they lie on the ledger's own server.
        """
        self._ledger = ledger
        self._catalogue = catalogue
        self._settings = settings
        self._monitoring = MonitoringSystem(ledger)
        self._distribution = DistributedCoordinator(ledger, settings, queues)
        self._newer = Newer()

    def execute_strategy(self, execution: str, document: dict[str, Any] | None) -> None:
        """Steps 1 to 6: validate, plan, allocate, verify, and open the first stage.

        Args:
            execution: its id; one that exists already is left as it is.
            document: ``strategy``, ``inputs`` and ``context``; None when they were submitted to the ledger.
        """
        if not is_execution_id(execution):
            _log.warning("dropped a strategy: %r cannot be the id of an execution", execution)
            return
        if document is not None:
            self._ledger.submit(execution, document, delay_s=2.0)
        try:
            state = self._ledger.head(execution)["state"]
        except UnknownExecution:
            _log.warning("dropped a message: there is no execution %s", execution)
            return
        if state != ExecutionState.PENDING:
            return
        try:
            self._begin(execution)
        except LedgerTrouble:
            raise
        except Exception as error:  # noqa: BLE001
            # it is tried again, as the cause may be a package of this coordinator alone; but not for ever
            _log.exception("execution %s could not be planned", execution)
            told = told_unforeseen("the execution could not be planned", error)
            self._ledger.stumble(execution, ExecutionState.PENDING, told, remaining=[], most=STUMBLES)

    def _begin(self, execution: str) -> None:
        submitted = self._ledger.document(execution) or {}
        try:
            strategy, inputs, context = self.validate_strategy(submitted)
        except StrategyInvalid as error:
            self._ledger.conclude(execution, ExecutionState.REFUSED, error=_refusal(error))
            return
        try:
            planned = self.create_execution_plan(strategy)
        except NoDevice as error:
            self._hold(execution, error)
            return
        except StrategyInvalid as error:
            self._ledger.conclude(execution, ExecutionState.REFUSED, error=_refusal(error))
            return
        distribution = self._distribution.distribute_execution(strategy, planned)
        self._distribution.coordinate_execution(distribution, Context(execution, inputs, context))

    def validate_strategy(self, submitted: dict[str, Any]) -> tuple[Strategy, dict[str, Any], dict[str, Any]]:
        """The strategy with its inputs and context, each checked.

        Raises:
            StrategyInvalid: with every problem that it has.
        """
        strategy = validate(load_data(submitted.get("strategy")), self._catalogue)
        inputs = check_inputs(strategy, submitted.get("inputs") or {})
        return strategy, inputs, check_context(submitted.get("context") or {})

    def create_execution_plan(self, strategy: Strategy) -> Planned:
        """The plan of a valid strategy on the fleet as it is now.

        Raises:
            NoDevice: too few devices live, or none can do what an action asks that names none.
            StrategyInvalid: it is not clear on which device a snapshot is to be taken, or there is none for a fan-out.
        """
        return make_plan(strategy, self._settings, self._catalogue, self.fleet)

    def fleet(self) -> Fleet:
        """The devices as they are now."""
        return self._distribution.fleet()

    def _hold(self, execution: str, error: NoDevice) -> None:
        waited_s = self._ledger.hold(execution, str(error), delay_s=_HOLD_S)
        if waited_s >= self._settings.distributed.device_wait.total_seconds():
            told = _told("NoDevice", str(error), NO_DEVICE)
            self._ledger.conclude(execution, ExecutionState.FAILED, error=told)

    def advance(self, execution: str, generation: int, stage: int) -> None:
        """Step 7: a stage has ended. Do its conditions hold? Then the next one opens, or all is concluded."""
        try:
            head = self._ledger.head(execution)
        except UnknownExecution:
            _log.warning("dropped a message: there is no execution %s", execution)
            return
        if self._newer(execution, head):
            return
        error, criteria = None, None
        if generation == 0 and head["state"] == ExecutionState.RUNNING and head.get("stage") == str(stage):
            if int(head.get("left", 1)) > 0:
                # it came too early; the action that ends the stage asks again, and then conditions can be checked
                return
            plan = self._ledger.plan(execution, 0)
            if plan is not None:
                verify = plan.stages[stage].verify
                checked = self._checked(execution, head, plan, verify)
                error = unmet_error("verify of phase " + plan.stages[stage].name, checked)
                if error is None and stage + 1 == len(plan.stages):
                    criteria = self._checked(execution, head, plan, plan.success_criteria)
                    error = unmet_error("success_criteria", criteria)
        self._ledger.advance(execution, generation, stage, error=error, criteria=criteria)

    def _checked(
        self, execution: str, head: dict[str, str], plan: Plan, conditions: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        if not conditions:
            return []
        return self._monitoring.check_success_criteria(execution, head, conditions, plan.fan_outs)

    def conclude(self, execution: str) -> None:
        """Steps 8 to 10: evaluate how it went, and release what it held."""
        try:
            head = self._ledger.head(execution)
        except UnknownExecution:
            _log.warning("dropped a message: there is no execution %s", execution)
            return
        if self._newer(execution, head):
            return
        if head["state"] in TERMINAL:
            self._ledger.conclude(execution, head["state"])
            return
        status = head.get("outcome") or ExecutionState.COMPLETED
        goes = generations(self._ledger, execution, head)
        if status == ExecutionState.ROLLED_BACK and not any(go.tried() for go in goes):
            status = ExecutionState.COMPLETED  # a person asked, and then kept everything
        self._ledger.conclude(execution, status, rollback=self._rollback_status(execution, head, goes))

    def _rollback_status(self, execution: str, head: dict[str, str], goes: list[Generation]) -> str:
        """Empty where no rollback was called for."""
        if not head.get("outcome") or "started" not in head:
            return ""
        if head.get("rollback") == "none" and "request" not in head:
            return "disabled" if head.get("mode") == "rollback" else ""
        if head.get("unplanned"):
            return "failed"
        if not goes:
            return ""
        if not goes[-1].verified:
            return "failed"
        return "partial" if remaining(head, self._ledger.steps(execution, 0), goes[-1]) else "completed"


def _refusal(error: StrategyInvalid) -> dict[str, Any]:
    return _told("StrategyInvalid", str(error), CONFIGURATION)


def _told(kind: str, message: str, classification: Classification) -> dict[str, Any]:
    return {"type": kind, "message": message, "classification": classification.as_dict(), "action": None}
