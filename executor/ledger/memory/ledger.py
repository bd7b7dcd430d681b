"""`MemoryLedger`: each method is one step under one lock, as each script is one step on the server."""

import json
from collections.abc import Callable
from typing import Any

from executor.ledger.memory.reading import wall_clock_ms
from executor.ledger.memory.rolling_back import MemoryRollbacks
from executor.ledger.memory.state import Execution
from executor.model.execution import FINAL, TERMINAL
from executor.model.plan import Plan, Step, format_of
from executor.ports import Outlet


class MemoryLedger(MemoryRollbacks):
    """The state of every execution, for one process; threads may share it."""

    def __init__(self, *, clock: Callable[[], int] = wall_clock_ms, outlet: Outlet | None = None) -> None:
        """
        Args:
            clock: milliseconds since the epoch.
            outlet: sends what a step decided; without one it waits in the outbox for `due`.
        """
        super().__init__(clock, outlet)

    # -- executions ---------------------------------------------------------------------------------------------------

    def submit(self, execution: str, document: dict[str, Any], *, delay_s: float = 0.0) -> bool:
        """Accept an execution; False where one of that id exists. `document`: strategy, inputs, context."""
        text = json.dumps(document, allow_nan=False)
        strategy = document.get("strategy")
        named = strategy if isinstance(strategy, dict) else {}
        with self._step() as do:
            if execution in self._store.executions:
                return False
            x = Execution(execution, text, {})
            x.put(state="pending", format=1, created=do.now, seq=0, gen=0)
            x.put(strategy=named.get("name", ""), version=named.get("version", "1"))
            self._store.executions[execution] = x
            self._store.accepted[execution] = do.now
            do.emit(x, "execution:submitted", strategy=x.fields["strategy"])
            due = do.now + round(delay_s * 1000)
            do.post_task("ex:" + execution, "executor.execute_strategy", execution, [], due=due)
            return True

    def hold(self, execution: str, reason: str, *, delay_s: float) -> float:
        """Try a pending execution again after `delay_s`; returns for how many seconds it has waited."""
        with self._step() as do:
            x = self._store.executions.get(execution)
            if x is None or x.state != "pending":
                return 0.0
            if "held" not in x.fields:
                x.put(held=do.now)
                do.emit(x, "execution:waiting", reason=reason)
            x.put(waiting_for=reason)
            due = do.now + round(delay_s * 1000)
            do.post_task("ex:" + execution, "executor.execute_strategy", execution, [], due=due)
            return (do.now - x.number("held")) / 1000

    def create(
        self,
        execution: str,
        plan: Plan,
        steps: dict[str, Step],
        *,
        inputs: dict[str, Any],
        context: dict[str, Any],
        parallel: int,
        timeout_s: float,
        rollback: str,
        max_failures: int | None,
    ) -> bool:
        """Write the plan and open its first stage; False where that was done before."""
        with self._step() as do:
            x = self._store.executions.get(execution)
            do.strike("ex:" + execution)
            if x is None or x.state != "pending":
                return False
            x.put(state="running", started=do.now, limit=parallel, rollback=rollback)
            x.put(inputs=json.dumps(inputs), context=json.dumps(context))
            x.put(format=max(x.number("format"), format_of(steps.values())))
            x.fields.pop("waiting_for", None)
            if max_failures is not None:
                x.put(max_failures=max_failures)
            self._store.deadlines[execution] = do.now + round(timeout_s * 1000)
            self._write(x, plan, steps)
            do.emit(x, "execution:started", strategy=x.fields["strategy"])
            if len(plan.devices) > 1:
                x.put(spread=1)
                do.emit(x, "distributed:execution:started", devices=plan.devices)
            if plan.stages:
                do.open_stage(x, 0)
            else:
                do.conclude_later(x)
            return True

    def advance(
        self, execution: str, generation: int, stage: int, *, error: dict[str, Any] | None = None,
        criteria: list[dict[str, Any]] | None = None,
    ) -> bool:  # fmt: skip
        """A stage has ended: open the next, fail with `error`, or conclude. False where there is nothing to do."""
        with self._step() as do:
            do.strike(f"adv:{execution}|{generation}|{stage}")
            x = self._store.executions.get(execution)
            if x is None or not x.is_open(generation) or x.number("stage") != stage or x.number("left") > 0:
                return False
            if criteria is not None:
                x.put(criteria=json.dumps(criteria))
            if error is not None:
                do.stop(x, "rollback", "failed", json.dumps(error))
            elif stage + 1 < x.number("stages"):
                do.open_stage(x, stage + 1)
            else:
                do.conclude_later(x)
            return True

    def stumble(
        self, execution: str, state: str, error: dict[str, Any], *, remaining: list[dict[str, Any]], most: int
    ) -> bool:
        """Making the plan of an execution raised what nobody foresaw, as is counted here; True: it is given up."""
        with self._step() as do:
            x = self._store.executions.get(execution)
            if x is None or x.state != state or x.current > 0:
                return False
            counter = "stumbled_" + state
            x.fields[counter] = str(x.number(counter) + 1)
            if x.number(counter) < most:
                return False
            if state == "pending":
                x.put(outcome="failed", error=json.dumps(error))
                do.strike("ex:" + execution)
            else:
                x.put(unplanned=json.dumps(error), remaining=json.dumps(remaining))
                do.strike("rb:" + execution)
            do.conclude_later(x)
            return True

    def conclude(self, execution: str, status: str, *, error: dict[str, Any] | None = None, rollback: str = "") -> bool:
        """End an execution; False where it has ended before."""
        with self._step() as do:
            x = self._store.executions.get(execution)
            decided = (x.fields.get("outcome") or "completed") if x is not None else ""
            if decided == "rolled_back" and status == "completed":
                decided = status  # one that a person asked to be taken back stays completed where nothing of it was
            if x is not None and x.state == "concluding" and status != decided:
                # another end than the decided one comes too late, and the entry stays for who comes with that
                return False
            do.strike("con:" + execution)
            if x is None or not (x.state == "concluding" or (x.state == "pending" and status != "completed")):
                return False
            do.strike("ex:" + execution)
            x.put(state=status, finished=do.now)
            x.fields.pop("waiting_for", None)
            if error is not None:
                x.put(error=json.dumps(error))
            if rollback:
                x.put(rb_status=rollback)
                if rollback == "failed":
                    do.emit(x, "rollback:failed", error="the state before could not be proved")
                else:
                    do.emit(x, "rollback:completed", success=rollback == "completed", status=rollback)
            x.clear_places(x.current)
            # whoever may still be at it is remembered: it is not taken back meanwhile
            x.live.clear()
            x.delayed.clear()
            x.drain_waits.clear()
            del self._store.accepted[execution]
            self._store.deadlines.pop(execution, None)
            self._store.ended[execution] = do.now
            if "spread" in x.fields:
                do.emit(x, "distributed:execution:completed", results=_results(x))
            told = '"error":' + x.fields.get("error", "null")
            name = "execution:" + status
            do.emit(x, name, told, strategy=x.fields["strategy"], success=status == "completed")
            return True

    def cancel(self, execution: str, error: dict[str, Any], *, undo: bool) -> tuple[str, str]:
        """Ask for an end. Answers ``ok``, ``unknown``, or ``refused`` with the state that forbids it."""
        mode, told = "rollback" if undo else "stop", json.dumps(error)
        with self._step() as do:
            do.sends = self.outlet is not None
            x = self._store.executions.get(execution)
            if x is None:
                return "unknown", ""
            if x.state == "pending":
                x.put(outcome="cancelled", error=told)
                do.strike("ex:" + execution)
                do.conclude_later(x)
                return "ok", ""
            asked = x.fields.get("outcome") == "cancelled" and x.fields.get("mode", mode) == mode
            if asked and "finished" not in x.fields and "request" not in x.fields:
                return "ok", ""  # the answer was lost, or somebody else was faster
            if x.state != "running":
                return "refused", x.state
            do.stop(x, mode, "cancelled", told)
            return "ok", ""

    def overdue(self, execution: str, error: dict[str, Any], *, term: str = "") -> bool:
        """An execution, or its rollback, has passed its time; False where it has not."""
        with self._step(term) as do:
            x, due = self._store.executions.get(execution), self._store.deadlines.get(execution)
            if x is None or due is None or due > do.now:
                return False
            del self._store.deadlines[execution]
            if x.state == "running":
                do.stop(x, "rollback", "failed", json.dumps(error))
            elif x.state == "rolling_back" and x.current > 0 and "rb_waits" in x.fields and "rb_longer" not in x.fields:
                # what waits for a device that is gone has had its time; what can still be done has as much again, once
                x.put(rb_longer=1)
                self._store.deadlines[execution] = do.now + x.number("rb_timeout")
            elif x.state == "rolling_back" and x.current > 0:
                do.stop(x, "cut", "", json.dumps(error))
            return True

    def forget(self, execution: str) -> None:
        """Remove everything that is kept of a finished execution; one that has not ended is left alone."""
        with self._step() as do:
            x = self._store.executions.get(execution)
            if x is None or x.state not in TERMINAL:
                return
            for generation, plan in enumerate(x.generations):
                for action in plan.specs:
                    do.strike(f"p:{execution}|{generation}|{action}")
                    self._store.parked.pop((execution, generation, action), None)
            del self._store.executions[execution]
            del self._store.ended[execution]


def _results(x: Execution) -> dict[str, dict[str, int]]:
    """How many actions ended how on each device."""
    found: dict[str, dict[str, int]] = {}
    for name, rule in x.generations[0].rules.items():
        row = x.generations[0].actions.get(name, {})
        if row.get("status") in FINAL:
            counts = found.setdefault(row.get("device", rule["d"]), {})
            counts[row["status"]] = counts.get(row["status"], 0) + 1
    return found
