"""Claiming and settling, in memory."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from executor.ledger.memory.claims import Asking
from executor.ledger.memory.moves import worst
from executor.ledger.memory.state import Execution
from executor.ledger.memory.states import MemoryStates
from executor.ledger.wire import Lease, fraction_of, outcome_of
from executor.model.execution import Answer, Claimed, Ended, Settled
from executor.model.plan import FORMAT


class MemoryActions(MemoryStates):
    """What workers do with single actions, and the watchdog with those that nobody runs."""

    def claim(
        self, execution: str, generation: int, actions: Sequence[str], *, holder: str, nonce: str,
        signature: str = "", at: str = "",
    ) -> Claimed | Answer:  # fmt: skip
        """May `holder` run the first of `actions` that is not final? Without a signature nothing is parked."""
        with self._step() as do:
            x = self._store.executions.get(execution)
            first = actions[0] if actions else ""
            if x is None or generation > x.number("last") or not actions:
                return Answer("unknown", first)
            if holder in self._store.fenced:
                return Answer("fenced")
            if x.number("format") > FORMAT:
                if not signature:
                    return Answer("signature", first)
                do.post_message(x, generation, first, signature, do.now + 5000, now=False)
                return Answer("park", first, "it needs a newer worker")
            return do.claim_first(Asking(x, generation, holder, nonce, signature, at), actions)

    def settle(
        self, claimed: Claimed, ended: Ended, *, holder: str, nonce: str, signature: str = "",
        following: Sequence[str] = (), next_nonce: str = "", at: str = "",
    ) -> Settled:  # fmt: skip
        """Store how an attempt ended, for the current token only; then claim what follows in a fused message."""
        outcome = outcome_of(ended)
        with self._step() as do:
            x = self._store.executions.get(claimed.execution)
            if x is None or not x.known(claimed.generation, claimed.step.id):
                return Settled("stale")
            fields = x.action(claimed.generation, claimed.step.id)
            if fields.get("settled") != nonce:
                if not _holds(fields, claimed) or fields["status"] != "running":
                    return Settled("stale")
                fields.update(settled=nonce, settlement=self._settle(x, claimed, ended, outcome, signature))
            if fields["settlement"] != "ok" or not following:
                return Settled(fields["settlement"])
            if holder in self._store.fenced:
                return Settled("ok", Answer("fenced"))
            asking = Asking(x, claimed.generation, holder, next_nonce, "", at)
            return Settled("ok", do.claim_first(asking, following))

    def _settle(self, x: Execution, claimed: Claimed, ended: Ended, outcome: str, signature: str) -> str:
        do, generation, action = self._moves, claimed.generation, claimed.step.id
        fields, status = x.action(generation, action), ended.status
        fields.update(effect=worst(fields.get("effect"), ended.effect), **ended.marks)
        error = json.dumps(ended.error)
        if ended.error is not None:
            fields["last_error"] = error
        if status == "retry" and x.is_open(generation):
            delay_ms = round(ended.delay_s * 1000)
            fields.update(status="waiting", token="", outcome="{" + outcome + "}")
            do.release(x, generation, action)
            # a duplicate that was parked here is worth nothing any more, and would pass for a place in the queue
            self._store.parked.pop((x.id, generation, action), None)
            x.delayed.add((generation, action))
            attempt = int(fields["attempt"])
            do.emit_action(x, generation, "retrying", outcome, action=action, attempt=attempt, delay_ms=delay_ms)
            do.post_message(x, generation, action, signature, do.now + delay_ms, now=False)
            do.wake(x)
            return "retry"
        # one that would have been tried again has not failed for good: the stop that came before it stays as it is
        unasked = status == "cancelled" and x.is_open(generation)
        decides = unasked or status in ("failed", "timed_out")
        do.finish(x, generation, action, "failed" if unasked or status == "retry" else status, outcome)
        fatal = decides and do.fail(x, generation, action, error)
        do.drain(x)
        return "fatal" if fatal else "ok"

    def record_undo(self, claimed: Claimed, record: dict[str, Any], *, of_fallback: bool = False) -> bool:
        """Write the undo record before the effect; only the first counts. False: the token is stale."""
        with self._step():
            fields = self._current(claimed)
            if fields is None:
                return False
            fields.setdefault("undo_fallback" if of_fallback else "undo", json.dumps(record))
            if of_fallback:
                # from here on it may have been done, whether its holder lives to tell or not
                fields.setdefault("effect_fallback", "unknown")
            return True

    def progress(self, claimed: Claimed, fraction: float, message: str) -> None:
        """Say how far an action is; a stale holder says nothing."""
        with self._step() as do:
            if self._current(claimed) is not None:
                x, told = self._store.executions[claimed.execution], f'"fraction":{fraction_of(fraction)}'
                action = claimed.step.id
                do.emit_action(x, claimed.generation, "progress", told, action=action, message=message)

    def _current(self, claimed: Claimed) -> dict[str, str] | None:
        """The fields of the claimed action, while its token holds."""
        x = self._store.executions.get(claimed.execution)
        if x is None or not x.known(claimed.generation, claimed.step.id):
            return None
        fields = x.action(claimed.generation, claimed.step.id)
        return fields if _holds(fields, claimed) else None

    def abandon_all(
        self,
        execution: str,
        generation: int,
        errors: dict[str, dict[str, Any]],
        *,
        wait_s: float | None,
        term: str = "",
    ) -> dict[str, str]:
        """Nobody serves the devices of these actions, with the error of each.

        Answers for each: ``waiting``; ``failed`` when that has lasted `wait_s` seconds; or ``noop``.

        Without `wait_s` their devices still live: they wait on, and a wait that comes later is counted from now.
        """
        wait_ms = None if wait_s is None else round(wait_s * 1000)
        with self._step(term):
            return {
                action: self._abandon((execution, generation, action), wait_ms, json.dumps(error))
                for action, error in errors.items()
            }

    def _abandon(self, place: Lease, wait_ms: int | None, told: str) -> str:
        do, (execution, generation, action) = self._moves, place
        x = self._store.executions.get(execution)
        if x is None or not x.is_open(generation) or not x.known(generation, action):
            return "noop"
        fields = x.action(generation, action)
        if x.rule(generation, action)["s"] != x.number("stage") or fields.get("status", "ready") != "ready":
            return "noop"
        if "unserved" not in fields:
            fields["unserved"] = str(do.now)
            if generation > 0:
                device = x.device(generation, action)
                x.put(rb_waits=1, waiting_for=f"a worker for device {device}, to take back {action}")
            do.emit_action(x, generation, "waiting", '"error":' + told, action=action)
            return "waiting"
        if generation > 0 and "rb_longer" not in x.fields:
            x.put(rb_waits=1)
            return "waiting"
        if generation == 0 and wait_ms is None:
            fields["unserved"] = str(do.now)
        if generation == 0 and (wait_ms is None or do.now - int(fields["unserved"]) < wait_ms):
            return "waiting"
        if generation > 0:
            x.drop("waiting_for")
        do.finish(x, generation, action, "failed", '"error":' + told)
        do.fail(x, generation, action, told)
        do.drain(x)
        return "failed"

    def served(self, execution: str, generation: int, actions: Iterable[str]) -> None:
        """The devices of these actions are served again."""
        with self._step():
            x = self._store.executions.get(execution)
            if x is not None and generation > 0:
                x.drop("rb_waits", "waiting_for")  # who else waits says so again at the next look
            for action in actions:
                if x is not None and x.known(generation, action):
                    x.action(generation, action).pop("unserved", None)

    def touch(self, execution: str, generation: int, actions: Iterable[str], *, term: str = "") -> list[str]:
        """Before messages are published again: which of these actions are still claimable."""
        with self._step(term) as do:
            x = self._store.executions.get(execution)
            if x is None or not x.is_open(generation):
                return []
            known = [name for name in actions if x.known(generation, name)]
            still = [name for name in known if x.action(generation, name).get("status", "ready") == "ready"]
            for name in still:
                x.action(generation, name).update(status="ready", since=str(do.now))
            return still


def _holds(fields: dict[str, str], claimed: Claimed) -> bool:
    return claimed.token != "" and fields.get("token") == claimed.token
