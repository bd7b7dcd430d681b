"""The ledger on Valkey or Redis: the Python face of the scripts in ``lua/``."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from executor.ledger.connection import reachable
from executor.ledger.reading import PREFIX, LedgerReading
from executor.ledger.scripts import Scripts
from executor.model.execution import Answer, Claimed, Ended, Outgoing, Settled
from executor.model.plan import Plan, Step, rules
from executor.ports import Outlet

CREATE_AHEAD = 3


class ValkeyLedger(LedgerReading):
    """The state of every execution.

    Every method that decides is one atomic script, and the same call made again (same nonce, same token) gets the same
    answer: an answer can be lost after the server did it.
    """

    def __init__(self, url: str, *, name: str = "rex", patience_s: float = 2.0, outlet: Outlet | None = None) -> None:
        """
        Args:
            url: address of the server.
            name: client name on the server.
            patience_s: how long one call outlives a lost server.
            outlet: sends what a script decided; without one it is left to the coordinators.
        """
        super().__init__(url, name=name, patience_s=patience_s)
        self._scripts = Scripts(self._client, PREFIX)
        self.outlet = outlet

    def _call(self, script: str, *arguments: Any) -> list[Any]:
        with reachable(self.url):
            answer, outgoing = self._scripts(script, *arguments)
        if outgoing and self.outlet is not None:
            self.outlet.send(_outgoing(outgoing))
        return answer

    # -- executions ---------------------------------------------------------------------------------------------------

    def submit(self, execution: str, document: dict[str, Any], *, delay_s: float = 0.0) -> bool:
        """Accept an execution; False where one of that id exists. `document`: strategy, inputs, context."""
        strategy = document.get("strategy")
        named = strategy if isinstance(strategy, dict) else {}
        return bool(
            self._call(
                "submit", execution, str(named.get("name", "")), str(named.get("version", "1")),
                json.dumps(document, allow_nan=False), round(delay_s * 1000),
            )[0] == "ok"
        )  # fmt: skip

    def hold(self, execution: str, reason: str, *, delay_s: float) -> float:
        """Try a pending execution again after `delay_s`; returns for how many seconds it has waited."""
        return int(self._call("hold", execution, reason, round(delay_s * 1000))[1]) / 1000

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
        got = self._call(
            "create", execution, plan.model_dump_json(exclude_defaults=True), json.dumps(plan.sizes()), parallel,
            round(timeout_s * 1000), rollback, "" if max_failures is None else max_failures, json.dumps(inputs),
            json.dumps(context), *_written(plan, steps),
        )  # fmt: skip
        return bool(got[0] == "ok")

    def advance(
        self, execution: str, generation: int, stage: int, *, error: dict[str, Any] | None = None,
        criteria: list[dict[str, Any]] | None = None,
    ) -> bool:  # fmt: skip
        """A stage has ended: open the next, fail with `error`, or conclude. False where there is nothing to do."""
        got = self._call(
            "advance", execution, generation, stage, "" if error is None else json.dumps(error),
            "" if criteria is None else json.dumps(criteria),
        )  # fmt: skip
        return bool(got[0] == "ok")

    def begin_rollback(
        self, execution: str, generation: int, plan: Plan, steps: dict[str, Step], *,
        remaining: list[dict[str, Any]], timeout_s: float,
    ) -> bool:  # fmt: skip
        """Begin the way back as the next generation; False where that was done before, or is not due."""
        got = self._call(
            "begin", execution, generation, plan.model_dump_json(exclude_defaults=True), json.dumps(plan.sizes()),
            json.dumps(remaining), round(timeout_s * 1000), *_written(plan, steps),
        )  # fmt: skip
        return bool(got[0] == "ok")

    def conclude(self, execution: str, status: str, *, error: dict[str, Any] | None = None, rollback: str = "") -> bool:
        """End an execution; False where it has ended before."""
        got = self._call("conclude", execution, status, "" if error is None else json.dumps(error), rollback)
        return bool(got[0] == "ok")

    def cancel(self, execution: str, error: dict[str, Any], *, undo: bool) -> tuple[str, str]:
        """Ask for an end. Answers ``ok``, ``unknown``, or ``refused`` with the state that forbids it."""
        got = self._call("cancel", execution, json.dumps(error), "rollback" if undo else "stop")
        return got[0], got[1] if len(got) > 1 else ""

    def overdue(self, execution: str, error: dict[str, Any]) -> bool:
        return bool(self._call("overdue", execution, json.dumps(error))[0] == "ok")

    def forget(self, execution: str) -> None:
        """Remove everything that is kept of a finished execution."""
        with reachable(self.url):
            keys = [self._key(kind, execution) for kind in ("x", "doc", "ev", "slots", "wait", "live", "delay")]
            for generation in range(int(self._client.hget(self._key("x", execution), "gen") or 0) + 1):
                spec = self._key("spec", execution, generation)
                names: Any = self._client.hkeys(spec)
                keys += [
                    spec,
                    self._key("rule", execution, generation),
                    self._key("plan", execution, generation),
                ]
                keys += [self._key("a", execution, generation, name) for name in names]
            for start in range(0, len(keys), 500):
                self._client.unlink(*keys[start : start + 500])
            self._client.zrem(self._key("done"), execution)

    # -- actions ------------------------------------------------------------------------------------------------------

    def claim(
        self, execution: str, generation: int, actions: Sequence[str], *, holder: str, nonce: str,
        signature: str = "",
    ) -> Claimed | Answer:  # fmt: skip
        """May `holder` run the first of `actions` that is not final? Without a signature nothing is parked."""
        got = self._call("claim", execution, generation, holder, nonce, signature, *actions)
        return _claim_answer(execution, generation, got)

    def settle(
        self, claimed: Claimed, ended: Ended, *, holder: str, nonce: str, signature: str = "",
        following: Sequence[str] = (), next_nonce: str = "",
    ) -> Settled:  # fmt: skip
        """Store how an attempt ended, for the current token only; then claim what follows in a fused message."""
        got = self._call(
            "settle", claimed.execution, claimed.generation, claimed.step.id, claimed.token, ended.status,
            _outcome(ended), nonce, ended.effect, holder, signature, round(ended.delay_s * 1000),
            json.dumps(ended.marks), next_nonce, *following,
        )  # fmt: skip
        after = _claim_answer(claimed.execution, claimed.generation, got[1]) if len(got) > 1 else None
        return Settled(got[0], after)

    def record_undo(self, claimed: Claimed, record: dict[str, Any], *, of_fallback: bool = False) -> bool:
        """Write the undo record before the effect; only the first counts. False: the token is stale."""
        field = "undo_fallback" if of_fallback else "undo"
        got = self._call(
            "record", claimed.execution, claimed.generation, claimed.step.id, claimed.token, field,
            json.dumps(record),
        )  # fmt: skip
        return bool(got[0] == "ok")

    def progress(self, claimed: Claimed, fraction: float, message: str) -> None:
        self._call(
            "progress", claimed.execution, claimed.generation, claimed.step.id, claimed.token,
            f"{fraction:.4f}", message,
        )  # fmt: skip

    def abandon(self, execution: str, generation: int, action: str, *, wait_s: float, error: dict[str, Any]) -> str:
        """Nobody serves its device: ``waiting``, and ``failed`` when that has lasted `wait_s` seconds; or ``noop``."""
        return str(self._call("abandon", execution, generation, action, round(wait_s * 1000), json.dumps(error))[0])

    def served(self, execution: str, generation: int, actions: Iterable[str]) -> None:
        self._call("served", execution, generation, *actions)

    def touch(self, execution: str, generation: int, actions: Iterable[str]) -> list[str]:
        """Before messages are published again: which of these actions are still claimable."""
        return list(self._call("touch", execution, generation, *actions)[1])

    # -- workers ------------------------------------------------------------------------------------------------------

    def register(self, incarnation: str, description: dict[str, Any]) -> None:
        self._call("register", incarnation, json.dumps(description))

    def renew(self, incarnation: str, running: Iterable[Claimed]) -> set[str] | None:
        """This worker lives. Returns the tokens of attempts that must stop; None: it is fenced and must end."""
        flat = [part for c in running for part in (c.execution, c.generation, c.step.id, c.token)]
        got = self._call("renew", incarnation, *flat)
        return None if got[0] == "fenced" else set(got[1])

    def leave(self, incarnation: str) -> bool:
        return bool(self._call("leave", incarnation)[0] == "ok")

    def fence(self, incarnation: str) -> list[tuple[str, int, str]]:
        """Declare a worker dead; returns its leases."""
        members = self._call("fence", incarnation)[1]
        return [(e, int(g), a) for e, g, a in (member.split("|", 2) for member in members)]

    def expire(self, incarnation: str, lease: tuple[str, int, str], *, sure: bool, error: dict[str, Any]) -> str:
        """End a lease of a holder that is gone: ``ok``, ``gone``, or ``later`` while it may still be at work."""
        execution, generation, action = lease
        return str(self._call("expire", execution, generation, action, incarnation, int(sure), json.dumps(error))[0])

    def swept(self, incarnation: str) -> None:
        """All messages of a dead worker are back in their queues, and it holds nothing."""
        with reachable(self.url):
            self._client.srem(self._key("sweep"), incarnation)

    # -- outbox -------------------------------------------------------------------------------------------------------

    def due(self, limit: int) -> tuple[list[Outgoing], float | None]:
        """What is due, and the seconds until the next entry (None: the outbox is empty)."""
        with reachable(self.url):
            answer, outgoing = self._scripts("due", limit)
        wait_ms = int(answer[0])
        return _outgoing(outgoing), None if wait_ms < 0 else wait_ms / 1000

    def strike(self, ids: Iterable[str]) -> None:
        """These were sent."""
        listed = list(ids)
        if listed:
            self._call("strike", *listed)

    def wait_for_nudge(self, timeout_s: float) -> None:
        """Sleep until something is put into an empty outbox, at most `timeout_s` seconds."""
        with reachable(self.url):
            self._blocking().blpop([self._key("nudge")], timeout=timeout_s)

    # -- who leads ----------------------------------------------------------------------------------------------------

    def lead(self, holder: str, ttl_s: float) -> bool:
        """Whether `holder` leads the watchdogs for the next `ttl_s` seconds."""
        key, ttl = self._key("lead"), round(ttl_s * 1000)
        with reachable(self.url):
            if self._client.set(key, holder, nx=True, px=ttl):
                return True
            if self._client.get(key) != holder:
                return False
            return bool(self._client.pexpire(key, ttl))


def _written(plan: Plan, steps: dict[str, Step]) -> list[str]:
    flat: list[str] = []
    for name, rule in rules(plan, steps).items():
        flat += [name, steps[name].model_dump_json(exclude_defaults=True), json.dumps(rule)]
    return flat


def _outcome(ended: Ended) -> str:
    """The inside of the outcome's JSON object, as the scripts store it and put it into events."""
    if ended.error is not None:
        return '"error":' + json.dumps(ended.error)
    if ended.reason:
        return '"reason":' + json.dumps(ended.reason)
    return '"result":' + json.dumps(ended.result, allow_nan=False)


