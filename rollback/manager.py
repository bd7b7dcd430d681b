"""Takes an execution back: chooses how, makes the plan of the way back, and lets the ledger begin it."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from config.settings import Settings
from executor.model.errors import LedgerTrouble, NotAllowedNow, RexError, UnknownExecution, told_unforeseen
from executor.model.execution import TERMINAL, ExecutionState
from executor.model.ids import new_execution_id
from executor.model.plan import Step
from executor.model.rollback import Chosen, RollbackRequest
from executor.model.strategy import Strategy
from executor.newer import Newer
from executor.ports import Ledger
from executor.resolution import STUMBLES
from rollback.case import Case, NoWay
from rollback.compensation import WayBackPlan
from rollback.preview import needs_of, shown_offer, shown_plan

_log = logging.getLogger("rex.rollback")

Json = dict[str, Any]
_NOBODY_WAITS_MS = 60_000


class RollbackManager:
    """Manages rollback operations for failed strategy executions."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._newer = Newer()

    # -- the way back -------------------------------------------------------------------------------------------------

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
        if self._newer(execution, head):
            return
        try:
            self._begin(execution, head)
        except LedgerTrouble:
            raise
        except Exception as error:  # noqa: BLE001
            # it is tried again, as the cause may be this coordinator alone; but not for ever
            _log.exception("the rollback of %s could not be planned", execution)
            told = told_unforeseen("the rollback could not be planned", error)
            left = self._left(execution, told["message"])
            self._ledger.stumble(execution, ExecutionState.ROLLING_BACK, told, remaining=left, most=STUMBLES)

    def _begin(self, execution: str, head: Mapping[str, str]) -> None:
        case = self._case(execution, head)
        if case is None:
            return
        if case.asked == "guided":
            self._guide(case)
            return
        try:
            chosen, way_back = self.determine_rollback_strategy(case)
        except NoWay as error:
            way_back, chosen = self._instead(case, str(error))
        self.execute_compensating_actions(case, chosen, way_back)

    def _instead(self, case: Case, reason: str) -> tuple[WayBackPlan, Chosen]:
        """The mechanism is not possible: of a strategy compensation takes its place, of a person's wish nothing."""
        if case.request is None:
            _log.warning("%s is taken back by compensation: %s", case.execution, reason)
            way_back = case.way_back("compensate")
            return way_back, Chosen(mechanism="compensate", asked=case.asked, reasons=(reason,))
        by = case.request.by
        return WayBackPlan(remaining=self._left(case.execution, reason)), Chosen(
            mechanism="compensate", asked=case.asked, reasons=(reason,), by=by
        )

    def _case(self, execution: str, head: Mapping[str, str], request: RollbackRequest | None = None) -> Case | None:
        forward = self._ledger.plan(execution, 0)
        if forward is None:
            return None
        if request is None and "request" in head:
            request = RollbackRequest.model_validate_json(head["request"])
        return Case(self._ledger, self._settings, execution, head, forward=forward, request=request)

    def determine_rollback_strategy(self, case: Case) -> tuple[Chosen, WayBackPlan]:
        """The mechanism with its reasons, and its plan.

        Raises:
            NoWay: the mechanism that was asked for is not possible.
        """
        return case.determine()

    def execute_compensating_actions(self, case: Case, chosen: Chosen, way_back: WayBackPlan) -> bool:
        """Have a plan carried out, stage by stage, each step on the device that did the work.

        Returns:
            False where it was begun before.
        """
        return self._ledger.begin_rollback(
            case.execution,
            0,
            way_back.plan.model_copy(update={"strategy": case.forward.strategy}),
            way_back.steps,
            remaining=way_back.remaining,
            timeout_s=case.timeout_s(way_back),
            chosen=chosen,
            turn=case.turn,
        )

    # -- with a person ------------------------------------------------------------------------------------------------

    def _guide(self, case: Case) -> None:
        """Ask a person, or do what was chosen, or what is configured when nobody chose in time."""
        head = case.head
        if "choice" in head:
            choices, by = json.loads(head["choice"]), head.get("choice_by", "")
        elif "offer" not in head:
            self._offer(case)
            return
        elif self._ledger.now_ms() < int(head["choose_by"]):
            return
        else:
            choices, by = {}, ""
        if again := case.to_run_again(choices):
            chosen = Chosen(
                mechanism="guided", asked="guided", reasons=(f"chosen by {by}",), by=by, choices=choices,
                at_ms=case.chosen_at_ms,
            )  # fmt: skip
            self._ledger.resume(case.execution, chosen, again, timeout_s=case.forward.timeout_s, turn=case.turn)
            return
        self.execute_compensating_actions(case, *case.by_choice(choices, by))

    def _offer(self, case: Case) -> None:
        rollback = self._settings.rollback
        actions = shown_offer(case.way_back("compensate"), case.steps, case.rows, stage=case.stage, tell=case.told)
        if not actions:  # there is nothing to choose
            self.execute_compensating_actions(case, *case.by_choice({}, ""))
            return
        offer = {"actions": actions, "default": rollback.choice_default}
        self._ledger.offer(case.execution, offer, wait_s=rollback.choice_timeout.total_seconds(), turn=case.turn)

    def preview(self, execution: str, request: Json, key: str, asked_ms: int) -> None:
        """Answer what a rollback as asked for would do; changes nothing.

        Args:
            execution: its id.
            request: a `RollbackRequest` as JSON.
            key: under which the answer is waited for.
            asked_ms: when, by the ledger's clock: after a minute nobody waits for it any more.
        """
        try:
            late = self._ledger.now_ms() - asked_ms > _NOBODY_WAITS_MS
            answer = {} if late else self._previewed(execution, RollbackRequest.model_validate(request))
        except LedgerTrouble:
            raise
        except (RexError, ValueError) as error:
            answer = {"refused": str(error)}
        except Exception as error:  # noqa: BLE001 - it would be asked for ever
            _log.exception("the rollback of %s could not be shown", execution)
            answer = {"refused": told_unforeseen("the rollback could not be planned", error)["message"]}
        self._ledger.reply(key, answer)

    def _previewed(self, execution: str, request: RollbackRequest) -> Json:
        head = self._ledger.head(execution)
        told: Json = {"execution_id": execution, "status": head["state"]}
        case = self._case(execution, head, request)
        if case is None:
            return {**told, "refused": "nothing of it ran, so there is nothing to take back"}
        if unknown := sorted(set(request.actions) - set(case.steps) - set(case.forward.fan_outs)):
            return {**told, "refused": f"it has no action {', '.join(map(repr, unknown))}"}
        if case.asked == "guided":
            plan = case.way_back("compensate")
            chosen = Chosen(mechanism="guided", asked="guided", reasons=("a person chooses when it begins",))
        else:
            try:
                chosen, plan = self.determine_rollback_strategy(case)
            except NoWay as error:
                return {**told, "refused": str(error)}
        refused = _refusal(case, plan)
        if head["state"] not in TERMINAL:
            refused = f"it is {head['state']}, and only what has ended is taken back: `rex cancel` ends and takes back"
        if "offer" in head and "choice" not in head:
            refused = f"it waits for a choice: `rex rollback {execution} --choose` shows it"
        return {
            **told,
            **shown_plan(plan, chosen, case.steps, case.rows, tell=case.told),
            **({"refused": refused} if refused else {}),
        }

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def create_snapshot(self, strategy: Strategy, inputs: Json | None = None) -> str:
        """Take the snapshots of a strategy without running its actions.

        Returns:
            The id of an execution that does nothing else; `restore_from_snapshot` takes it.
        """
        plain = strategy.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        only: Json = {
            name: plain[name] for name in ("name", "version", "inputs", "snapshot", "defaults") if name in plain
        }
        only["actions"] = [{"id": "taken", "uses": "assert", "with": {"that": "true"}}]
        execution = new_execution_id()
        self._ledger.submit(execution, {"strategy": only, "inputs": inputs or {}, "context": {}})
        return execution

    def restore_from_snapshot(self, execution: str, *, by: str, force: bool = False) -> tuple[str, str]:
        """Restore the snapshots of an execution that has ended; answers as `Ledger.reopen` does.

        Raises:
            NotAllowedNow: none was taken, or all of them are restored.
            UnknownExecution: there is none of that id.
        """
        request = RollbackRequest(mechanism="snapshot", by=by, force=force, retry=True, key=new_execution_id())
        if refused := self._previewed(execution, request).get("refused"):
            raise NotAllowedNow(f"execution {execution} is not restored: {refused}")
        return self._ledger.reopen(execution, request)

    # -- what stays ---------------------------------------------------------------------------------------------------

    def _left(self, execution: str, reason: str) -> list[Json]:
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


