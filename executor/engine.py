"""Carries out one claimed action: the way forward, its fallback, and the way back of one that is undone.

Knows neither Celery nor the ledger's keys: it is given a claim and answers with how the attempt ended.
"""

import json
import logging
import random
import time
from dataclasses import dataclass
from typing import Any

from executor.action import ActionType, Found, Json, Run, Snapshot, Undo, WayBack
from executor.expressions import holds
from executor.model.errors import (
    CONFIGURATION,
    NETWORK,
    RESOURCE,
    UNMET,
    ActionCancelled,
    ActionError,
    ActionTimedOut,
    Interrupted,
    LedgerFull,
    Unanswered,
    Unreachable,
)
from executor.model.execution import Claimed, Ended
from executor.model.plan import Call
from executor.parameters import Here, checked_parameters, rendered, values_of
from executor.policies.classification import classify
from executor.policies.retry import delay_s, worth_retrying
from executor.ports import ActionCatalogue, Holding, Performer, UndoRecords

_log = logging.getLogger("rex.engine")


@dataclass
class _Attempt:
    """One call of a claim, and how far it has come; decides what has to be taken back when it fails."""

    claimed: Claimed
    hold: Holding
    values: Json
    deadline: float
    of_fallback: bool = False
    effect: str = "none"
    result: Any = None

    @property
    def record(self) -> Json | None:
        """The undo record that an earlier holder has written for this very call."""
        return self.claimed.undo_fallback if self.of_fallback else self.claimed.undo

    @property
    def saved(self) -> Json | None:
        """What this very call saved before its effect; never what another one saved."""
        return (self.record or {}).get("data")

    def failed_by(self, error: Exception) -> ActionError:
        """The error as this attempt tells it; what was cut off in its effect may have had it."""
        known = _as_action_error(error, self.claimed.step.id)
        if isinstance(known, ActionCancelled) and not self.hold.cancelled():
            # nobody asked for it: to be told as cancelled it would pass for an end that was wanted
            known = Interrupted(str(known))
        if self.effect == "started" and isinstance(known, (ActionTimedOut, ActionCancelled, Interrupted, Unanswered)):
            self.effect = "unknown"
        return known