def _outgoing(flat: list[str]) -> list[Outgoing]:
    return [Outgoing(flat[i], json.loads(flat[i + 1])) for i in range(0, len(flat), 2) if flat[i + 1]]


def _claim_answer(execution: str, generation: int, got: list[Any]) -> Claimed | Answer:
    if got[0] != "run":
        return Answer(got[0], got[1] if len(got) > 1 else "", got[2] if len(got) > 2 else "")
    _, _, token, attempt, mode, spec, strategy, inputs, context, reads, about, has_undo = got
    step = Step.model_validate_json(spec)
    undone: dict[str, Any] = {}
    if step.undoes is not None:
        outcome = json.loads(about[0]) if about[0] else {}
        undone = {
            "result": outcome.get("result"),
            "error": outcome.get("error") or (json.loads(about[2]) if about[2] else None),
            "snapshot": json.loads(about[1]) if about[1] else None,
        }
    return Claimed(
        execution=execution, generation=generation, token=token, attempt=int(attempt), probe=mode == "probe",
        step=step, strategy=strategy, inputs=json.loads(inputs) if inputs else {},
        context=json.loads(context) if context else {}, reads={row[0]: _readable(*row[1:]) for row in reads},
        undone=undone, has_undo=bool(has_undo),
    )  # fmt: skip


def _readable(status: str, outcome: str, device: str, attempts: str) -> dict[str, Any]:
    """An action as expressions see it: without a success its result is null."""
    told = json.loads(outcome) if outcome else {}
    return {
        "status": status or "pending",
        "result": told.get("result") if status == "succeeded" else None,
        "error": told.get("error"),
        "device": device or None,
        "attempts": int(attempts),
    }
