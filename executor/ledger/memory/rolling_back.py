"""How executions are taken back, in memory."""

import json
from collections.abc import Iterable
from typing import Any

from executor.ledger.memory.moves import RESEND_MS
from executor.ledger.memory.moving import MemoryMoving
from executor.ledger.memory.state import Execution, Generation
from executor.ledger.wire import written
from executor.model.execution import FINAL
from executor.model.fan_out import action_of, device_of
from executor.model.plan import Plan, Step, format_of
from executor.model.rollback import STILL_AT_IT, Choices, Chosen, RollbackRequest


class MemoryRollbacks(MemoryMoving):
    """What coordinators decide, and what people ask for."""

    def begin_rollback(
        self, execution: str, generation: int, plan: Plan, steps: dict[str, Step], *,
        remaining: list[dict[str, Any]], timeout_s: float, chosen: Chosen, turn: str = "",
    ) -> bool:  # fmt: skip
        """Begin the way back as the next generation; False where that was done before, or is not due."""
        with self._step() as do:
            if generation != 0:
                return False  # one at a time
            x = self._store.executions.get(execution)
            if x is not None and x.turned(turn):
                return False
            do.strike("rb:" + execution)
            if x is None or x.state != "rolling_back" or x.current != generation:
                return False
            x.clear_places(0)
            self._write(x, plan, steps)
            told = chosen.model_dump_json()
            x.put(format=max(x.number("format"), format_of(steps.values())))
            x.put(last=x.current, remaining=json.dumps(remaining), rb_timeout=round(timeout_s * 1000), chosen=told)
            x.drop("waiting_for", "offer", "rb_longer", "rb_waits")
            do.emit(x, "rollback:planned", '"chosen":' + told, steps=len(steps))
            if plan.stages:
                self._store.deadlines[execution] = do.now + round(timeout_s * 1000)
                do.open_stage(x, 0)
            else:
                do.conclude_later(x)
            return True

    def _write(self, x: Execution, plan: Plan, steps: dict[str, Step]) -> None:
        flat = written(plan, steps)
        rules = {name: json.loads(rule) for name, rule in zip(flat[::3], flat[2::3], strict=True)}
        x.generations.append(Generation(plan, dict(zip(flat[::3], flat[1::3], strict=True)), rules))
        x.put(gen=len(x.generations) - 1, stages=len(plan.stages))
        x.fields[f"sizes{x.current}"] = json.dumps(plan.sizes())

    def reopen(self, execution: str, request: RollbackRequest) -> tuple[str, str]:
        """An ended execution is to be taken back. Answers ``ok``, ``unknown``, or ``refused`` with its state, or
        with `STILL_AT_IT`.
        """
        with self._step() as do:
            do.sends = self.outlet is not None
            x = self._store.executions.get(execution)
            if x is None:
                return "unknown", ""
            if request.key and x.fields.get("request_key") == request.key:
                return "ok", ""  # the first answer was lost on its way
            if "finished" not in x.fields or "started" not in x.fields:
                return "refused", x.state
            for generation, action, holder in [ghost for ghost, ends in x.ghosts.items() if do.now >= ends]:
                del x.ghosts[generation, action, holder]
                do.end_lease(holder, (x.id, generation, action))
            if x.ghosts:
                return "refused", STILL_AT_IT
            x.fields.setdefault("last", str(x.current))
            x.turn()
            outcome = "rolled_back" if x.state == "completed" else x.state
            x.put(state="rolling_back", gen=0, rb_started=do.now, mode="rollback", outcome=outcome)
            x.put(request=request.model_dump_json(), request_key=request.key)
            x.drop("finished", "rb_status", "unplanned", "stumbled_rolling_back", "offer", "choice", "halted")
            del self._store.ended[execution]
            self._store.accepted[execution] = x.number("created")
            reason = {"type": "Requested", "message": f"asked for by {request.by}", "action": None}
            do.emit(x, "rollback:started", reason=reason)
            do.begin_later(x, do.now + RESEND_MS, now=True)
            return "ok", ""

    def offer(self, execution: str, offer: dict[str, Any], *, wait_s: float, turn: str = "") -> bool:
        """A guided rollback waits for a person, at most `wait_s` seconds; False where it does not wait."""
        with self._step() as do:
            x, wait_ms = self._store.executions.get(execution), round(wait_s * 1000)
            if x is None or x.state != "rolling_back" or x.current != 0 or "offer" in x.fields or x.turned(turn):
                return False
            waiting_for = f"a person chooses what is undone: rex rollback {execution} --choose"
            x.put(offer=json.dumps(offer), choose_by=do.now + wait_ms, waiting_for=waiting_for)
            x.drop("choice")
            x.turn()
            do.strike("rb:" + execution)
            do.begin_later(x, do.now + wait_ms)
            do.emit(x, "rollback:waiting", wait_ms=wait_ms, offer=offer)
            return True

    def choose(self, execution: str, choices: Choices) -> tuple[str, str]:
        """A person's choice. Answers ``ok``, ``unknown``, or ``refused`` with why: the state, ``chosen``, ``late``, or
        ``another`` offer.
        """
        with self._step() as do:
            do.sends = self.outlet is not None
            x = self._store.executions.get(execution)
            if x is None:
                return "unknown", ""
            if choices.key and x.fields.get("choice_key") == choices.key:
                return "ok", ""  # the first answer was lost on its way
            if why := _why_not(x, choices, do.now):
                return "refused", why
            x.turn()
            x.put(choice=json.dumps(choices.choices), choice_key=choices.key, choice_by=choices.by, choice_at=do.now)
            do.emit(x, "rollback:chosen", by=choices.by, choices=choices.choices)
            do.begin_later(x, do.now + RESEND_MS, now=True)
            return "ok", ""

    def resume(
        self, execution: str, chosen: Chosen, actions: Iterable[str], *, timeout_s: float, turn: str = ""
    ) -> bool:
        """Let an execution that was to be taken back go on: these actions of its stage run, again or at last."""
        with self._step() as do:
            x, listed = self._store.executions.get(execution), list(actions)
            # after an earlier way back the stage is one of that
            if x is None or x.state != "rolling_back" or x.number("last") > 0 or x.number("stage", -1) < 0:
                return False
            if x.turned(turn):
                return False
            x.turn()
            do.strike("rb:" + execution)
            for name in listed:
                fields, of = x.action(0, name), action_of(name) if device_of(name) else ""
                # what was broken off, and may not run twice, is asked for first
                broken = fields.get("status") == "cancelled" and fields.get("effect") in ("unknown", "completed")
                if of and fields.get("status") in FINAL - {"succeeded", "skipped"}:
                    x.generations[0].missed[of] -= 1
                if fields.pop("borne", None):  # it is borne no more
                    x.put(failures=x.number("failures") - 1)
                    if of:
                        x.generations[0].failed[of] -= 1
                for gone in ("outcome", "fatal", "finished", "settled", "settlement", "probe", "attempt", "takeovers",
                             "unserved"):  # fmt: skip
                    fields.pop(gone, None)
                if {fields.get("effect", "none"), fields.get("effect_fallback", "none")} == {"none"}:
                    fields.pop("at", None)  # what had begun where it was moved stays there
                fields.update(status="ready", token="", nonce="", since=str(do.now))
                if broken and "id" not in x.rule(0, name):
                    fields["probe"] = "1"
            x.put(
                state="running", left=len(listed), mode="", outcome="", opened=do.now, chosen=chosen.model_dump_json()
            )
            x.drop("error", "rb_started", "waiting_for", "offer", "choice", "request", "request_key")
            x.clear_places(0)
            self._store.deadlines[execution] = do.now + round(timeout_s * 1000)
            do.emit(x, "execution:resumed", by=chosen.by, actions=len(listed))
            do.publish_stage(x)
            return True

    def ask(self, execution: str, task: str, request: dict[str, Any], key: str) -> bool:
        """Have a coordinator work something out (the control task `task`); False where there is no such execution."""
        with self._step() as do:
            do.sends = self.outlet is not None
            if execution not in self._store.executions:
                return False
            do.post_task(
                "ask:" + key, task, key, [execution, request, key, do.now], due=do.now + 3 * RESEND_MS, now=True
            )
            return True

    def reply(self, key: str, answer: dict[str, Any]) -> None:
        """Answer what was asked under `key`."""
        with self._step() as do:
            do.strike("ask:" + key)
            self._store.replies[key] = json.dumps(answer)
            self._changed.notify_all()

    def answer(self, key: str, timeout_s: float) -> dict[str, Any] | None:
        """The answer to what was asked under `key`; None where none comes within `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: key in self._store.replies, timeout=timeout_s)
            text = self._store.replies.pop(key, None)
            return None if text is None else dict(json.loads(text))


def _why_not(x: Execution, choices: Choices, now: int) -> str:
    """Why a choice comes at the wrong time."""
    if x.state != "rolling_back" or x.current != 0 or "offer" not in x.fields:
        return x.state
    if "choice" in x.fields:
        return "chosen"
    if now >= x.number("choose_by"):
        return "late"
    return "another" if x.turned(choices.turn) else ""