def _refusal(case: Case, plan: WayBackPlan) -> str:
    """Why a rollback as asked for may not be: something that is kept needs what is taken back."""
    undone = {step.undoes for step in plan.steps.values() if step.undoes is not None}
    kept = set(plan.kept)
    if case.request is not None and case.request.actions:
        # what an earlier rollback left, and is not asked for now, stays as well
        kept |= {row["action"] for row in plan.remaining} - case.named
    needs = needs_of(case.steps, case.rows) if kept else {}
    for name in case.steps:
        if name in undone and (needing := [other for other in needs.get(name, ()) if other in kept]):
            return f"{', '.join(map(repr, needing))} would be kept, and needs {name!r}: name both, or neither"
    to_prove = case.request is not None and case.request.retry and case.head.get("rb_status") == "failed"
    if not undone and not (to_prove and plan.steps):
        left = "; ".join(dict.fromkeys(f"{row['action']}: {row['reason']}" for row in plan.remaining))
        return f"nothing of what is left can be undone: {left}" if left else "nothing is left to take back"
    before, request = case.head.get("rb_status"), case.request
    if before in ("completed", "partial", "failed") and request and not (request.retry or request.actions):
        return f"it was taken back already ({before}), and something is left: --retry takes it up, --actions names it"
    return ""


def _done(step: Step, row: Mapping[str, str]) -> bool:
    """Whether there may be something to take back."""
    parts = [(step.way_back, row.get("effect", "none"))]
    if step.fallback is not None:
        parts.append((step.fallback.way_back, row.get("effect_fallback", "none")))
    changed = any(effect != "none" and how.rule not in ("none", "nothing") for how, effect in parts)
    return changed and step.purpose == "forward"


def _row(step: Step, row: Mapping[str, str], reason: str) -> Json:
    device = row.get("device") or step.device
    return {"action": step.id, "device": device, "reason": reason, "what": step.call.shown()}