class ExecutionEngine:
    """Executes single actions."""

    def __init__(
        self,
        catalogue: ActionCatalogue,
        performer: Performer,
        undo_records: UndoRecords,
        *,
        chance: random.Random | None = None,
        here: Here | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._performer = performer
        self._undo_records = undo_records
        self._here = here or Here()
        self._chance = chance or random.Random()  # noqa: S311 - jitter is no secret

    def execute_action(self, claimed: Claimed, hold: Holding) -> Ended:
        """Run one attempt and say how it ended; every failure becomes an `Ended`, so that every attempt is settled."""
        step = claimed.step
        # the lease allows for the fallback too, which has a time of its own
        attempt = _Attempt(
            claimed, hold, values_of(claimed, self._here), hold.ends_at - (step.timeout_s if step.fallback else 0)
        )
        try:
            if step.purpose == "undo":
                return self._undo(attempt)
            if claimed.undo_fallback is not None and claimed.probe:
                return self._take_over_fallback(attempt)
            return self._forward(attempt)
        except Exception as error:  # noqa: BLE001 - whatever it is, the attempt has ended
            return self._failed(attempt, attempt.failed_by(error))

    # -- forward ------------------------------------------------------------------------------------------------------

    def _forward(self, attempt: _Attempt) -> Ended:
        claimed, step = attempt.claimed, attempt.claimed.step
        # a former holder may have died before it came to ask
        if step.when is not None and claimed.attempt == 1 and not holds(step.when, attempt.values):
            return Ended("skipped", reason=f"when: {step.when}")
        if claimed.probe and not step.idempotent:
            attempt.effect = "unknown"
            if self._is_done(attempt):
                attempt.effect = "completed"
                if step.success is not None:
                    raise Interrupted(
                        f"{step.id} was done, but its result died with its worker: success cannot be judged"
                    )
                return Ended("succeeded", effect="completed")
            attempt.effect = "none"
        kind, run = self._prepared(attempt, step.call, attempt.saved)
        self._call(attempt, kind, run)
        if step.success is not None and not holds(step.success, {**attempt.values, "result": attempt.result}):
            raise ActionError(f"success does not hold: {step.success}", UNMET)
        return Ended("succeeded", result=attempt.result, effect="completed")

    def _call(self, attempt: _Attempt, kind: ActionType, run: Run) -> None:
        """snapshot -> execute -> verify."""
        if attempt.record is None:
            self._write_record(attempt, kind, run)
        run.proceed()
        attempt.effect = "started"
        attempt.result = self._performer.perform(kind, "execute", run)
        attempt.effect = "completed"
        if _has(kind, "verify"):
            self._performer.perform(kind, "verify", run, attempt.result)

    def _write_record(self, attempt: _Attempt, kind: ActionType, run: Run) -> None:
        """Before the effect: what is needed to take it back; of a fallback also that it begins."""
        claimed = attempt.claimed
        snapshot: Snapshot | None = self._performer.perform(kind, "snapshot", run) if _has(kind, "snapshot") else None
        if snapshot is None and not attempt.of_fallback:
            return
        record: Json = {"data": None, "target": ""}
        if snapshot is not None:
            record = {"data": snapshot.data, "target": snapshot.target}
            if snapshot.covers:
                record["covers"] = list(snapshot.covers)
        if not self._undo_records.record_undo(claimed, record, of_fallback=attempt.of_fallback):
            raise ActionCancelled(f"{claimed.step.id} was taken over before its effect")
        run.snapshot = record["data"]

    def _is_done(self, attempt: _Attempt) -> bool:
        """Whether a former holder did it, and it must not run again.

        Raises:
            Interrupted: its type cannot tell.
        """
        call = attempt.claimed.step.call
        found = self._found(attempt, call, attempt.saved)
        # what restores compares the world with what it saved: it runs again, finds it done, and has its result
        return found is Found.DONE and not _restores(self._kind(call.uses), call)

    def _found(self, attempt: _Attempt, call: Call, snapshot: Json | None) -> Found:
        """Ask the type whether it was done.

        Raises:
            Interrupted: it cannot tell.
        """
        kind, run = self._prepared(attempt, call, snapshot)
        found: Found = self._performer.perform(kind, "check", run) if _has(kind, "check") else Found.UNKNOWN
        if found is Found.UNKNOWN:
            raise Interrupted(f"{_how_it_broke_off(attempt.claimed)}, and {call.uses} cannot tell whether it was done")
        return found

    def _prepared(self, attempt: _Attempt, call: Call, snapshot: Json | None) -> tuple[ActionType, Run]:
        kind = self._kind(call.uses)
        parameters = checked_parameters(kind, rendered(kind, call, attempt.values))
        run = self._performer.prepare(attempt.claimed, parameters, attempt.hold, snapshot, attempt.deadline)
        return kind, run

    def _kind(self, uses: str) -> ActionType:
        try:
            return self._catalogue.get(uses)
        except KeyError as error:
            raise ActionError(f"{uses} is not installed on this device", CONFIGURATION) from error

    # -- back ---------------------------------------------------------------------------------------------------------

    def _undo(self, attempt: _Attempt) -> Ended:
        claimed, step = attempt.claimed, attempt.claimed.step
        data = (claimed.undone.get("snapshot") or {}).get("data")
        if step.probe is not None and self._to_undo(attempt, step.probe, data) is Found.NOT_DONE:
            return Ended("skipped", reason="it had not been done")
        # a declared way back is an action of its own: what it finds saved is what it saved itself
        kind, run = self._prepared(attempt, step.call, data if step.method == "compensate" else attempt.saved)
        if claimed.probe and not (step.idempotent or kind.idempotent):
            # a compensation was interrupted: never twice, unless its type says that it may be
            if step.method == "compensate":
                raise Interrupted(f"taking back {step.undoes} was interrupted, and nobody knows how far it came")
            if self._is_done(attempt):
                return Ended("succeeded", effect="completed")
        if step.method == "compensate":
            run.proceed()
            attempt.effect = "started"
            undo = Undo(
                snapshot=data,
                result=claimed.undone.get("result"),
                error=claimed.undone.get("error"),
                force=step.force,
                quiet=_local_times(claimed),
            )
            attempt.result = self._performer.perform(kind, "compensate", run, undo)
        else:
            self._call(attempt, kind, run)
        return Ended("succeeded", result=attempt.result, effect="completed")

    def _to_undo(self, attempt: _Attempt, call: Call, snapshot: Json | None) -> Found:
        """As `_found`, for what is to be taken back: where it cannot be told, its type may say that undoing is safe."""
        try:
            return self._found(attempt, call, snapshot)
        except Interrupted:
            if attempt.claimed.step.method == "compensate" and self._kind(call.uses).safe_to_undo:
                return Found.UNKNOWN
            raise

    # -- failing ------------------------------------------------------------------------------------------------------

    def _failed(self, attempt: _Attempt, error: ActionError) -> Ended:
        claimed, step = attempt.claimed, attempt.claimed.step
        told = error.told(step.undoes or step.id)
        if attempt.hold.cancelled():
            return Ended("cancelled", error=told, effect=attempt.effect)
        if worth_retrying(step.retry, claimed.attempt, error.classification):
            delay = delay_s(step.retry, claimed.attempt, self._chance)
            return Ended("retry", error=told, effect=attempt.effect, delay_s=delay)
        # one that had begun is only run again by `_take_over_fallback`, which knows whether it may be
        taken_over = claimed.undo_fallback is not None and claimed.probe
        if step.fallback is not None and step.purpose == "forward" and not taken_over:
            return self._fall_back(attempt, told)
        status = "timed_out" if isinstance(error, ActionTimedOut) else "failed"
        return Ended(status, error=told, effect=attempt.effect)

    def _fall_back(self, first: _Attempt, told: Json) -> Ended:
        claimed, step = first.claimed, first.claimed.step
        if step.fallback is None:
            raise ValueError(f"{step.id} has no fallback")
        deadline = min(time.monotonic() + step.timeout_s, first.hold.ends_at)
        second = _Attempt(claimed, first.hold, first.values, deadline, of_fallback=True)
        try:
            kind, run = self._prepared(second, step.fallback.call, second.saved)
            self._call(second, kind, run)
        except Exception as raised:  # noqa: BLE001 - as in `execute_action`
            error = second.failed_by(raised)
            told = {**told, "message": f"{told['message']}; and its fallback failed: {error}"}
            status = "cancelled" if first.hold.cancelled() else "failed"
            # a former holder had begun it: what that one did is not undone by our failing
            became = second.effect if claimed.undo_fallback is None or second.effect == "completed" else "unknown"
            return Ended(status, error=told, effect=first.effect, marks={"effect_fallback": became})
        return Ended(
            "succeeded",
            result=second.result,
            effect=first.effect,
            marks={"degraded": "1", "effect_fallback": "completed", "failure": json.dumps(told)},
        )

    def _take_over_fallback(self, attempt: _Attempt) -> Ended:
        """The action had failed, and who ran its fallback died: that may only run again where twice is as once."""
        step = attempt.claimed.step
        error = Interrupted(f"the worker that ran the fallback of {step.id} died, and nobody knows whether it was done")
        told = error.told(step.id)
        if attempt.hold.cancelled():
            return Ended("cancelled", error=told, marks={"effect_fallback": "unknown"})
        if step.fallback is not None:
            kind = self._kind(step.fallback.call.uses)
            if kind.idempotent or _restores(kind, step.fallback.call):
                return self._fall_back(attempt, told)
        return Ended("failed", error=told, marks={"effect_fallback": "unknown"})


def _as_action_error(error: Exception, action: str) -> ActionError:
    """What went wrong around the action's own code, as a failure of the action."""
    if isinstance(error, ActionError):
        return error
    if isinstance(error, Unreachable):
        return ActionError(str(error), NETWORK)
    if isinstance(error, LedgerFull):
        return ActionError(str(error), RESOURCE)
    _log.error("%s could not be carried out", action, exc_info=error)
    return ActionError(f"{type(error).__name__}: {error}", classify(error))


def _local_times(claimed: Claimed) -> tuple[float, float] | None:
    """The quiet time of a step by this device's clock, which may differ from the ledger's."""
    if claimed.step.quiet_ms is None:
        return None
    began, ended = claimed.step.quiet_ms
    ahead_s = time.time() - claimed.now_ms / 1000
    return began / 1000 + ahead_s, ended / 1000 + ahead_s


def _restores(kind: ActionType, call: Call) -> bool:
    """Whether the type takes itself back by what it saved, and so may run again with that."""
    return kind.way_back(call.with_) is WayBack.RESTORES


def _how_it_broke_off(claimed: Claimed) -> str:
    """Why nobody knows: for the way back, by what ended the action that is taken back."""
    error = claimed.undone.get("error") if claimed.step.purpose == "undo" and not claimed.probe else None
    if error is not None:
        return f"{claimed.step.undoes} was broken off ({error['message']})"
    return f"the worker that ran {claimed.step.id} died"


def _has(kind: ActionType, method: str) -> bool:
    """Whether the type brings its own `method`; asking the empty one may cost a process."""
    return getattr(type(kind), method) is not getattr(ActionType, method)
