"""Carries out one claimed action: the way forward, its fallback, and the way back of one that is undone.

Knows neither Celery nor the ledger's keys: it is given a claim and answers with how the attempt ended.
"""

import json
import random
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from executor.action import ActionType, Found, Json, Run, Snapshot, Undo
from executor.expressions import evaluate, holds, quoted_parameters, render
from executor.model.errors import (
    CONFIGURATION,
    UNMET,
    ActionCancelled,
    ActionError,
    ActionTimedOut,
    Interrupted,
)
from executor.model.execution import Claimed, Ended
from executor.model.plan import Call
from executor.policies.retry import delay_s, worth_retrying
from executor.ports import ActionCatalogue, Holding, Performer, UndoRecords


class _Attempt:
    """How far one call has come; decides what has to be taken back when it fails."""

    def __init__(self) -> None:
        self.effect = "none"
        self.result: Any = None


class ExecutionEngine:
    """Executes single actions."""

    def __init__(
        self,
        catalogue: ActionCatalogue,
        performer: Performer,
        undo_records: UndoRecords,
        *,
        chance: random.Random | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._performer = performer
        self._undo_records = undo_records
        self._chance = chance or random.Random()  # noqa: S311 - jitter is no secret

    def execute_action(self, claimed: Claimed, hold: Holding) -> Ended:
        """Run one attempt and say how it ended; every failure of the action becomes an `Ended`."""
        values = values_of(claimed)
        attempt = _Attempt()
        try:
            if claimed.step.purpose == "undo":
                return self._undo(claimed, hold, values, attempt)
            return self._forward(claimed, hold, values, attempt)
        except ActionError as error:
            return self._failed(claimed, hold, values, attempt, error)

    # -- forward ------------------------------------------------------------------------------------------------------

    def _forward(self, claimed: Claimed, hold: Holding, values: Json, attempt: _Attempt) -> Ended:
        step = claimed.step
        before = (claimed.undo or {}).get("data")
        if step.when is not None and claimed.attempt == 1 and not claimed.probe and not holds(step.when, values):
            return Ended("skipped", reason=f"when: {step.when}")
        if claimed.probe and not step.idempotent:
            attempt.effect = "unknown"
            if self._found(claimed, step.call, hold, values, before) is Found.DONE:
                return Ended("succeeded", effect="completed")
            attempt.effect = "none"
        kind, run = self._prepared(claimed, step.call, hold, values, before)
        self._call(claimed, kind, run, attempt)
        if step.success is not None and not holds(step.success, {**values, "result": attempt.result}):
            raise ActionError(f"success does not hold: {step.success}", UNMET)
        return Ended("succeeded", result=attempt.result, effect="completed")

    def _call(
        self, claimed: Claimed, kind: ActionType, run: Run, attempt: _Attempt, *, of_fallback: bool = False
    ) -> None:
        """snapshot -> execute -> verify."""
        if _has(kind, "snapshot") and (claimed.undo is None or of_fallback):
            snapshot: Snapshot | None = self._performer.perform(kind, "snapshot", run)
            if snapshot is not None:
                record = {"data": snapshot.data, "target": snapshot.target}
                if not self._undo_records.record_undo(claimed, record, of_fallback=of_fallback):
                    raise ActionCancelled(f"{claimed.step.id} was taken over before its effect")
                run.snapshot = snapshot.data
        run.proceed()
        attempt.effect = "started"
        attempt.result = self._performer.perform(kind, "execute", run)
        attempt.effect = "completed"
        if _has(kind, "verify"):
            self._performer.perform(kind, "verify", run, attempt.result)

    def _found(self, claimed: Claimed, call: Call, hold: Holding, values: Json, snapshot: Json | None) -> Found:
        """Ask the type whether it was done.

        Raises:
            Interrupted: it cannot tell.
        """
        kind, run = self._prepared(claimed, call, hold, values, snapshot)
        found: Found = self._performer.perform(kind, "check", run) if _has(kind, "check") else Found.UNKNOWN
        if found is Found.UNKNOWN:
            raise Interrupted(
                f"the worker that ran {claimed.step.id} died, and {call.uses} cannot tell whether it was done"
            )
        return found

    def _prepared(
        self, claimed: Claimed, call: Call, hold: Holding, values: Json, snapshot: Json | None
    ) -> tuple[ActionType, Run]:
        kind = self._kind(call.uses)
        parameters = checked_parameters(kind, rendered(kind, call, values))
        return kind, self._performer.prepare(claimed, parameters, hold, snapshot)

    def _kind(self, uses: str) -> ActionType:
        try:
            return self._catalogue.get(uses)
        except KeyError as error:
            raise ActionError(f"{uses} is not installed on this device", CONFIGURATION) from error

    # -- back ---------------------------------------------------------------------------------------------------------

    def _undo(self, claimed: Claimed, hold: Holding, values: Json, attempt: _Attempt) -> Ended:
        step = claimed.step
        record = claimed.undone.get("snapshot") or {}
        data = record.get("data")
        if step.probe is not None and self._found(claimed, step.probe, hold, values, data) is Found.NOT_DONE:
            return Ended("skipped", reason="it had not been done")
        kind, run = self._prepared(claimed, step.call, hold, values, data)
        if claimed.probe and not (step.idempotent or kind.idempotent):
            # a compensation was interrupted: never twice, unless its type says that it may be
            if step.method == "compensate":
                raise Interrupted(f"taking back {step.undoes} was interrupted, and nobody knows how far it came")
            if self._found(claimed, step.call, hold, values, None) is Found.DONE:
                return Ended("succeeded", effect="completed")
        run.proceed()
        attempt.effect = "started"
        if step.method == "compensate":
            undo = Undo(snapshot=data, result=claimed.undone.get("result"), error=claimed.undone.get("error"))
            attempt.result = self._performer.perform(kind, "compensate", run, undo)
        else:
            self._call(claimed, kind, run, attempt)
        return Ended("succeeded", result=attempt.result, effect="completed")

    # -- failing ------------------------------------------------------------------------------------------------------

    def _failed(self, claimed: Claimed, hold: Holding, values: Json, attempt: _Attempt, error: ActionError) -> Ended:
        step = claimed.step
        if isinstance(error, (ActionTimedOut, ActionCancelled, Interrupted)) and attempt.effect == "started":
            attempt.effect = "unknown"
        told = error.told(step.undoes or step.id)
        if isinstance(error, ActionCancelled) or hold.cancelled():
            return Ended("cancelled", error=told, effect=attempt.effect)
        if worth_retrying(step.retry, claimed.attempt, error.classification):
            delay = delay_s(step.retry, claimed.attempt, self._chance)
            return Ended("retry", error=told, effect=attempt.effect, delay_s=delay)
        if step.fallback is not None and step.purpose == "forward":
            return self._fall_back(claimed, hold, values, attempt, told)
        status = "timed_out" if isinstance(error, ActionTimedOut) else "failed"
        return Ended(status, error=told, effect=attempt.effect)

    def _fall_back(self, claimed: Claimed, hold: Holding, values: Json, first: _Attempt, told: Json) -> Ended:
        step = claimed.step
        if step.fallback is None:
            raise ValueError(f"{step.id} has no fallback")
        second = _Attempt()
        try:
            kind, run = self._prepared(claimed, step.fallback.call, hold, values, None)
            self._call(claimed, kind, run, second, of_fallback=True)
        except ActionError as error:
            if isinstance(error, (ActionTimedOut, ActionCancelled)) and second.effect == "started":
                second.effect = "unknown"
            told = {**told, "message": f"{told['message']}; and its fallback failed: {error}"}
            status = "cancelled" if isinstance(error, ActionCancelled) else "failed"
            return Ended(status, error=told, effect=first.effect, marks={"effect_fallback": second.effect})
        return Ended(
            "succeeded",
            result=second.result,
            effect=first.effect,
            marks={"degraded": "1", "effect_fallback": "completed", "failure": json.dumps(told)},
        )


def values_of(claimed: Claimed) -> Json:
    """What the expressions of a claimed action may read."""
    step = claimed.step
    values: Json = {
        "inputs": claimed.inputs,
        "context": claimed.context,
        "actions": dict(claimed.reads),
        "device": {"id": step.device, "labels": {}, "capabilities": []},
        "execution": {"id": claimed.execution, "strategy": claimed.strategy, "attempt": claimed.attempt},
    }
    if step.purpose == "undo":
        record = claimed.undone.get("snapshot")
        values["error"] = claimed.undone.get("error")
        values["result"] = claimed.undone.get("result")
        values["snapshot"] = record.get("data") if isinstance(record, Mapping) else None
    return values


def rendered(kind: ActionType, call: Call, values: Json) -> Json:
    """The parameters of a call with every expression evaluated.

    Raises:
        ExpressionError: one failed.
    """
    plain: Json = render(call.with_, values, shell_quote_keys=quoted_parameters(call.uses))
    for name in kind.conditions:
        if isinstance(call.with_.get(name), str):
            plain[name] = evaluate(call.with_[name], values)
    return plain


def checked_parameters(kind: ActionType, parameters: Json) -> BaseModel:
    """The parameters as the type's model.

    Raises:
        ActionError: a value that was only known now does not fit.
    """
    try:
        return kind.Parameters.model_validate(parameters)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'with'}: {problem['msg']}" for problem in error.errors()
        )
        raise ActionError(f"{kind.uses} cannot take its parameters: {problems}", CONFIGURATION) from None


def _has(kind: ActionType, method: str) -> bool:
    """Whether the type brings its own `method`; asking the empty one may cost a process."""
    return getattr(type(kind), method) is not getattr(ActionType, method)
